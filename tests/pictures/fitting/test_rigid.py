"""Parts that lie turned and shifted: found, brought back, told in the picture's own px."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
from conftest import GOOD, ROOT, SAMPLES, assert_fails, build, fapm
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import fapm_cli
from fapm_cli.bank.backbone import bank_extractor
from fapm_cli.bank.file import bank_bytes, load_bank
from fapm_cli.bank.presets import default_config
from fapm_cli.config import Preprocessing
from fapm_cli.errors import PictureError
from fapm_cli.growing.anew import learn_anew
from fapm_cli.pictures.fitting.pose import UPRIGHT, Pose
from fapm_cli.pictures.fitting.registration import Registration, aspect_of
from fapm_cli.pictures.preparing import Pixels, prepare

SCHEMA = json.loads((ROOT / "docs" / "score.schema.json").read_text())
INPUT = default_config(size_px=(96, 128)).preprocessing
OWN = 192, 256  # a picture's own px
_ROOM = 60


def plate(number: int, pose: Pose = UPRIGHT, size_px: tuple[int, int] = OWN) -> Image.Image:
    """A plate with holes and print on a coarse ground, that lies so."""
    draw = np.random.default_rng(number)
    height, width = size_px
    ground = np.full((height + 2 * _ROOM, width + 2 * _ROOM, 3), 60, np.uint8)
    y, x = _ROOM + (height - OWN[0]) // 2, _ROOM + (width - OWN[1]) // 2
    cv2.rectangle(ground, (x + 50, y + 40), (x + 200, y + 150), (190, 180, 150), -1)
    cv2.circle(ground, (x + 80, y + 70), 12, (60, 60, 60), -1)
    cv2.circle(ground, (x + 170, y + 120), 16, (60, 60, 60), -1)
    cv2.putText(ground, "A7", (x + 100, y + 120), cv2.FONT_HERSHEY_SIMPLEX, 1, (90, 30, 30), 3)
    lies = posed(ground, pose)[_ROOM : _ROOM + height, _ROOM : _ROOM + width]
    noisy = lies + draw.integers(-6, 7, lies.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def posed(pixels: Pixels, pose: Pose, how: int = cv2.INTER_CUBIC) -> Pixels:
    """A picture with what it shows turned clockwise about its middle, and shifted."""
    (height, width), (down, right) = pixels.shape[:2], pose.shift_px
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -pose.turn, 1)
    matrix[:, 2] += right, down
    moved = cv2.warpAffine(
        pixels, matrix, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE
    )
    return moved.astype(np.uint8)


def learnt(pictures: list[Image.Image], to: Preprocessing = INPUT) -> Registration:
    aspects = [aspect_of(one.size[::-1], to) for one in pictures]
    return Registration.of([prepare(one, to) for one in pictures], aspects, turns=True)


LITTLE = [Pose((i % 3 - 1, 1 - i % 2), 0.2 * (i % 5 - 2)) for i in range(8)]
KNOWN = learnt([plate(i, pose) for i, pose in enumerate(LITTLE)])


@pytest.mark.parametrize(
    ("down", "right", "turn"),
    [(0, 0, 3), (0, 0, -5), (8, 0, 5), (12, -18, -3), (-15, 7, 1.5), (-6, -20, 0), (5, 5, -0.6)],
)
def test_a_turn_is_found_and_taken_back(down: int, right: int, turn: float) -> None:
    placed = KNOWN.place(plate(50, Pose((down, right), turn)), OWN, INPUT)
    assert placed.registered
    assert placed.pose.shift_px == pytest.approx((down, right), abs=1.5)
    assert placed.pose.turn == pytest.approx(turn, abs=0.2)
    where = KNOWN.place(plate(50), OWN, INPUT)
    both = placed.seen & where.seen
    assert np.abs(placed.pixels.astype(int) - where.pixels)[both].mean() < 6
    assert np.array_equal(placed.pixels[~placed.seen], KNOWN.reference[~placed.seen])


@pytest.mark.parametrize("turn", [5, -5, 3.75, -1.25])
def test_the_turn_of_fine_grain_is_found_from_the_nearest_angle(turn: float) -> None:
    noise = np.random.default_rng(1).normal(0, 1, (632, 632)).astype(np.float32)
    grain = np.clip(128 + 120 * cv2.GaussianBlur(noise, (0, 0), 1.5), 0, 255).astype(np.uint8)
    ground, inner = np.dstack([grain] * 3), np.s_[60:-60, 60:-60]
    known = Registration(ground[inner].copy(), 0.5, turns=True)
    found = known.find(posed(ground, Pose((5, -8), turn))[inner].copy(), 1.0)
    assert found.turn == pytest.approx(turn, abs=0.1)
    assert (found.down, found.right) == pytest.approx((5, -8), abs=0.2)


def test_what_lies_well_is_left_as_it_is() -> None:
    known = learnt([plate(i) for i in range(6)])
    image = plate(51)
    placed = known.place(image, OWN, INPUT)
    assert placed.pose == UPRIGHT
    assert np.array_equal(placed.pixels, prepare(image, INPUT))
    assert placed.judged.all()


@settings(max_examples=25, deadline=None)
@given(st.integers(-15, 15), st.integers(-20, 20), st.floats(-5, 5), st.integers(0, 2**32 - 1))
def test_what_a_turned_picture_does_not_show_is_known_and_what_lies_beside_it_not_judged(
    down: int, right: int, turn: float, seed: int
) -> None:
    placed = KNOWN.place(plate(52, Pose((down, right), turn)), OWN, INPUT)
    assert placed.registered
    matrix, scale = placed.pose.matrix(OWN), OWN[0] / INPUT.crop_px[0]
    for v, u in np.random.default_rng(seed).integers(0, INPUT.crop_px, (60, 2)):
        x, y = matrix @ ((u + 0.5) * scale - 0.5, (v + 0.5) * scale - 0.5, 1)
        out = max(-0.5 - x, -0.5 - y, x - OWN[1] + 0.5, y - OWN[0] + 0.5)
        if abs(out) > scale + 2:  # a shift leaves out what the filter mixes, too
            assert placed.seen[v, u] == (out < 0)
        beside = slice(max(v - 8, 0), v + 9), slice(max(u - 8, 0), u + 9)
        assert placed.judged[v, u] == placed.seen[beside].all()


@settings(max_examples=25, deadline=None)
@given(st.integers(-10, 10), st.integers(-10, 10), st.floats(-5, 5), st.integers(0, 2**32 - 1))
def test_a_spot_painted_in_a_turned_picture_is_told_at_its_own_px(
    down: int, right: int, turn: float, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    pixels = np.array(plate(53, Pose((down, right), turn)))
    y, x = (int(draw.integers(40, side - 40)) for side in OWN)
    before = KNOWN.place(Image.fromarray(pixels), OWN, INPUT)
    cv2.circle(pixels, (x, y), 3, (255, 0, 255), -1)
    placed = KNOWN.place(Image.fromarray(pixels), OWN, INPUT)
    assert placed.registered
    changed = np.abs(placed.pixels.astype(int) - before.pixels).sum(axis=2)
    if placed.pose == before.pose:
        v, u = np.unravel_index(int(changed.argmax()), changed.shape)
        scale = OWN[0] / INPUT.crop_px[0]
        told = placed.pose.to_px((u + 0.5) * scale - 0.5, (v + 0.5) * scale - 0.5, OWN)
        assert told == pytest.approx((x, y), abs=2 * scale)


def test_a_draft_of_a_picture_is_turned_as_the_whole() -> None:
    whole = plate(54, Pose((12, -16), -2.5))
    draft = whole.resize((OWN[1] // 2, OWN[0] // 2))
    placed, coarse = (KNOWN.place(one, OWN, INPUT) for one in (whole, draft))
    assert coarse.pose.shift_px == pytest.approx(placed.pose.shift_px, abs=2)
    assert coarse.pose.turn == pytest.approx(placed.pose.turn, abs=0.2)
    assert (placed.seen == coarse.seen).mean() > 0.97


def test_a_large_picture_is_turned_at_a_size_that_is_enough() -> None:
    pose = Pose((9, 12), 3)
    large = plate(55, pose).resize((OWN[1] * 9, OWN[0] * 9), Image.Resampling.BICUBIC)
    placed = KNOWN.place(large, large.size[::-1], INPUT)
    assert placed.pose.shift_px == pytest.approx((81, 108), abs=14)
    assert placed.pose.turn == pytest.approx(3, abs=0.2)
    small = KNOWN.place(plate(55, pose), OWN, INPUT)
    both = placed.seen & small.seen
    assert np.abs(placed.pixels.astype(int) - small.pixels)[both].mean() < 3


@pytest.mark.parametrize("resize", [(96, 128), (128, 96), (96, 224)])
def test_a_turn_is_one_of_the_part_where_the_input_is_squeezed(resize: tuple[int, int]) -> None:
    to = replace(INPUT, resize_px=resize, crop_px=resize)
    known = learnt([plate(i, pose) for i, pose in enumerate(LITTLE)], to)
    pose = Pose((-6, 10), 4.0)
    placed = known.place(plate(56, pose), OWN, to)
    assert placed.pose.shift_px == pytest.approx(pose.shift_px, abs=2)
    assert placed.pose.turn == pytest.approx(pose.turn, abs=0.25)
    where = known.place(plate(56), OWN, to)
    both = placed.seen & where.seen
    assert np.abs(placed.pixels.astype(int) - where.pixels)[both].mean() < 6


def test_a_cropped_input_is_turned_too() -> None:
    crop = replace(INPUT, resize_px=(112, 150))
    known = learnt([plate(i, pose) for i, pose in enumerate(LITTLE)], crop)
    placed = known.place(plate(57, Pose((9, 4), 2)), OWN, crop)
    assert placed.pose.shift_px == pytest.approx((9, 4), abs=1.5)
    assert placed.pose.turn == pytest.approx(2, abs=0.2)
    assert placed.seen.mean() > 0.99  # the crop had about as much to spare


def test_what_shows_no_part_is_left_where_it_is() -> None:
    noise = np.random.default_rng(5).integers(0, 256, (*OWN, 3), dtype=np.uint8)
    for image in (Image.fromarray(noise), Image.new("RGB", OWN[::-1], (60, 60, 60))):
        placed = KNOWN.place(image, OWN, INPUT)
        assert not placed.registered
        assert placed.pose == UPRIGHT
        assert np.array_equal(placed.pixels, prepare(image, INPUT))


@pytest.mark.parametrize(
    "pose", [Pose((30, 0)), Pose((0, -40)), Pose((0, 0), 14), Pose((0, 0), -9)]
)
def test_a_part_that_lies_too_far_off_is_left_where_it_is(pose: Pose) -> None:
    placed = KNOWN.place(plate(58, pose), OWN, INPUT)
    assert not placed.registered
    assert placed.pose == UPRIGHT


@pytest.mark.parametrize("size_px", [(1, 4000), (4000, 1), (4000, 60), (4000, 20), (10, 4000)])
def test_a_picture_of_quite_another_shape_shows_no_part(size_px: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size_px, 3)).astype(np.uint8)
    placed = KNOWN.place(Image.fromarray(noise), size_px, INPUT)
    assert not placed.registered
    assert placed.pose == UPRIGHT


def test_good_parts_lie_in_the_middle_of_how_they_lie_whichever_comes_first() -> None:
    poses = [Pose((12, 12), 4), *[UPRIGHT] * 4, Pose((-4, 2), -1), Pose((4, -2), 1)]
    known = learnt([plate(i, pose) for i, pose in enumerate(poses)])
    placed = known.place(plate(60), OWN, INPUT)
    assert placed.pose.shift_px == pytest.approx((0, 0), abs=1.5)
    assert placed.pose.turn == pytest.approx(0, abs=0.25)


def test_parts_that_lie_anyhow_can_not_be_registered() -> None:
    anyhow = [plate(i, Pose((0, 0), 47 * i)) for i in range(8)]
    with pytest.raises(PictureError, match=r"can't be registered: \d of 8 good pictures lie"):
        learnt(anyhow)


def test_surfaces_can_not_be_registered() -> None:
    draw = np.random.default_rng(6)
    grain = [draw.integers(0, 256, (*INPUT.crop_px, 3), dtype=np.uint8) for _ in range(8)]
    with pytest.raises(PictureError, match="can't be registered"):
        Registration.of(grain, turns=True)
    with pytest.raises(PictureError, match="shows nothing to align by"):
        Registration.of([np.full((*INPUT.crop_px, 3), 90, np.uint8)] * 5, turns=True)


# --- The commands --------------------------------------------------------------------------------

_MARGIN = 24  # px cut from each side of the samples, so that there is something to turn in


def cut(path: Path, to: Path, pose: Pose = UPRIGHT) -> Path:
    """A sample picture, or its mask, without its rim, that lies so."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(path) as image:
        how = cv2.INTER_NEAREST if path.suffix == ".png" else cv2.INTER_CUBIC
        pixels = posed(np.array(image), pose, how)
    Image.fromarray(pixels[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]).save(to)
    return to


@pytest.fixture(scope="module")
def rigid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of sample pictures that lie shifted and turned, and are aligned."""
    folder, draw = tmp_path_factory.mktemp("rigid"), np.random.default_rng(1)
    good = [cut(path, folder / "good" / f"{path.stem}.png", drawn(draw)) for path in GOOD[:22]]
    return build(folder / "bank.st", good, "--align", "rigid")


def drawn(draw: np.random.Generator) -> Pose:
    down, right = (int(one) for one in draw.integers(-8, 9, 2))
    return Pose((down, right), float(draw.uniform(-3, 3)))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Pose]]:
    """The sample test pictures and masks, as they lie and moved, and how."""
    folder, draw, poses = tmp_path_factory.mktemp("sets"), np.random.default_rng(0), {}
    for path in sorted((SAMPLES / "test").glob("*/*.jpg")):
        kind, stem = path.parent.name, path.stem
        poses[f"{kind}/{stem}"] = drawn(draw)
        for name, pose in (("still", UPRIGHT), ("moved", poses[f"{kind}/{stem}"])):
            cut(path, folder / name / "test" / kind / f"{stem}.png", pose)
            mask = SAMPLES / "ground_truth" / kind / f"{stem}_mask.png"
            if mask.exists():
                cut(mask, folder / name / "ground_truth" / kind / mask.name, pose)
    for name in ("still", "moved"):
        for path in GOOD[:2]:
            cut(path, folder / name / "train" / "good" / f"{path.stem}.png")
    return folder, poses


def test_turned_parts_get_the_verdicts_of_those_that_lie_well(
    rigid: Path, sets: tuple[Path, dict[str, Pose]]
) -> None:
    folder, poses = sets
    found = {}
    for name in ("still", "moved"):
        records = fapm("score", rigid, folder / name / "test", "--json").json
        jsonschema.validate(records, SCHEMA)
        found[name] = {"/".join(Path(r["path"]).with_suffix("").parts[-2:]): r for r in records}
    size_px = (320 - 2 * _MARGIN,) * 2
    for picture, still in found["still"].items():
        moved, pose = found["moved"][picture], poses[picture]
        if not picture.startswith("displaced"):
            assert moved["verdict"] == still["verdict"], picture
            assert moved["turn"] - still["turn"] == pytest.approx(pose.turn, abs=0.4)
            for axis, wanted in zip("yx", pose.shift_px, strict=True):
                assert moved["shift"][axis] - still["shift"][axis] == pytest.approx(wanted, abs=3)
        if still["verdict"] == "anomalous" and picture.startswith(("stain", "scratch")):
            x, y = pose.to_px(still["peak"]["x"], still["peak"]["y"], size_px)
            assert moved["peak"]["x"] == pytest.approx(x, abs=16)
            assert moved["peak"]["y"] == pytest.approx(y, abs=16)
        for region in moved["regions"]:
            assert 0 <= region["peak"]["x"] - region["x"] < region["width"]
            assert 0 <= region["peak"]["y"] - region["y"] < region["height"]


def test_pixel_figures_hold_for_turned_parts(
    rigid: Path, sets: tuple[Path, dict[str, Pose]]
) -> None:
    still, moved = (
        fapm("eval", sets[0] / name, "--bank", rigid, "--json", "--precision", "fp32").json[0]
        for name in ("still", "moved")
    )
    assert moved["image_auroc"] >= still["image_auroc"] - 0.02
    assert moved["pixel_auroc"] >= still["pixel_auroc"] - 0.01


def test_a_spot_lies_at_its_own_px_in_record_map_and_heatmap(
    rigid: Path, sets: tuple[Path, dict[str, Pose]], tmp_path: Path
) -> None:
    picture = tmp_path / "spot.png"
    with Image.open(sets[0] / "moved" / "test" / "good" / "001.png") as image:
        pixels = np.array(image.convert("RGB"))
    cv2.circle(pixels, (200, 70), 5, (255, 0, 255), -1)
    Image.fromarray(pixels).save(picture)
    (record,) = fapm("score", rigid, picture, "--json").json
    assert abs(record["turn"]) > 0.5
    assert (record["peak"]["x"], record["peak"]["y"]) == pytest.approx((200, 70), abs=6)
    region = record["regions"][0]
    assert region["x"] <= 200 < region["x"] + region["width"]
    assert region["y"] <= 70 < region["y"] + region["height"]
    assert fapm("heatmap", rigid, picture, "-o", tmp_path / "out", "--map", "npy").code == 0
    (file,) = (tmp_path / "out").glob("*.npy")
    anomaly_map = np.load(file)
    assert anomaly_map.shape == pixels.shape[:2]
    y, x = np.unravel_index(np.nanargmax(anomaly_map), anomaly_map.shape)
    assert (x, y) == pytest.approx((record["peak"]["x"], record["peak"]["y"]), abs=2)
    result = next(iter(fapm_cli.load(rigid).detector().stream([picture])))
    np.testing.assert_allclose(result.anomaly_map, anomaly_map, equal_nan=True, atol=0.05)
    squeezed = result.map_of_size((136, 272))
    v, u = np.unravel_index(np.nanargmax(squeezed), squeezed.shape)
    assert (u, 2 * v) == pytest.approx((x, y), abs=5)
    corners = np.isnan(anomaly_map)[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.any()  # a turned picture shows what is no part of the input


def test_a_csv_row_says_how_a_part_lies(
    rigid: Path, bank: Path, sets: tuple[Path, dict[str, Pose]]
) -> None:
    picture = sets[0] / "moved" / "test" / "good" / "001.png"
    (record,) = fapm("score", rigid, picture, "--json").json
    head, row = (
        line.split(",")
        for line in fapm("score", rigid, picture, "--format", "csv").out.splitlines()
    )
    told = dict(zip(head, row, strict=True))
    assert told["shift_x"] == str(record["shift"]["x"])
    assert told["shift_y"] == str(record["shift"]["y"])
    assert told["turn"] == str(record["turn"])
    head, row = (
        line.split(",") for line in fapm("score", bank, GOOD[0], "--format", "csv").out.splitlines()
    )
    assert row[head.index("turn")] == row[head.index("shift_x")] == ""


def test_a_bank_learnt_anew_from_its_thumbnails_is_the_same(rigid: Path) -> None:
    bank = load_bank(rigid)
    assert bank.config.align == "rigid"
    assert bank.registration is not None
    assert bank.registration.turns
    assert bank.inspected_share > 0.9
    assert "each part shifted and turned" in fapm("info", rigid).out
    again, _ = learn_anew(bank, bank_extractor(bank), lambda stage, done, total: None)
    assert bank_bytes(again) == bank_bytes(bank)


def test_a_rigid_bank_grows_and_is_neither_merged_with_another_nor_exported(
    rigid: Path, tmp_path: Path
) -> None:
    new = cut(GOOD[25], tmp_path / "new.png", Pose((6, -6), 2.5))
    grown = tmp_path / "grown.st"
    assert fapm("add", rigid, new, "-o", grown).code == 0
    scores = [fapm("score", path, new, "--json").json[0] for path in (rigid, grown)]
    assert scores[0]["turn"] == scores[1]["turn"] == pytest.approx(2.5, abs=1.5)
    assert scores[1]["score"] < scores[0]["score"]
    good = [cut(path, tmp_path / "good" / f"{path.stem}.png") for path in GOOD[:6]]
    shift = build(tmp_path / "shift.st", good, "--align", "shift")
    assert_fails(fapm("merge", rigid, shift, "-o", tmp_path / "both.st"), "align: rigid and shift")
    assert_fails(fapm("export", rigid, "-o", tmp_path / "part.onnx"), "aligns", "--as-is")
    (record,) = fapm("score", shift, new, "--json").json
    assert "turn" not in record


def test_parts_that_can_not_be_aligned_are_refused(tmp_path: Path) -> None:
    for i in range(5):
        plate(i, Pose((0, 0), 47 * i)).save(tmp_path / f"{i}.png")
    result = fapm("build", tmp_path, "-o", tmp_path / "bank.st", "--align", "rigid")
    assert_fails(result, "parts can't be registered", "leave --align out")
    assert not (tmp_path / "bank.st").exists()


def test_the_turn_that_is_told_is_clockwise() -> None:
    corner = np.zeros((101, 101), np.uint8)
    corner[50, 100] = 255  # to the right of the middle: turned clockwise, it lies lower
    y, _ = np.unravel_index(int(posed(corner, Pose((0, 0), 5)).argmax()), corner.shape)
    assert y == pytest.approx(50 + 50 * math.sin(math.radians(5)), abs=1)
    assert Pose((0, 0), 5).to_px(100, 50, corner.shape)[1] == y
