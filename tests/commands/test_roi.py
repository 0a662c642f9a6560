"""``--roi``: what lies outside the region of interest reaches no result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, build, fapm
from PIL import Image


def write_mask(path: Path, white: tuple[slice, slice], side: int = 320) -> Path:
    mask = np.zeros((side, side), np.uint8)
    mask[white] = 1  # not 0 is enough
    Image.fromarray(mask).save(path)
    return path


def spoil(source: Path, target: Path) -> Path:
    """Paint noise over a picture's left 40 px."""
    pixels = np.array(Image.open(source))
    noise = np.random.default_rng(0).integers(0, 256, (320, 40, 3), dtype=np.uint8)
    pixels[:, :40] = noise
    Image.fromarray(pixels).save(target)
    return target


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mask that inspects the right third of the samples."""
    return write_mask(tmp_path_factory.mktemp("roi") / "right.png", np.s_[:, 214:])


@pytest.fixture(scope="module")
def right_bank(right: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("right") / "bank.st", GOOD[:12], "--roi", right)


def test_a_defect_far_outside_leaves_the_score_as_it_is(
    right_bank: Path, bank: Path, tmp_path: Path
) -> None:
    clean, spoilt = tmp_path / "clean.png", spoil(ONE_GOOD, tmp_path / "spoilt.png")
    Image.open(ONE_GOOD).save(clean)
    wanted, found = fapm("score", right_bank, clean, spoilt, "--json").scores.values()
    assert found == pytest.approx(wanted, rel=1e-6)
    wanted, found = fapm("score", bank, clean, spoilt, "--json").scores.values()
    assert found > 1.5 * wanted


def test_nominal_scores_and_calibration_know_nothing_of_what_lies_far_outside(
    right: Path, right_bank: Path, tmp_path: Path
) -> None:
    def nominal(bank: Path) -> list[float]:
        return [p["score"] for p in fapm("info", bank, "--json").json["pictures"]]

    spoilt = spoil(GOOD[0], tmp_path / "spoilt.png")
    mixed = [spoilt, *GOOD[1:12]]
    with_roi = build(tmp_path / "bank.st", mixed, "--roi", right)
    assert nominal(with_roi) == pytest.approx(nominal(right_bank), rel=1e-5)
    without = nominal(build(tmp_path / "bank.st", mixed))
    assert without[0] > 1.5 * max(without[1:])


def test_region_of_score_is_cut_by_the_banks(right_bank: Path, bank: Path, tmp_path: Path) -> None:
    top = write_mask(tmp_path / "top.png", np.s_[:160, :])
    for which, shares in ((bank, ("50%",)), (right_bank, ("83%", "84%"))):
        result = fapm("score", which, SAMPLES / "test", "--roi", top, "--json")
        line, verdicts = result.err.splitlines()
        assert "scores of less are higher" in verdicts
        assert any(f"{share} of each picture is not inspected" in line for share in shares)
        for record in result.json:
            assert record["peak"]["y"] < 160
            assert which == bank or record["peak"]["x"] >= 214
            for region in record["regions"]:
                assert region["y"] + region["height"] <= 160


def test_a_picture_equal_to_a_known_one_has_its_peak_inside(right: Path, tmp_path: Path) -> None:
    known = build(tmp_path / "bank.st", GOOD[:1], "--coreset-ratio", 1, "--roi", right)
    (record,) = fapm("score", known, GOOD[0], "--json").json
    assert record["peak"]["x"] >= 214


def test_white_all_over_is_the_same_as_no_mask(bank: Path, tmp_path: Path) -> None:
    white = write_mask(tmp_path / "white.png", np.s_[:, :], side=77)
    assert fapm("score", bank, ONE_BAD, "--roi", white) == fapm("score", bank, ONE_BAD)
    built = build(tmp_path / "bank.st", GOOD[:12], "--roi", white)
    assert built.read_bytes() == bank.read_bytes()


def test_mask_of_another_size_is_fitted_to_the_pictures(bank: Path, tmp_path: Path) -> None:
    masks = [
        write_mask(tmp_path / f"{side}.png", np.s_[: side // 2, :], side) for side in (224, 1000)
    ]
    first, second = (fapm("score", bank, ONE_BAD, "--roi", mask, "--json") for mask in masks)
    assert first == second


def test_paper_preset_counts_crop_and_mask_together(right: Path, paper_bank: Path) -> None:
    result = fapm("score", paper_bank, ONE_GOOD, "--roi", right, "--json")
    # 224 rows of 256, and the columns from 171.2 to 240 of 256.
    share = 1 - 224 * 69 / 256**2
    assert f"{share:.0%} of each picture" in result.err
    assert "the crop and ROI" in result.err


def test_masks_that_leave_nothing_or_cannot_be_read_are_told_in_one_line(
    right_bank: Path, tmp_path: Path
) -> None:
    black = write_mask(tmp_path / "black.png", np.s_[:0, :])
    left = write_mask(tmp_path / "left.png", np.s_[:, :100])
    text = tmp_path / "text.png"
    text.write_text("no picture")
    for mask, word in ((black, "black all over"), (left, "in common"), (text, "not a picture")):
        for command in (
            ("score", right_bank, ONE_GOOD),
            ("heatmap", right_bank, ONE_GOOD, "-o", tmp_path / "out"),
        ):
            assert_fails(fapm(*command, "--roi", mask), word)
        if mask != left:
            target = tmp_path / "bank.st"
            assert_fails(fapm("build", GOOD[0], "-o", target, "--roi", mask), word)
            assert not target.exists()


def test_info_and_build_say_what_share_is_inspected(
    right_bank: Path, right: Path, bank: Path, tmp_path: Path
) -> None:
    assert "inspected    33% of each picture" in fapm("info", right_bank).out
    assert fapm("info", right_bank, "--json").json["inspected_share"] == pytest.approx(74 / 224)
    assert "inspected    100% of each picture" in fapm("info", bank).out
    built = fapm("build", GOOD[0], "-o", tmp_path / "bank.st", "--roi", right)
    assert "inspected 33% of each picture" in built.out


@pytest.mark.parametrize("size", [(320, 320), (90, 61), (700, 431)])
def test_map_is_nan_and_heatmap_hatched_exactly_outside(
    size: tuple[int, int], right_bank: Path, tmp_path: Path
) -> None:
    source = tmp_path / "own.png"
    Image.open(ONE_BAD).resize(size).save(source)
    result = fapm("heatmap", right_bank, source, "-o", tmp_path, "--map", "npy")
    assert result.code == 0
    columns = np.floor((np.arange(size[0]) + 0.5) * 224 / size[0])
    inside = np.broadcast_to(columns >= 150, size[::-1])  # the input's first inspected column
    scores = np.load(tmp_path / "own_map.npy")
    assert np.array_equal(np.isfinite(scores), inside)
    assert (scores[inside] > 0).all()
    drawn = np.asarray(Image.open(tmp_path / "own_heatmap.png"))
    changed = (drawn != np.asarray(Image.open(source))).any(axis=-1)
    assert changed[~inside].mean() > 0.9


def test_a_bank_that_inspects_a_part_is_calibrated_and_followed(
    right_bank: Path, tmp_path: Path
) -> None:
    """A bank's region is read as an array, and learning knows tensors."""
    fresh = SAMPLES / "test" / "good"
    calibrated = fapm("calibrate", right_bank, fresh, "-o", tmp_path / "new.st", "--allow-few")
    assert calibrated.code == 0, calibrated.err
    records = fapm("score", right_bank, fresh, "--drift", "--json").json
    assert all("drift" in record for record in records)
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")
    followed = fapm("drift", tmp_path / "log.jsonl", "--bank", right_bank, "--json").json
    assert followed["pictures"] == len(records)
    assert followed["reference"] == 12
