"""Pictures in another light: brought back where no good picture had it, else left alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from conftest import GOOD, ROOT, SAMPLES, Result, assert_fails, build, fapm
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fapm_cli.bank.file import load_bank, save_bank
from fapm_cli.engines.opening import open_judge
from fapm_cli.pictures.fitting.light import Exact, Light, Lit, tones_of
from fapm_cli.pictures.preparing import Pixels
from fapm_cli.pictures.reading import Prepared, prepare_item

SCHEMA = json.loads((ROOT / "docs" / "score.schema.json").read_text())
HEIGHT, WIDTH = 48, 64
BLACK = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def scene(number: int, noise: int = 3) -> Pixels:
    """A part of many greys on a bright ground, a little different each time, nowhere white."""
    draw = np.random.default_rng(number)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    grey = np.where(columns < WIDTH // 2, 200, 30 + 2 * rows + columns)
    coloured = grey[..., None] * np.array([1.0, 0.9, 0.8])
    coloured *= 1 + draw.normal(0, 0.01)
    coloured += draw.integers(-noise, noise + 1, coloured.shape)
    pixels: Pixels = np.clip(np.rint(coloured), 0, 255).astype(np.uint8)
    return pixels


GOOD_ONES = np.stack([scene(i) for i in range(20)])
LIGHT = Light.of(GOOD_ONES)


def exposed(pixels: Pixels, *factors: float) -> Pixels:
    """A picture at other exposures of its channels, clipped as a camera does."""
    moved: Pixels = np.clip(np.rint(pixels * np.array(factors)), 0, 255).astype(np.uint8)
    return moved


def powered(pixels: Pixels, gamma: float) -> Pixels:
    """A picture by a camera of another gamma."""
    return np.rint(255 * (pixels / 255) ** gamma).astype(np.uint8)


def apart(one: Pixels | Exact, other: Pixels | Exact) -> float:
    """Mean grey levels between two pictures."""
    return float(np.abs(one.astype(float) - other).mean())


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_tones_are_the_levels_at_evenly_spaced_ranks(seed: int, partly: bool) -> None:
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 256, (14, 18, 3), dtype=np.uint8)
    inspected = draw.random((14, 18)) < 0.5 if partly else np.ones((14, 18), bool)
    inspected[0, 0] = True
    found = tones_of(pixels, inspected if partly else None)
    for channel in range(3):
        levels = sorted(
            int(pixels[y, x, channel])
            for y in range(0, 14, 2)
            for x in range(0, 18, 2)
            if inspected[y, x]
        )
        wanted = [levels[int((i + 0.5) / 32 * len(levels))] for i in range(32)]
        assert found[:, channel].tolist() == wanted


@pytest.mark.parametrize("number", range(20, 40))
def test_in_the_usual_light_nothing_changes(number: int) -> None:
    pixels = scene(number)
    lit = LIGHT.correct(pixels)
    assert lit.beyond == 0
    assert lit.pixels is pixels
    assert lit.gains == pytest.approx([1] * 3, abs=0.03)


def taken_back(pixels: Pixels, moved: Pixels) -> Lit:
    """What becomes of a picture in another light: next to what it was."""
    lit = LIGHT.correct(moved)
    assert lit.beyond
    assert apart(lit.pixels, pixels) < 3 < apart(moved, pixels)
    return lit


@pytest.mark.parametrize("factor", [0.4, 0.6, 0.8, 0.9, 1.1, 1.2])
def test_another_exposure_is_taken_back(factor: float) -> None:
    pixels = scene(50)
    lit = taken_back(pixels, exposed(pixels, factor, factor, factor))
    assert lit.differs or factor in (0.9, 1.1)
    assert lit.gains == pytest.approx([factor] * 3, rel=0.03)


@pytest.mark.parametrize("gamma", [0.7, 0.8, 1.25, 1.5])
def test_another_gamma_is_taken_back(gamma: float) -> None:
    pixels = scene(51)
    taken_back(pixels, powered(pixels, gamma))


def test_another_white_balance_is_taken_back() -> None:
    pixels = scene(52)
    taken_back(pixels, exposed(pixels, 1.15, 1.0, 0.85))


def test_what_white_hides_is_taken_for_what_is_usual_there() -> None:
    pixels = scene(53)
    moved = exposed(pixels, 1.4, 1.4, 1.4)
    white = moved >= 254
    assert white.mean() > 0.1
    lit = LIGHT.correct(moved)
    assert np.abs(lit.pixels[white].astype(int) - LIGHT.usual[white]).mean() < 4
    assert apart(lit.pixels, pixels) < 4


def test_a_white_ground_that_stays_white_speaks_for_no_darker_light() -> None:
    ground = np.arange(WIDTH) < 0.7 * WIDTH
    good = GOOD_ONES.copy()
    good[:, :, ground] = 255
    light = Light.of(good)
    part = good[3].copy()
    part[:, ~ground] = exposed(part[:, ~ground], 0.93, 0.93, 0.93)  # the part alone is darker
    assert light.correct(part).gains == (1, 1, 1)
    whole = exposed(good[3], 0.93, 0.93, 0.93)
    lit = light.correct(whole)
    assert lit.beyond
    assert (lit.pixels[:, ground] >= 254).all()


def test_grey_pictures_stay_grey_and_colour_is_taken_out_of_what_should_be() -> None:
    grey = np.repeat(GOOD_ONES[..., :1], 3, axis=3)
    light = Light.of(grey)
    lit = light.correct(exposed(grey[2], 0.7, 0.7, 0.7))
    assert lit.beyond
    assert (lit.pixels == lit.pixels[..., :1]).all()
    tinted = light.correct(exposed(grey[2], 1.1, 1.0, 0.9))
    assert tinted.beyond
    assert apart(tinted.pixels, grey[2]) < 3


def test_the_light_is_that_of_what_is_inspected() -> None:
    inspected = np.zeros((HEIGHT, WIDTH), bool)
    inspected[:, WIDTH // 2 :] = True
    light = Light.of(GOOD_ONES, inspected)
    pixels = GOOD_ONES[4].copy()
    pixels[:, : WIDTH // 2] //= 2  # a lamp beside the part went out
    assert not light.correct(pixels, inspected).beyond
    assert light.correct(exposed(GOOD_ONES[4], 0.7, 0.7, 0.7), inspected).beyond


@pytest.mark.parametrize("level", [0, 5, 255])
def test_what_shows_nothing_is_left_as_it_is(level: int) -> None:
    pixels = np.full_like(BLACK, level)
    assert np.array_equal(LIGHT.correct(pixels).pixels, pixels)


@pytest.mark.parametrize("factor", [0.25, 2.0])
def test_a_light_too_far_from_the_usual_is_told_and_not_taken_back(factor: float) -> None:
    moved = exposed(scene(54), factor, factor, factor)
    lit = LIGHT.correct(moved)
    assert lit.differs
    assert np.array_equal(lit.pixels, moved)


def test_a_light_that_good_pictures_had_is_usual() -> None:
    both = np.concatenate([GOOD_ONES, *(exposed(p[None], 0.7, 0.7, 0.7) for p in GOOD_ONES)])
    light = Light.of(both)
    assert not light.correct(exposed(scene(55), 0.75, 0.75, 0.75)).beyond
    assert light.correct(exposed(scene(55), 0.5, 0.5, 0.5)).beyond


def test_one_odd_picture_makes_no_light_usual() -> None:
    light = Light.of(np.concatenate([GOOD_ONES, exposed(GOOD_ONES[:1], 0.6, 0.6, 0.6)]))
    assert light.correct(exposed(scene(56), 0.7, 0.7, 0.7)).beyond


def test_widened_by_others_their_light_is_usual_too() -> None:
    dark = Light.of(np.stack([exposed(one, 0.7, 0.7, 0.7) for one in GOOD_ONES]))
    moved = exposed(scene(57), 0.72, 0.72, 0.72)
    assert LIGHT.correct(moved).beyond
    both = LIGHT.widened([dark])
    assert not both.correct(moved).beyond
    assert not both.correct(scene(57)).beyond
    assert both.correct(exposed(scene(57), 0.5, 0.5, 0.5)).beyond


@pytest.mark.parametrize(("number", "most"), [(1, 0.2), (2, 0.2), (3, 0.2), (5, 0.2), (15, 0.1)])
def test_fresh_good_pictures_are_in_the_usual_light_however_few_were_learnt(
    number: int, most: float
) -> None:
    changed = []
    for draw in range(6):
        order = np.random.default_rng([draw, 7]).permutation(len(GOOD))
        shown = [np.asarray(Image.open(GOOD[i]).resize((96, 96))) for i in order]
        light = Light.of(np.stack(shown[:number]))
        changed += [light.correct(one).beyond > 0 for one in shown[number:]]
    assert np.mean(changed) <= most


@pytest.mark.parametrize("exposure", [0.97, 0.95, 0.9, 0.8])
def test_a_pale_surface_that_is_darker_keeps_its_dark_defects(exposure: float) -> None:
    draw = np.random.default_rng(3)

    def surface() -> Pixels:
        grey = np.clip(np.rint(draw.normal(258, 3, (HEIGHT, WIDTH))), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)

    light = Light.of(np.stack([surface() for _ in range(20)]))
    scratched = surface()
    scratched[20:24, 20:40] = 40
    lit = light.correct(exposed(scratched, exposure, exposure, exposure))
    assert lit.pixels[20:24, 20:40].mean() == pytest.approx(40, abs=4)


def test_a_black_ground_that_is_lifted_is_no_gain() -> None:
    dark = GOOD_ONES.copy()
    dark[:, :, : WIDTH // 2] = 2
    lifted = dark[0].copy()
    lifted[:, : WIDTH // 2] = 12
    assert Light.of(dark).correct(lifted).gains == pytest.approx([1] * 3, abs=0.03)


def test_a_region_between_the_px_that_are_looked_at_counts_alone() -> None:
    inspected = np.zeros((HEIGHT, WIDTH), bool)
    inspected[:, 41] = True
    light = Light.of(GOOD_ONES, inspected)
    pixels = exposed(GOOD_ONES[4], 0.6, 0.6, 0.6)
    pixels[:, 41] = GOOD_ONES[4][:, 41]
    assert light.correct(pixels, inspected).beyond == 0


def test_of_another_tint_alone_the_brightness_stays() -> None:
    bright = [exposed(one, f, f, f) for f in (0.6, 0.8, 1.0) for one in GOOD_ONES]
    light = Light.of(np.stack(bright))
    dim = exposed(GOOD_ONES[2], 0.65, 0.65, 0.65)
    assert light.correct(dim).beyond == 0
    tinted = light.correct(exposed(GOOD_ONES[2], 0.65 * 1.06, 0.65, 0.65))
    assert tinted.beyond > 0
    assert float(tinted.pixels.mean()) == pytest.approx(float(dim.mean()), rel=0.03)


def test_of_a_single_picture_it_is_known_too() -> None:
    light = Light.of(GOOD_ONES[:1])
    assert not light.correct(GOOD_ONES[0]).beyond
    assert apart(light.correct(exposed(GOOD_ONES[0], 0.8, 0.8, 0.8)).pixels, GOOD_ONES[0]) < 3


def test_json_keeps_it() -> None:
    again = Light.from_json(json.loads(json.dumps(LIGHT.to_json())), LIGHT.usual)
    for name, values in vars(LIGHT).items():
        assert np.array_equal(getattr(again, name), values)


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": [[1.0] * 3] * 31},
        {"levels": [[float("nan")] * 3] * 32},
        {"spreads": [[-1.0] * 3] * 32},
        {"spreads": "much"},
        {"gains": [[0.0] * 5] * 3},
        {"gammas": [[1e9] * 5] * 2},
        {"gammas": None},
        {"levels": [["4.0"] * 3] * 32},
        {"spreads": [[True] * 3] * 32},
        {"gains": [[0.1] * 5, [-0.1] * 5]},
        {"levels": [[-1.0] * 3] * 32},
    ],
)
def test_what_is_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Light.from_json({**LIGHT.to_json(), **changes}, LIGHT.usual)


@pytest.fixture(scope="module")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample test pictures at half their exposure."""
    folder = tmp_path_factory.mktemp("dark")
    for path in sorted((SAMPLES / "test").glob("*/*.jpg")):
        with Image.open(path) as image:
            moved = exposed(np.asarray(image.convert("RGB")), 0.5, 0.5, 0.5)
        (folder / path.parent.name).mkdir(exist_ok=True)
        Image.fromarray(moved).save(folder / path.parent.name / f"{path.stem}.png")
    return folder


def verdicts(result: Result) -> dict[str, str]:
    """Verdict by kind and number of the picture."""
    return {
        "/".join(Path(one["path"]).with_suffix("").parts[-2:]): one["verdict"]
        for one in result.json
    }


def test_darker_pictures_get_the_verdicts_of_the_others_and_are_told(
    bank: Path, dark: Path
) -> None:
    usual = fapm("score", bank, SAMPLES / "test", "--json")
    moved = fapm("score", bank, dark, "--json")
    assert verdicts(moved) == verdicts(usual)
    for record in moved.json:
        jsonschema.validate(record, SCHEMA)
        assert "light" in record["differs"]
        assert record["light"] == pytest.approx([0.5] * 3, abs=0.04)
    assert all("light" not in one["differs"] for one in usual.json)
    count = len(moved.json)
    assert f"{count} of {count} pictures are of another kind than the bank's" in moved.err
    assert "in another light than all of its own" in moved.err


def test_as_they_are_darker_good_pictures_are_anomalous(bank: Path, dark: Path) -> None:
    limit = load_bank(bank).thresholds.score
    result = fapm("score", bank, dark / "good", "--json", "--light", "as-is")
    assert "verdict" not in result.json[0]  # asked another way than the threshold was set for
    assert all(one["score"] > limit for one in result.json)
    assert all("light" not in one and "light" not in one["differs"] for one in result.json)


def test_a_bank_may_be_built_to_take_pictures_as_they_are(tmp_path: Path, dark: Path) -> None:
    path = build(tmp_path / "bank.st", GOOD[:12], "--light", "as-is")
    result = fapm("score", path, dark / "good", "--json")
    assert all(one["verdict"] == "anomalous" for one in result.json)
    corrected = fapm("score", path, dark / "good", "--json", "--light", "corrected")
    limit = load_bank(path).thresholds.score
    assert all(one["score"] < limit for one in corrected.json)


def test_by_a_bank_of_grey_pictures_colour_is_seen_as_a_camera_without_it_sees(
    tmp_path: Path,
) -> None:
    def saved(name: str, picture: Image.Image) -> Path:
        picture.save(tmp_path / name)
        return tmp_path / name

    grey = [Image.open(path).convert("L") for path in GOOD[:9]]
    good = [saved(f"{i}.png", one) for i, one in enumerate(grey[:8])]
    own = build(tmp_path / "grey.st", good)
    tinted = saved(
        "tinted.png",
        Image.fromarray(exposed(np.asarray(grey[8].convert("RGB")), 1.1, 1.0, 0.9)),
    )
    without = saved("without.png", Image.open(tinted).convert("L"))
    usual, plain = saved("usual.png", grey[8]), ("--precision", "fp32")
    for engine in ("openvino", "torch"):
        seen, same, lit = fapm(
            "score", own, tinted, without, usual, "--json", "--engine", engine, *plain
        ).json
        assert seen["score"] == pytest.approx(same["score"], rel=0.01)  # made smaller, then grey
        assert seen["score"] == pytest.approx(lit["score"], rel=0.1)
        assert (seen["differs"], same["differs"]) == (["colour"], [])
    learnt = load_bank(own)
    prepared = prepare_item(tinted, learnt.config.preprocessing, open_judge(learnt).fitting)
    assert isinstance(prepared, Prepared)
    assert (prepared.input == prepared.input[..., :1]).all()
    first, second = fapm("score", own, tinted, without, "--json", "--light", "as-is").json
    assert first["score"] > 1.2 * second["score"]  # then it is as it is


def test_a_bank_that_does_not_know_its_light_says_so(bank: Path, tmp_path: Path) -> None:
    old = replace(load_bank(bank), light=None)
    old = replace(old, config=old.config.with_query(light="as-is"))
    save_bank(old, tmp_path / "old.st")
    result = fapm("score", tmp_path / "old.st", GOOD[0], "--json")
    assert result.code == 0
    assert "light" not in result.json[0]
    refused = fapm("score", tmp_path / "old.st", GOOD[0], "--light", "corrected")
    assert_fails(refused, "the bank does not know its light", "as-is")


@pytest.mark.parametrize("thumbnails", [True, False])
def test_a_bank_that_grows_knows_the_new_light(
    tmp_path: Path, dark: Path, thumbnails: bool
) -> None:
    options = ("--size", "96", *(() if thumbnails else ("--no-thumbnails",)))
    path = build(tmp_path / "bank.st", GOOD[:12], *options)
    new = sorted((dark / "good").iterdir())
    assert fapm("add", path, *new[:4]).code == 0
    (record,) = fapm("score", path, new[5], "--json").json
    assert "light" not in record["differs"]


@pytest.mark.parametrize("thumbnails", [True, False])
def test_a_merged_bank_knows_the_light_of_both(
    tmp_path: Path, dark: Path, thumbnails: bool
) -> None:
    options = ("--size", "96", *(() if thumbnails else ("--no-thumbnails",)))
    new = sorted((dark / "good").iterdir())
    banks = [
        build(tmp_path / "bright.st", GOOD[:12], *options),
        build(tmp_path / "dark.st", new[:5], *options),
    ]
    assert fapm("merge", *banks, "-o", tmp_path / "both.st").code == 0
    for fresh in (new[6], GOOD[14]):
        found = [
            "light" in fapm("score", path, fresh, "--json").json[0]["differs"]
            for path in (*banks, tmp_path / "both.st")
        ]
        assert found == [fresh == new[6], fresh == GOOD[14], False]
