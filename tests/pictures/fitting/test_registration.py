"""Parts that lie shifted: found, brought to where the good ones lie, told in the picture's px."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
import torch
from conftest import GOOD, ROOT, SAMPLES, assert_fails, build, fapm
from helpers import scorer_of, small_bank
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fapm_cli.bank.backbone import bank_extractor
from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import bank_bytes, load_bank
from fapm_cli.bank.presets import default_config
from fapm_cli.bank.thumbnails import decode_thumbnail
from fapm_cli.config import Preprocessing, Resampling
from fapm_cli.errors import PictureError
from fapm_cli.growing.anew import learn_anew
from fapm_cli.memory.shown import wholly
from fapm_cli.pictures.fitting.moving import judged_of, seen_shifted
from fapm_cli.pictures.fitting.registration import Registration
from fapm_cli.pictures.preparing import Pixels

SCHEMA = json.loads((ROOT / "docs" / "score.schema.json").read_text())
INPUT = default_config(size_px=(96, 128)).preprocessing
OWN = 192, 256  # a picture's own px


def part(number: int, down: int = 0, right: int = 0) -> Image.Image:
    """A plate with holes and print on a coarse ground, shifted by so many px of its own."""
    draw = np.random.default_rng(number)
    ground = np.full((OWN[0] + 80, OWN[1] + 80, 3), 60, np.uint8)
    y, x = 40 + down, 40 + right
    cv2.rectangle(ground, (x + 50, y + 40), (x + 200, y + 150), (190, 180, 150), -1)
    cv2.circle(ground, (x + 80, y + 70), 12, (60, 60, 60), -1)
    cv2.circle(ground, (x + 170, y + 120), 16, (60, 60, 60), -1)
    cv2.putText(ground, "A7", (x + 100, y + 120), cv2.FONT_HERSHEY_SIMPLEX, 1, (90, 30, 30), 3)
    shown = ground[40 : 40 + OWN[0], 40 : 40 + OWN[1]]
    noisy = shown + draw.integers(-6, 7, shown.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def prepared(image: Image.Image, to: Preprocessing = INPUT) -> Pixels:
    """The input of a picture, as it lies."""
    from fapm_cli.pictures.preparing import prepare

    return prepare(image, to)


KNOWN = Registration.of([prepared(part(i, i % 3 - 1, 1 - i % 2)) for i in range(8)])


@pytest.mark.parametrize(
    ("down", "right"), [(0, 0), (8, 0), (0, -10), (12, 18), (-15, 7), (-6, -20)]
)
def test_a_shift_is_found_and_taken_back(down: int, right: int) -> None:
    placed = KNOWN.place(part(50, down, right), OWN, INPUT)
    assert placed.registered
    assert placed.pose.shift_px == pytest.approx((down, right), abs=1.5)
    where = KNOWN.place(part(50), OWN, INPUT)
    both = placed.seen & where.seen
    apart = np.abs(placed.pixels.astype(int) - where.pixels)[both]
    assert apart.mean() < 6
    assert np.array_equal(placed.pixels[~placed.seen], KNOWN.reference[~placed.seen])


@pytest.mark.parametrize(("down", "right"), [(10, 0), (-10, 0), (0, 14), (0, -14), (9, -13)])
def test_what_a_moved_picture_does_not_show_is_known_and_what_lies_beside_it_not_judged(
    down: int, right: int
) -> None:
    placed = KNOWN.place(part(51, down, right), OWN, INPUT)
    rows, columns = placed.pose.shift_px
    scale = OWN[0] / INPUT.crop_px[0]
    height, width = INPUT.crop_px
    for y in range(height):
        for x in range(width):
            top, bottom = y * scale + rows, (y + 1) * scale + rows
            left, end = x * scale + columns, (x + 1) * scale + columns
            whole = top >= 0 and bottom <= OWN[0] and left >= 0 and end <= OWN[1]
            assert whole or not placed.seen[y, x]
            inner = top >= 4 and bottom <= OWN[0] - 4 and left >= 4 and end <= OWN[1] - 4
            assert placed.seen[y, x] or not inner
            beside = slice(max(y - 8, 0), y + 9), slice(max(x - 8, 0), x + 9)
            assert placed.judged[y, x] == placed.seen[beside].all()


def test_a_draft_of_a_picture_is_moved_as_the_whole() -> None:
    whole = part(52, 12, -16)
    draft = whole.resize((OWN[1] // 2, OWN[0] // 2))
    placed, coarse = (KNOWN.place(one, OWN, INPUT) for one in (whole, draft))
    assert coarse.pose.shift_px == pytest.approx(placed.pose.shift_px, abs=2)


def test_a_cropped_input_is_moved_too() -> None:
    crop = default_config().preprocessing
    crop = Preprocessing((112, 150), INPUT.crop_px, "bilinear", True, crop.mean, crop.std)
    known = Registration.of([prepared(part(i), crop) for i in range(6)])
    placed = known.place(part(53, 9, 12), OWN, crop)
    assert placed.pose.shift_px == pytest.approx((9, 12), abs=1.5)
    assert placed.seen.all()  # the crop had as much to spare


def test_what_shows_no_part_is_left_where_it_is() -> None:
    noise = np.random.default_rng(5).integers(0, 256, (*OWN, 3), dtype=np.uint8)
    for image in (Image.fromarray(noise), Image.new("RGB", OWN[::-1], (60, 60, 60))):
        placed = KNOWN.place(image, OWN, INPUT)
        assert not placed.registered
        assert placed.pose.shift_px == (0, 0)
        assert placed.seen.all()
        assert np.array_equal(placed.pixels, prepared(image))


@pytest.mark.parametrize(("down", "right"), [(30, 0), (-30, 0), (0, 40), (0, -40)])
def test_a_part_that_lies_too_far_off_is_left_where_it_is(down: int, right: int) -> None:
    placed = KNOWN.place(part(54, down, right), OWN, INPUT)
    assert not placed.registered
    assert placed.pose.shift_px == (0, 0)


def test_good_parts_lie_in_the_middle_of_where_they_lie_whichever_comes_first() -> None:
    shifts = [(12, 12), *[(0, 0)] * 4, (-4, 2), (4, -2)]
    known = Registration.of([prepared(part(i, *shift)) for i, shift in enumerate(shifts)])
    assert known.place(part(60), OWN, INPUT).pose.shift_px == pytest.approx((0, 0), abs=1.5)


def test_one_odd_picture_makes_no_likeness_usual() -> None:
    black = np.zeros((*INPUT.crop_px, 3), np.uint8)
    known = Registration.of([*(prepared(part(i)) for i in range(10)), black])
    noise = np.random.default_rng(5).integers(0, 256, (*OWN, 3), dtype=np.uint8)
    assert not known.place(Image.fromarray(noise), OWN, INPUT).registered
    assert known.place(part(55, 6, 6), OWN, INPUT).registered


def test_pictures_with_nothing_in_their_middle_can_not_be_registered() -> None:
    with pytest.raises(PictureError, match="shows nothing to align by"):
        Registration.of([np.full((*INPUT.crop_px, 3), 90, np.uint8)] * 5)


@pytest.mark.parametrize("resampling", ["bilinear", "lanczos"])
@pytest.mark.parametrize("own", [(24, 32), (48, 64), (192, 256), (500, 700)])
def test_nothing_from_outside_a_picture_is_in_what_it_shows(
    resampling: Resampling, own: tuple[int, int]
) -> None:
    to = replace(INPUT, resampling=resampling)
    down, right = own[0] // 12, -own[1] // 12
    flat = Image.new("RGB", own[::-1], (200, 200, 200))
    moved = prepared(flat.crop((right, down, right + own[1], down + own[0])), to)
    seen = seen_shifted(down, right, own, to)
    assert seen.any()
    assert (moved[seen] == 200).all()


def test_surfaces_can_not_be_registered() -> None:
    draw = np.random.default_rng(6)
    grain = [draw.integers(0, 256, (*INPUT.crop_px, 3), dtype=np.uint8) for _ in range(8)]
    with pytest.raises(PictureError, match="can't be registered"):
        Registration.of(grain)


def test_parts_that_turn_can_not_be_registered() -> None:
    turned = [part(i).rotate(47 * i, fillcolor=(60, 60, 60)) for i in range(8)]
    with pytest.raises(PictureError, match="do they turn"):
        Registration.of([prepared(one) for one in turned])


@given(st.integers(0, 2**32 - 1))
def test_a_place_is_shown_where_all_of_its_px_are(seed: int) -> None:
    draw = np.random.default_rng(seed)
    shown = draw.random((2, 12, 18)) < 0.9
    found = wholly(torch.from_numpy(shown), (4, 6))
    for b in range(2):
        for y in range(4):
            for x in range(6):
                wanted = shown[b, 3 * y : 3 * y + 3, 3 * x : 3 * x + 3].all()
                assert bool(found[b, y, x]) == wanted


# --- The commands --------------------------------------------------------------------------------

_MARGIN = 14  # px cut from each side of the samples, so that there is something to shift in


def cut(path: Path, to: Path, down: int = 0, right: int = 0) -> Path:
    """A sample picture without its rim, its part shifted by so many px."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(path) as image:
        width, height = image.size
        y, x = _MARGIN - down, _MARGIN - right
        box = x, y, x + width - 2 * _MARGIN, y + height - 2 * _MARGIN
        image.crop(box).save(to)
    return to


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of sample pictures that are aligned."""
    folder = tmp_path_factory.mktemp("aligned")
    good = [cut(path, folder / "good" / f"{path.stem}.png") for path in GOOD[:16]]
    return build(folder / "bank.st", good, "--align", "shift")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sample test pictures and masks, as they lie and shifted."""
    folder = tmp_path_factory.mktemp("sets")
    draw = np.random.default_rng(0)
    for path in sorted((SAMPLES / "test").glob("*/*.jpg")):
        down, right = (int(one) for one in draw.integers(-12, 13, 2))
        for name, shift in (("still", (0, 0)), ("moved", (down, right))):
            of_set = folder / name
            cut(path, of_set / "test" / path.parent.name / f"{path.stem}.png", *shift)
            mask = SAMPLES / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
            if mask.exists():
                cut(mask, of_set / "ground_truth" / path.parent.name / mask.name, *shift)
        (folder / "shifts.txt").open("a").write(f"{path.parent.name}/{path.stem} {down} {right}\n")
    for name in ("still", "moved"):
        for path in GOOD[:2]:
            cut(path, folder / name / "train" / "good" / f"{path.stem}.png")
    return {"still": folder / "still", "moved": folder / "moved", "shifts": folder / "shifts.txt"}


def test_shifted_parts_get_the_verdicts_of_those_that_lie_well(
    aligned: Path, sets: dict[str, Path]
) -> None:
    lines = [line.split() for line in sets["shifts"].read_text().splitlines()]
    shifts = {name: (int(down), int(right)) for name, down, right in lines}
    found = {}
    for name in ("still", "moved"):
        records = fapm("score", aligned, sets[name] / "test", "--json").json
        jsonschema.validate(records, SCHEMA)
        found[name] = {"/".join(Path(r["path"]).with_suffix("").parts[-2:]): r for r in records}
    share = 1 - load_bank(aligned).inspected_share
    told = fapm("score", aligned, sets["still"] / "test" / "good", "--json").err
    assert f"{share:.0%} of each picture is not inspected" in told
    assert "outside the part that enough good pictures show" in told
    for picture, still in found["still"].items():
        moved, (down, right) = found["moved"][picture], shifts[picture]
        if not picture.startswith("displaced"):
            assert moved["verdict"] == still["verdict"], picture
            assert moved["shift"]["x"] - still["shift"]["x"] == pytest.approx(right, abs=2)
            assert moved["shift"]["y"] - still["shift"]["y"] == pytest.approx(down, abs=2)
        if still["verdict"] == "anomalous" and picture.startswith(("stain", "scratch")):
            # Where it lies in the picture, shift and all.
            assert moved["peak"]["x"] - still["peak"]["x"] == pytest.approx(right, abs=16)
            assert moved["peak"]["y"] - still["peak"]["y"] == pytest.approx(down, abs=16)
            for region in moved["regions"]:
                assert 0 <= region["peak"]["x"] - region["x"] < region["width"]
                assert 0 <= region["peak"]["y"] - region["y"] < region["height"]


def test_shifted_parts_in_another_light_get_the_same_verdicts(
    aligned: Path, sets: dict[str, Path], tmp_path: Path
) -> None:
    for path in sorted((sets["moved"] / "test" / "good").iterdir()):
        with Image.open(path) as image:
            dark = np.rint(np.asarray(image.convert("RGB")) * 0.6).astype(np.uint8)
        Image.fromarray(dark).save(tmp_path / path.name)
    records = fapm("score", aligned, tmp_path, "--json").json
    assert {one["verdict"] for one in records} == {"ok"}
    assert all("light" in one["differs"] for one in records)


def test_a_region_beside_what_is_not_shown_is_judged_whole() -> None:
    bank = small_bank()
    scorer = scorer_of(bank, bank.config.with_query(calibration="none").query, None)
    shown = torch.ones(1, 64, 96, dtype=torch.bool)
    shown[:, 48:] = False
    found = []
    for size in bank.map_sizes:
        there = wholly(shown, size).float().unsqueeze(3)
        found.append((there, torch.zeros_like(there).long()))
    maps = scorer.combine(found, shown).anomaly_maps[0]
    torch.testing.assert_close(maps[:48], torch.ones(48, 96))
    assert bool((maps[48:] == 0).all())
    assert float(scorer.combine(found).anomaly_maps[0, 47].max()) < 0.9  # as sums, it would fade


def test_a_picture_that_hides_most_of_the_region_is_an_error_and_is_not_learnt(
    tmp_path: Path,
) -> None:
    mask = np.zeros((292, 292), np.uint8)
    mask[:32] = 255  # a strip that a part lying higher does not show
    Image.fromarray(mask).save(tmp_path / "roi.png")
    good = [cut(path, tmp_path / "good" / f"{path.stem}.png") for path in GOOD[:8]]
    off = cut(GOOD[8], tmp_path / "off.png", down=-13)
    lower = cut(GOOD[8], tmp_path / "lower.png", down=13)
    options = ("--align", "shift", "--roi", tmp_path / "roi.png")
    bank = build(tmp_path / "bank.st", good, *options)
    result = fapm("score", bank, off, lower, "--json")
    hidden, shown = result.json
    assert result.code == 2
    why = r"its part lies so far off \(-?\d px to the right, -\d+ px down\) that it shows only"
    assert re.search(f"{why} \\d\\d% of what is inspected", hidden["error"])
    assert shown["shift"]["y"] in range(5, 20)
    assert shown["verdict"] == "ok"
    for command in ("build", *good, off, "-o", tmp_path / "new.st", *options), ("add", bank, off):
        assert_fails(fapm(*command), "% of what is inspected; or leave such pictures out")
    skipping = (*options, "--metric", "plain", "--skip-bad", "-o", bank)
    assert fapm("build", *good, off, *skipping).code == 0
    assert [one.name for one in load_bank(bank).pictures] == [path.name for path in good]


def test_pixel_figures_hold_for_shifted_parts(aligned: Path, sets: dict[str, Path]) -> None:
    still, moved = (
        fapm("eval", sets[name], "--bank", aligned, "--json", "--precision", "fp32").json[0]
        for name in ("still", "moved")
    )
    assert moved["image_auroc"] >= still["image_auroc"] - 0.02
    assert moved["pixel_auroc"] >= still["pixel_auroc"] - 0.01


def test_a_map_over_a_shifted_picture_lies_where_its_defect_does(
    aligned: Path, sets: dict[str, Path], tmp_path: Path
) -> None:
    picture = sets["moved"] / "test" / "stain" / "000.png"
    out = tmp_path / "out"
    assert fapm("heatmap", aligned, picture, "-o", out, "--map", "npy").code == 0
    (file,) = out.glob("*.npy")
    anomaly_map = np.load(file)
    with Image.open(sets["moved"] / "ground_truth" / "stain" / "000_mask.png") as mask:
        marked = np.asarray(mask.convert("L")) > 0
    assert anomaly_map.shape == marked.shape
    y, x = np.unravel_index(np.nanargmax(anomaly_map), anomaly_map.shape)
    rows, columns = np.nonzero(marked)
    assert rows.min() - 8 <= y <= rows.max() + 8
    assert columns.min() - 8 <= x <= columns.max() + 8
    (record,) = fapm("score", aligned, picture, "--json").json
    down, right = record["shift"]["y"], record["shift"]["x"]
    unseen = np.isnan(anomaly_map)
    assert unseen[:down].all() or down <= 0
    assert unseen[:, :right].all() or right <= 0
    assert anomaly_map[~unseen].min() > 0  # nor is what lies beside it, which is not judged


def test_another_product_is_not_moved_and_told(aligned: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    result = fapm("score", aligned, tmp_path / "noise.png", "--json")
    (record,) = result.json
    assert record["shift"] == {"x": 0, "y": 0}
    assert "place" in record["differs"]
    assert "where no part is found to align by" in result.err


def test_a_bank_that_is_not_aligned_says_nothing_of_it(bank: Path) -> None:
    (record,) = fapm("score", bank, GOOD[0], "--json").json
    assert "shift" not in record


def test_pictures_that_can_not_be_aligned_are_refused(tmp_path: Path) -> None:
    draw = np.random.default_rng(8)
    for i in range(6):
        grain = draw.integers(0, 256, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(grain).save(tmp_path / f"{i}.png")
    result = fapm("build", tmp_path, "-o", tmp_path / "bank.st", "--align", "shift")
    assert_fails(result, "parts can't be registered", "Leave --align out")
    assert not (tmp_path / "bank.st").exists()
    result = fapm("build", tmp_path, "-o", tmp_path / "bank.st", "--align", "much")
    assert_fails(result, "align 'much'", "none or shift or rigid")


@pytest.mark.parametrize("thumbnails", [True, False])
def test_new_pictures_are_aligned_to_those_of_before(
    sets: dict[str, Path], tmp_path: Path, thumbnails: bool
) -> None:
    good = [cut(path, tmp_path / "good" / f"{path.stem}.png") for path in GOOD[:6]]
    lean = ("--size", "160", *(() if thumbnails else ("--no-thumbnails",)))
    aligned = build(tmp_path / "bank.st", good, "--align", "shift", *lean)
    new = cut(GOOD[8], tmp_path / "new.png", 12, -12)
    grown = tmp_path / "grown.st"
    assert fapm("add", aligned, new, "-o", grown).code == 0
    before, after = load_bank(aligned), load_bank(grown)
    assert before.registration is not None
    assert after.registration is not None
    assert np.array_equal(after.registration.reference, before.registration.reference)
    assert after.inspected_share == before.inspected_share
    scores = [fapm("score", path, new, "--json").json[0] for path in (aligned, grown)]
    assert scores[1]["score"] < scores[0]["score"]


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of sample pictures that lie shifted, and are aligned."""
    folder, draw = tmp_path_factory.mktemp("scattered"), np.random.default_rng(1)
    good = [
        cut(
            path, folder / "good" / f"{path.stem}.png", *(int(v) for v in draw.integers(-12, 13, 2))
        )
        for path in GOOD[:24]
    ]
    return build(folder / "bank.st", good, "--align", "shift", "--metric", "own", "--size", "160")


def masks_of(bank: Bank) -> list[np.ndarray]:
    """What each picture of a bank shows, as its thumbnail says."""
    decoded = [
        decode_thumbnail(t, bank.config.preprocessing.crop_px) for t in bank.thumbnails or ()
    ]
    return [np.asarray((one[..., 3:] > 0).all(axis=2)) for one in decoded]


def test_shifted_pictures_give_a_bank_that_inspects_nearly_all(scattered: Path) -> None:
    bank = load_bank(scattered)
    judged = np.stack([judged_of(one) for one in masks_of(bank)])
    assert judged.all(axis=0).mean() < 0.75  # what all of them show
    assert bank.inspected_share > 0.95


def test_no_key_is_of_what_its_picture_does_not_show(scattered: Path) -> None:
    bank = load_bank(scattered)
    shown = torch.stack([torch.from_numpy(judged_of(one)) for one in masks_of(bank)])
    for memory, size in zip(bank.memories, bank.map_sizes, strict=True):
        there = wholly(shown, size).flatten(1)
        assert bool(there[memory.key_pictures.long(), memory.key_cells.long()].all())
        assert not bool(there.all())


def test_a_bank_learnt_anew_from_its_thumbnails_is_the_same(scattered: Path) -> None:
    bank = load_bank(scattered)
    again, _ = learn_anew(bank, bank_extractor(bank), lambda stage, done, total: None)
    assert bank_bytes(again) == bank_bytes(bank)


def test_a_defect_in_a_rim_that_some_pictures_do_not_show_is_found(
    scattered: Path, tmp_path: Path
) -> None:
    rim = cut(GOOD[26], tmp_path / "rim.png")
    clean = fapm("score", scattered, rim, "--json").json[0]
    with Image.open(rim) as image:
        pixels = np.array(image.convert("RGB"))
    pixels[100:112, 1:13] = 255 - pixels[100:112, 1:13]
    Image.fromarray(pixels).save(rim)
    spoilt = fapm("score", scattered, rim, "--json").json[0]
    assert (clean["verdict"], spoilt["verdict"]) == ("ok", "anomalous")
    assert spoilt["peak"]["x"] <= 20
    assert 90 <= spoilt["peak"]["y"] <= 122


def test_what_a_dropped_picture_does_not_show_is_inspected_all_the_same(tmp_path: Path) -> None:
    good = [cut(path, tmp_path / "good" / f"{path.stem}.png") for path in GOOD[:14]]
    bad = cut(SAMPLES / "test" / "stain" / "000.jpg", tmp_path / "bad.png", 12, 12)
    drop = ("--align", "shift", "--metric", "plain", "--size", "160", "--drop-outliers")
    assert fapm("build", *good, bad, "-o", tmp_path / "both.st", *drop).code == 0
    assert fapm("build", *good, "-o", tmp_path / "good.st", *drop).code == 0
    both, without = (load_bank(tmp_path / f"{name}.st") for name in ("both", "good"))
    assert len(both.pictures) == len(without.pictures) == 14
    assert both.inspected_share == pytest.approx(without.inspected_share, abs=0.03)


def test_banks_aligned_to_their_own_pictures_do_not_merge(aligned: Path, tmp_path: Path) -> None:
    good = [cut(path, tmp_path / "good" / f"{path.stem}.png") for path in GOOD[16:22]]
    other = build(tmp_path / "other.st", good, "--align", "shift")
    result = fapm("merge", aligned, other, "-o", tmp_path / "both.st")
    assert_fails(result, "where their parts lie")
