# SPDX-License-Identifier: Apache-2.0
"""Render pictures of a machined flange plate, good and defective, with ground-truth masks."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

F32 = NDArray[np.float32]
Pose = tuple[float, float, float]  # shift in u, shift in v, rotation in degrees

SIZE, SUPER = 320, 3
SIDE = SIZE * SUPER
TOP = 13.0  # height of the plate's surface over the belt
BOLTS = ((-95.0, -70.0), (95.0, -70.0), (95.0, 70.0), (-95.0, 70.0))
BOSS, LABEL, CONNECTOR = (-36.0, 0.0), (62.0, -22.0), (62.0, 32.0)
SPOTS = ((8.0, -58.0), (-82.0, -38.0), (10.0, 48.0))  # where scratches and stains go
# Materials: red, green, blue, gloss, roughness along and across the grain.
RUBBER = (0.022, 0.024, 0.027, 0.02, 0.5, 0.5)
ALUMINIUM = (0.45, 0.46, 0.47, 0.85, 0.12, 0.6)
TURNED = (0.44, 0.44, 0.45, 0.90, 0.10, 0.7)
BRASS = (0.58, 0.38, 0.14, 0.75, 0.15, 0.55)
STEEL = (0.40, 0.39, 0.36, 0.65, 0.14, 0.5)
BLACKENED = (0.11, 0.11, 0.12, 0.40, 0.20, 0.4)
DARK = (0.025, 0.025, 0.028, 0.08, 0.3, 0.3)
PLASTIC = (0.036, 0.037, 0.041, 0.12, 0.3, 0.3)
PAPER = (0.60, 0.59, 0.56, 0.05, 0.5, 0.5)


def f32(values: object) -> F32:
    """Convert anything array-like to float32."""
    return np.asarray(values, dtype=np.float32)


def blur(image: F32, across: float, down: float | None = None) -> F32:
    """Gaussian blur with separate horizontal and vertical sigma."""
    return f32(cv2.GaussianBlur(image, (0, 0), across, sigmaY=down or across))


def noise(rng: np.random.Generator, across: float, down: float | None = None) -> F32:
    """Blurred Gaussian noise with zero mean and unit variance."""
    grains = blur(rng.standard_normal((SIDE, SIDE), dtype=np.float32), across, down)
    return f32((grains - grains.mean()) / grains.std())


def sample(texture: F32, u: F32, v: F32, density: float) -> F32:
    """Look up a texture centred on the origin, `density` texels per unit; zero outside."""
    height, width = texture.shape
    return f32(cv2.remap(texture, u * density + width / 2, v * density + height / 2, 1))


def disc(u: F32, v: F32, radius: float) -> F32:
    """Signed distance to a circle."""
    return f32(np.hypot(u, v) - radius)


def box(u: F32, v: F32, half_u: float, half_v: float, radius: float) -> F32:
    """Signed distance to a rounded rectangle."""
    du, dv = np.abs(u) - half_u + radius, np.abs(v) - half_v + radius
    outside = np.hypot(np.maximum(du, 0), np.maximum(dv, 0))
    return f32(outside + np.minimum(np.maximum(du, dv), 0) - radius)


def hexagon(u: F32, v: F32, apothem: float, turn: float) -> F32:
    """Signed distance, from inside, to a regular hexagon turned by `turn` radians."""
    angles = turn + np.pi / 3 * np.arange(3)
    return f32(np.max([np.abs(u * np.cos(a) + v * np.sin(a)) for a in angles], axis=0) - apothem)


def ramp(distance: F32, width: float, depth: float) -> F32:
    """Chamfer: rise from 0 at the outline to `depth` at `width` inside it."""
    return f32(np.clip(-distance / width, 0, 1) * depth)


def move(u: F32, v: F32, centre: tuple[float, float], pose: Pose = (0, 0, 0)) -> tuple[F32, F32]:
    """Express coordinates in the frame of a part at `centre`, displaced by `pose`."""
    angle, du, dv = np.radians(pose[2]), u - centre[0] - pose[0], v - centre[1] - pose[1]
    cos, sin = np.cos(angle), np.sin(angle)
    return f32(du * cos + dv * sin), f32(dv * cos - du * sin)


def lettering(width: int, height: int, lines: list[tuple[int, int, int, str]], bars: int) -> F32:
    """Ink coverage (0..1) at 8 texels per unit: lines of text and a bar code of `bars` bars."""
    image = Image.new("L", (width * 8, height * 8))
    draw = ImageDraw.Draw(image)
    for x, y, size, text in lines:
        draw.text((x * 8, y * 8), text, 255, font=ImageFont.load_default(size * 8), stroke_width=2)
    edges = 40 + 8 * np.cumsum(np.random.default_rng(204).integers(1, 4, 2 * bars))
    for left, right in edges.reshape(-1, 2):
        draw.rectangle((int(left), 216, int(right) - 1, 296), 255)
    return f32(f32(image) / 255)


class Scene:
    """Everything that varies from picture to picture, defects aside."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw pose, lighting and surface textures."""
        pose = (rng.uniform(-4, 4), rng.uniform(-4, 4), rng.uniform(-1.5, 1.5))
        self.light = f32([rng.uniform(-240, -120), rng.uniform(-330, -240), rng.uniform(430, 500)])
        self.gain = f32(rng.uniform(0.9, 1.1) * (1 + rng.uniform(-0.04, 0.04) * f32([1, 0, -1])))
        self.tilt = rng.uniform(-0.08, 0.08, 2)
        self.turns = [float(turn) for turn in rng.uniform(0, np.pi / 3, 4)]
        self.brush = 0.75 * noise(rng, 60, 0.8) + 0.5 * noise(rng, 14, 0.6) + 0.2 * noise(rng, 1)
        self.cloud, self.belt = noise(rng, 40), noise(rng, 1.2)
        axis = (np.arange(SIDE) + 0.5) / SUPER - SIZE / 2
        self.x, self.y = (f32(grid) for grid in np.meshgrid(axis, axis))
        scale, (u, v) = rng.uniform(0.985, 1.015), move(self.x, self.y, (0, 0), pose)
        self.u, self.v, self.turn = f32(u / scale), f32(v / scale), float(np.radians(pose[2]))


@dataclass
class Defect:
    """What is wrong with the part; the default is nothing."""

    missing: int = -1
    label: Pose = (0, 0, 0)
    connector: Pose = (0, 0, 0)
    scratch: F32 | None = None  # rows of u, v and depth along the path
    tone: float = 0.0  # how much brighter or darker the scratch is than the metal
    stain: F32 | None = None  # opacity of every supersampled pixel


class Surface:
    """Height field and material of every supersampled pixel, painted from the belt upwards."""

    def __init__(self, scene: Scene) -> None:
        """Start with the empty conveyor belt."""
        weave = f32(np.sin(scene.x * 2.1) * np.sin(scene.y * 2.1))
        self.height, self.tangent = np.zeros((2, SIDE, SIDE), np.float32)
        self.material = np.zeros((SIDE, SIDE, 6), np.float32)
        height = f32(0.12 * weave + 0.1 * scene.belt)
        self.paint(height - 99, height, RUBBER, 0.0, 0.12 * scene.belt + 0.2 * weave)

    def paint(
        self,
        outline: F32,
        height: F32 | float,
        material: tuple[float, ...],
        tangent: F32 | float = 0.0,
        grain: F32 | float = 0.0,
    ) -> None:
        """Cover the inside of an outline (signed distance) with a material at `height`."""
        mask = outline < 0
        np.copyto(self.height, f32(height), where=mask)
        np.copyto(self.tangent, f32(tangent), where=mask)
        self.material[mask] = f32(material)
        self.tint(np.where(mask, f32(1 + grain), f32(1)))

    def tint(self, factor: F32) -> None:
        """Multiply the colour."""
        self.material[..., :3] *= factor[..., None]


def add_bolt(surface: Surface, u: F32, v: F32, turn: float, present: bool, brush: F32) -> None:
    """Paint a washer and a socket-head bolt, or the empty hole."""
    around, rings = f32(np.arctan2(v, u) + np.pi / 2), f32(0.04 * brush)
    if not present:
        hole = disc(u, v, 8.5)
        surface.paint(hole, TOP - ramp(hole, 2.2, 2.2), TURNED, around)
        surface.paint(disc(u, v, 6.3), TOP - 7, BLACKENED)
        surface.paint(disc(u, v, 5.4), TOP - 12, DARK)
        return
    washer, head = disc(u, v, 15.5), disc(u, v, 11)
    surface.paint(washer, TOP + 0.6 + ramp(washer, 1.0, 1.6), STEEL, around, rings)
    surface.paint(head, TOP + 4 + ramp(head, 2.0, 4.0), BLACKENED, around, rings)
    surface.paint(hexagon(u, v, 4.9, turn), TOP + 2.5, DARK)


def add_boss(surface: Surface, scene: Scene) -> None:
    """Paint the turned boss with its brass bush and the bore down to the belt."""
    u, v = move(scene.u, scene.v, BOSS)
    around, radius = f32(np.arctan2(v, u) + np.pi / 2 + scene.turn), np.hypot(u, v)
    rings = sample(scene.brush, f32(around * 20), f32(radius * 1.6 - 100), SUPER)
    boss, bush, bore = disc(u, v, 50), disc(u, v, 35), disc(u, v, 25)
    surface.paint(boss, TOP + ramp(boss, 2.5, 5) + 0.04 * rings, TURNED, around, 0.06 * rings)
    shape = TOP + 4 + ramp(bush, 1.2, 2) + 0.02 * rings - ramp(bore, 2, 3)
    surface.paint(bush, shape, BRASS, around, 0.05 * rings)
    surface.paint(disc(u, v, 23), 0.1 * scene.belt, RUBBER)


def add_connector(surface: Surface, u: F32, v: F32, belt: F32) -> None:
    """Paint a black plastic pin header with five gilded pins."""
    body, grain = box(u, v, 33, 13, 2.5), f32(0.08 * belt)
    surface.paint(body, TOP + 7 + ramp(body, 1.6, 1.6), PLASTIC, grain=grain)
    surface.paint(box(u, v, 29, 8.5, 1.5), TOP + 2.5, DARK, grain=grain)
    surface.paint(box(u, f32(v - 11), 5, 3, 0.5), TOP + 6, PLASTIC, grain=grain)
    for pin in range(-2, 3):
        shape = box(f32(u - pin * 11), v, 2.3, 2.3, 0.6)
        surface.paint(shape, TOP + 5 + ramp(shape, 1.3, 1.8), BRASS)


def add_scratch(surface: Surface, scene: Scene, path: F32, tone: float) -> None:
    """Cut a groove of varying depth along `path`."""
    groove = np.zeros((SIDE, SIDE), np.float32)
    for (u, v, depth), (u_end, v_end, _) in pairwise(path):
        p, along = f32([scene.u - u, scene.v - v]), f32([u_end - u, v_end - v])
        place = np.clip((p[0] * along[0] + p[1] * along[1]) / (along @ along), 0, 1)
        away = np.hypot(p[0] - place * along[0], p[1] - place * along[1])
        groove = np.maximum(groove, f32(depth * np.exp(-((away / 0.75) ** 2))))
    surface.height += 0.5 * np.maximum(blur(groove, 2.2) - 0.35 * groove, 0) - 0.9 * groove
    surface.tint(1 + tone * groove)


def build(scene: Scene, defect: Defect) -> Surface:
    """Paint belt, plate and all parts on it."""
    surface, u, v = Surface(scene), scene.u, scene.v
    brush, plate = sample(scene.brush, u, v, SUPER), box(u, v, 120, 95, 20)
    shape = TOP + ramp(plate, 2.8, 2.6) - 2.6 + 0.035 * brush
    surface.paint(plate, shape, ALUMINIUM, scene.turn, 0.06 * brush + 0.02 * scene.cloud)
    ink = lettering(96, 18, [(2, 1, 13, "PN 204-17 R3")], 0)
    ink = sample(ink, *move(u, v, (12, 74)), 8)
    surface.height -= blur(ink, 1.0) * 0.9
    surface.tint(1 - 0.62 * ink)
    add_boss(surface, scene)
    for index, centre in enumerate(BOLTS):
        a, b = move(u, v, centre)
        add_bolt(surface, a, b, scene.turns[index], index != defect.missing, brush)
    a, b = move(u, v, LABEL, defect.label)
    surface.paint(box(a, b, 36, 21, 3), TOP + 0.35 + 0.1 * scene.cloud, PAPER)
    ink = lettering(72, 42, [(5, 2, 12, "FLANGE"), (5, 15, 9, "LOT 7731-A")], 15)
    surface.tint(1 - 0.93 * sample(ink, a, b, 8))
    add_connector(surface, *move(u, v, CONNECTOR, defect.connector), scene.belt)
    if defect.scratch is not None:
        add_scratch(surface, scene, defect.scratch, defect.tone)
    return surface


def shadow(height: F32, light: F32) -> F32:
    """Fraction of the key light which reaches each pixel of a height field."""
    reach, blocked = float(np.hypot(light[0], light[1])), np.zeros_like(height)
    for step in np.arange(0.7, 24, 0.9):
        shift = np.eye(2, 3, dtype=np.float32)
        shift[:, 2] = -step * SUPER * light[:2] / reach
        moved = cv2.warpAffine(height, shift, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        over = (moved - height - step * light[2] / reach) / (1 + 0.25 * step)
        blocked = np.maximum(blocked, f32(over))
    return f32(1 - blur(f32(np.clip(blocked / 1.1, 0, 1)), 1.3 * SUPER))


def unit(*parts: F32) -> F32:
    """Vector field of length one, component first, from its three components."""
    vectors = f32(np.stack(parts))
    return f32(vectors / np.linalg.norm(vectors, axis=0))


def shade(scene: Scene, surface: Surface) -> F32:
    """Light the surface: key light with anisotropic highlight, fill light, ambient occlusion."""
    height, zero = blur(surface.height, 0.8), np.zeros_like(surface.height)
    colour, (gloss, along, across) = surface.material[..., :3], surface.material.T[3:]
    gloss, along, across = gloss.T, along.T, across.T
    slope_y, slope_x = (f32(slope * SUPER) for slope in np.gradient(height))
    normal, eye = unit(-slope_x, -slope_y, zero + 1), unit(-scene.x, -scene.y, 620 - height)
    cos, sin = np.cos(surface.tangent), np.sin(surface.tangent)
    grain, cross = f32([cos, sin, zero]), f32([-sin, cos, zero])
    hollow = np.maximum(blur(surface.height, 7 * SUPER) - surface.height, 0)
    sky = f32(1 / (1 + 0.13 * hollow))
    total = 0.16 * sky * (1 - 0.5 * normal[1] + 0.3 * normal[0])
    fill, lit = f32([-0.7, -0.6, 1.1]) * scene.light, shadow(surface.height, scene.light)
    for (x, y, z), power, reach in ((scene.light, 1.0, lit), (fill, 0.3, sky)):
        source = unit(x - scene.x, y - scene.y, z - height)
        half = unit(*(source + eye))
        facing = np.maximum((half * normal).sum(0), 0.05)
        bent = half - facing * normal
        lean, side = (bent * grain).sum(0) / along, (bent * cross).sum(0) / across
        lobe = 1.75 * gloss * np.exp(-(lean**2 + side**2) / facing**2)
        diffuse = np.maximum((source * normal).sum(0), 0) * (1 - 0.75 * gloss)
        total += (diffuse + lobe) * reach * power
    return f32(colour * total[..., None])


def photograph(scene: Scene, defect: Defect) -> F32:
    """Noise-free picture (0..255 RGB) of the scene with the given defect."""
    light = shade(scene, build(scene, defect))
    if defect.stain is not None:
        light *= 1 - defect.stain[..., None] * f32([0.45, 0.62, 0.80])
    light = f32(cv2.resize(light, (SIZE, SIZE), interpolation=cv2.INTER_AREA))
    light = blur(light, 0.55) + 0.04 * blur(light, 7)
    x, y = np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE))
    lens = (1 + scene.tilt[0] * x + scene.tilt[1] * y) * (1 - 0.18 * (x * x + y * y))
    light = 1.12 * light * f32(lens)[..., None] * scene.gain
    return f32(255 * (1 - np.exp(-light)) ** (1 / 2.2))


def make_defect(kind: str, index: int, scene: Scene, rng: np.random.Generator) -> Defect:
    """Draw the index-th defect of a kind."""
    sign, spot = (-1) ** index, f32(SPOTS[index % 3]) + rng.uniform(-4, 4, 2)
    if kind == "missing":
        return Defect(missing=(1, 3, 2)[index % 3])
    if kind == "displaced":
        shift, turn = (rng.uniform(-3, 3), sign * rng.uniform(8, 11)), sign * rng.uniform(10, 14)
        if index % 3 == 1:
            return Defect(connector=(shift[1], 3.0, turn * 0.6))
        return Defect(label=(shift[0], -8.5 if index else 2.0, 0.3 * turn if index else turn))
    if kind == "scratch":
        t = np.linspace(-0.5, 0.5, 13)
        angle, length = sign * rng.uniform(0.4, 1.1), rng.uniform(60, 85)
        bend = rng.uniform(-9, 9) * (t * t) + np.cumsum(rng.normal(0, 0.25, 13))
        u = spot[0] + length * t * np.cos(angle) - bend * np.sin(angle)
        v = spot[1] + length * t * np.sin(angle) + bend * np.cos(angle)
        depth = (1 - (1.8 * t) ** 4) * rng.uniform(0.75, 1.0, 13)
        return Defect(scratch=f32([u, v, depth]).T, tone=(-0.8, 3.5, -0.75)[index % 3])
    ragged = disc(f32(scene.u - spot[0]), f32((scene.v - spot[1]) * rng.uniform(0.9, 1.3)), 0)
    ragged += 2.2 * noise(rng, 14) + 0.7 * noise(rng, 4) - f32(rng.uniform(12, 16))
    body, rim = 0.5 - 0.5 * np.tanh(ragged / 1.2), np.exp(-(((ragged + 1.2) / 1.3) ** 2))
    opacity = body * (0.5 + 0.05 * noise(rng, 9) + 0.3 * rim)
    return Defect(stain=f32(np.clip(opacity, 0, 0.9)))


def difference_mask(good: F32, bad: F32) -> NDArray[np.uint8]:
    """Pixels (255) which a defect changed, gaps and holes closed and specks dropped."""
    changed = (np.abs(good - bad).max(axis=2) > 10).astype(np.uint8)
    closed = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for outline in outlines:
        if len(outline) >= 12:
            cv2.drawContours(mask, [outline], -1, 255, cv2.FILLED)
    return mask


def save_photo(picture: F32, rng: np.random.Generator, path: Path) -> None:
    """Add sensor noise and write a JPEG."""
    spread = np.sqrt(1.2 + 0.012 * picture)
    noisy = picture + spread * rng.standard_normal(picture.shape, dtype=np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(noisy + 0.5, 0, 255).astype(np.uint8)).save(path, quality=90)


def plan() -> Iterator[tuple[str, str, int]]:
    """Folder, defect kind ("" for none) and number of every picture."""
    yield from (("good", "", number) for number in range(30))
    yield from (("test/good", "", number) for number in range(8))
    for kind in ("scratch", "stain", "missing", "displaced"):
        yield from ((f"test/{kind}", kind, number) for number in range(3))


def render(output: Path, seed: int) -> None:
    """Write all pictures and masks below `output`."""
    for index, (folder, kind, number) in enumerate(plan()):
        rng = np.random.default_rng(seed + index)
        scene = Scene(rng)
        picture = photograph(scene, Defect())
        if kind:
            good, picture = picture, photograph(scene, make_defect(kind, number, scene, rng))
            path = output / "ground_truth" / kind / f"{number:03d}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(difference_mask(good, picture)).save(path)
        save_photo(picture, rng, output / folder / f"{number:03d}.jpg")


def main() -> None:
    """Parse the command line and render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    render(options.output, options.seed)


if __name__ == "__main__":
    main()
