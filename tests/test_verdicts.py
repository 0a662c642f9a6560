"""Verdicts through the commands: set at build, set anew, and told of a dirty folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, build, fapm

from fapm_cli.bank import bank_bytes, load_bank

TEST_GOOD = SAMPLES / "test" / "good"


def copy_of(bank: Path, folder: Path) -> Path:
    return Path(shutil.copy(bank, folder / "copy.st"))


def test_build_tells_threshold_and_false_alarms_and_info_repeats_them(tmp_path: Path) -> None:
    target = tmp_path / "bank.st"
    made = fapm("build", *GOOD[:12], "-o", target, "--json").json
    thresholds = made["thresholds"]
    assert thresholds == fapm("info", target, "--json").json["thresholds"]
    scores = sorted(one["score"] for one in fapm("info", target, "--json").json["pictures"])
    assert thresholds["num_above"] == sum(score > thresholds["score"] for score in scores)
    assert thresholds["false_alarms"]["expected"] == pytest.approx(1 / 13)
    assert 0.1 < thresholds["false_alarms"]["at_most"] < 0.3
    assert f"anomalous above {thresholds['score']:.4f}" in fapm("info", target).out


def test_false_alarm_rate_and_threshold_set_what_is_anomalous(tmp_path: Path) -> None:
    target = tmp_path / "bank.st"
    rate = fapm("build", *GOOD[:12], "-o", target, "--false-alarm-rate", 0.25, "--json").json
    scores = [one["score"] for one in fapm("info", target, "--json").json["pictures"]]
    assert rate["thresholds"]["score"] == sorted(scores)[-3]
    given = fapm("build", *GOOD[:12], "-o", target, "--threshold", 0.5, "--json").json
    assert given["thresholds"]["num_above"] == 12
    assert [one["threshold"] for one in fapm("score", target, ONE_GOOD, "--json").json] == [0.5]


def test_a_rate_that_so_few_pictures_cannot_promise_is_noted(tmp_path: Path) -> None:
    result = fapm("build", *GOOD[:5], "-o", tmp_path / "b.st", "--false-alarm-rate", 0.01)
    assert result.code == 0
    assert "5 good pictures can't promise 1.00% false alarms" in result.err
    assert "99 or more" in result.err


@pytest.mark.parametrize("count", [1, 2, 3])
def test_even_a_few_pictures_tell_good_from_bad(count: int, tmp_path: Path) -> None:
    target = build(tmp_path / "bank.st", GOOD[:count])
    good = fapm("score", target, TEST_GOOD, "--json")
    assert {one["verdict"] for one in good.json} == {"ok"}
    assert load_bank(target).thresholds.at_most >= 0.6


def test_review_band_lies_below_the_threshold_and_exits_0(bank: Path, tmp_path: Path) -> None:
    score = fapm("score", bank, ONE_GOOD, "--json").json[0]["score"]
    target = copy_of(bank, tmp_path)
    options = ("--threshold", score + 0.1, "--review-rate", 0.9)
    assert fapm("calibrate", target, TEST_GOOD, *options).code == 0
    result = fapm("score", target, TEST_GOOD, "--json")
    assert result.code == 0
    assert {one["verdict"] for one in result.json} == {"ok", "review"}
    for one in result.json:
        assert (one["verdict"] == "review") == (one["score"] > one["review_threshold"])


def test_scores_are_the_same_whatever_the_threshold(bank: Path) -> None:
    plain = fapm("score", bank, SAMPLES / "test", "--json").scores
    assert plain == fapm("score", bank, SAMPLES / "test", "--json", "--threshold", 0).scores


def test_no_verdict_where_the_scores_are_asked_another_way(bank: Path) -> None:
    result = fapm("score", bank, ONE_BAD, "--sigma", 2, "--json")
    assert result.code == 0
    assert "no verdicts" in result.err
    assert not {"verdict", "threshold"} & set(result.json[0])
    assert fapm("score", bank, ONE_BAD, "--sigma", 2, "--threshold", 0).code == 1


def test_mask_is_by_default_where_few_good_pictures_ever_are(bank: Path, tmp_path: Path) -> None:
    from PIL import Image

    result = fapm("heatmap", bank, ONE_GOOD, ONE_BAD, "-o", tmp_path, "--mask", "--map", "npy")
    assert result.code == 0
    level = load_bank(bank).thresholds.pixel
    for stem in ("000", "000_2"):
        with Image.open(tmp_path / f"{stem}_mask.png") as mask:
            above = np.load(tmp_path / f"{stem}_map.npy") > level
            assert np.array_equal(np.asarray(mask) == 255, above)
            assert above.any() == (stem == "000_2")


# --- calibrate ---------------------------------------------------------------------------------


def test_calibrate_changes_the_thresholds_alone(bank: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.st"
    before = bank.read_bytes()
    result = fapm("calibrate", bank, TEST_GOOD, "-o", other, "--false-alarm-rate", 0.5, "--json")
    assert result.code == 0
    assert bank.read_bytes() == before
    scores = sorted(fapm("score", bank, TEST_GOOD, "--json").scores.values())
    assert result.json["score"] == scores[-4]
    assert result.json["num_pictures"] == 8
    first, second = load_bank(bank), load_bank(other)
    assert second.thresholds.to_json() == {
        key: value for key, value in result.json.items() if key != "false_alarms"
    }
    assert (first.pictures, first.weights_hash) == (second.pictures, second.weights_hash)
    bad = fapm("score", bank, ONE_BAD, "--json").scores
    assert bad == fapm("score", other, ONE_BAD, "--json").scores


def test_calibrate_keeps_the_banks_rate_and_writes_to_it(bank: Path, tmp_path: Path) -> None:
    target = copy_of(bank, tmp_path)
    rate = load_bank(target).thresholds.rate
    result = fapm("calibrate", target, TEST_GOOD)
    assert result.code == 0
    assert load_bank(target).thresholds.rate == rate
    assert load_bank(target).thresholds.num_pictures == 8
    assert list(tmp_path.iterdir()) == [target]


def test_calibrate_with_bad_pictures_parts_good_and_bad(bank: Path, tmp_path: Path) -> None:
    target = copy_of(bank, tmp_path)
    bad = SAMPLES / "test" / "stain", SAMPLES / "test" / "missing"
    assert fapm("calibrate", target, TEST_GOOD, "--bad", bad[0], "--bad", bad[1]).code == 0
    good = max(fapm("score", target, TEST_GOOD, "--json").scores.values())
    worst = min(fapm("score", target, *bad, "--json").scores.values())
    assert load_bank(target).thresholds.score == pytest.approx((good + worst) / 2)
    assert load_bank(target).thresholds.method == "labelled"


def test_pictures_that_the_bank_knows_do_not_calibrate_it(bank: Path, tmp_path: Path) -> None:
    target = copy_of(bank, tmp_path)
    before = target.read_bytes()
    assert_fails(fapm("calibrate", target, *GOOD[:12]), "in the bank")
    assert target.read_bytes() == before
    result = fapm("calibrate", target, GOOD[0], TEST_GOOD, "--json", "--false-alarm-rate", 0.2)
    assert result.json["num_pictures"] == 8
    assert "1 pictures are in the bank" in result.err


def test_a_calibration_that_fails_leaves_the_bank(bank: Path, tmp_path: Path) -> None:
    target = copy_of(bank, tmp_path)
    (tmp_path / "bad.png").write_text("no picture")
    before = target.read_bytes()
    assert_fails(fapm("calibrate", target, TEST_GOOD, tmp_path / "bad.png"), "bad.png")
    assert_fails(fapm("calibrate", target, TEST_GOOD, "--bad", tmp_path / "no"), "no")
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--false-alarm-rate", 0), ("false-alarm rate 0.0",)),
        (("--false-alarm-rate", "nan"), ("false-alarm rate nan",)),
        (("--false-alarm-rate", 1), ("false-alarm rate 1.0",)),
        (("--review-rate", -1), ("review rate -1.0",)),
        (("--review-rate", 0.1, "--false-alarm-rate", 0.2), ("review rate 0.1", "0.2")),
        (("--threshold", "inf"), ("threshold inf",)),
        (("--threshold", 1, "--false-alarm-rate", 0.2), ("choose one",)),
    ],
    ids=str,
)
def test_rates_that_make_no_sense_are_refused(
    options: tuple[object, ...], words: tuple[str, ...], bank: Path, tmp_path: Path
) -> None:
    assert_fails(fapm("build", GOOD[0], "-o", tmp_path / "new.st", *options), *words)
    assert_fails(fapm("calibrate", bank, ONE_GOOD, "-o", tmp_path / "new.st", *options), *words)
    assert list(tmp_path.iterdir()) == []


# --- A dirty folder ----------------------------------------------------------------------------


def test_defective_pictures_among_the_good_are_named_first_and_dropped(tmp_path: Path) -> None:
    target = tmp_path / "bank.st"
    smuggled = [SAMPLES / "test" / kind / "002.jpg" for kind in ("stain", "scratch")]
    folder = tmp_path / "good"
    shutil.copytree(SAMPLES / "good", folder)
    for picture in smuggled:
        shutil.copy(picture, folder / f"{picture.parent.name}.jpg")
    dirty = fapm("build", folder, "-o", target, "--json").json
    assert {one["name"] for one in dirty["suspects"][:2]} == {"stain.jpg", "scratch.jpg"}
    assert dirty["suspects"][0]["z"] >= dirty["suspects"][1]["z"] > 3.5
    text = fapm("build", folder, "-o", target).out
    assert "suspects" in text
    assert "stain.jpg" in text
    dropped = fapm("build", folder, "-o", target, "--drop-outliers", "--json").json
    assert dropped["dropped"] == [one for one in dirty["suspects"] if one["z"] > 6]
    assert {one["name"] for one in dropped["dropped"]} == {"stain.jpg", "scratch.jpg"}
    assert dropped["pictures"] == dirty["pictures"] - len(dropped["dropped"])
    left = [
        p
        for p in sorted(folder.iterdir())
        if p.name not in {one["name"] for one in dropped["dropped"]}
    ]
    clean = build(tmp_path / "clean.st", left)
    # What int8 needs is seen on the way, also on pictures that are dropped.
    both = (replace(load_bank(path), ranges={}) for path in (clean, target))
    assert len({bank_bytes(one) for one in both}) == 1


def test_a_clean_folder_has_no_suspect_and_loses_none(tmp_path: Path) -> None:
    made = fapm("build", *GOOD, "-o", tmp_path / "bank.st", "--drop-outliers", "--json").json
    assert made["suspects"] == made["dropped"] == []
    assert made["pictures"] == len(GOOD)
