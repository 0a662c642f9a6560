"""Verdicts: set at build, and told of a dirty folder."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, build, fapm

from fapm_cli.bank.file import load_bank

TEST_GOOD = SAMPLES / "test" / "good"
SMALL = ("--size", "128")


def copy_of(bank: Path, folder: Path) -> Path:
    return Path(shutil.copy(bank, folder / "copy.st"))


def test_build_tells_threshold_and_false_alarms_and_info_repeats_them(tmp_path: Path) -> None:
    target = tmp_path / "bank.st"
    made = fapm("build", *GOOD[:12], "-o", target, *SMALL, "--json").json
    thresholds = made["thresholds"]
    assert thresholds == fapm("info", target, "--json").json["thresholds"]
    scores = sorted(one["score"] for one in fapm("info", target, "--json").json["pictures"])
    assert thresholds["num_above"] == sum(score > thresholds["score"] for score in scores)
    assert thresholds["false_alarms"]["expected"] == pytest.approx(1 / 13)
    assert 0.1 < thresholds["false_alarms"]["at_most"] < 0.3
    assert f"anomalous above {thresholds['score']:.4f}" in fapm("info", target).out


def test_false_alarm_rate_and_threshold_set_what_is_anomalous(tmp_path: Path) -> None:
    target = tmp_path / "bank.st"
    learn = ("build", *GOOD[:12], "-o", target, "--metric", "plain", *SMALL, "--json")
    rate = fapm(*learn, "--false-alarm-rate", 0.25).json
    scores = [one["score"] for one in fapm("info", target, "--json").json["pictures"]]
    assert rate["thresholds"]["score"] == sorted(scores)[-3]
    given = fapm(*learn, "--threshold", 0.5).json
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


# --- A dirty folder ----------------------------------------------------------------------------


def test_defective_pictures_among_the_good_are_named_first_and_dropped(tmp_path: Path) -> None:
    target = tmp_path / "bank.st"
    smuggled = [SAMPLES / "test" / kind / "002.jpg" for kind in ("stain", "scratch")]
    folder = tmp_path / "good"
    shutil.copytree(SAMPLES / "good", folder)
    for picture in smuggled:
        shutil.copy(picture, folder / f"{picture.parent.name}.jpg")
    learn = ("build", folder, "-o", target, "--metric", "plain", "--size", "160")
    dirty = fapm(*learn, "--json").json
    assert {one["name"] for one in dirty["suspects"][:2]} == {"stain.jpg", "scratch.jpg"}
    assert dirty["suspects"][0]["z"] >= dirty["suspects"][1]["z"] > 3.5
    dropped = fapm(*learn, "--drop-outliers", "--json").json
    assert dropped["dropped"] == [one for one in dirty["suspects"] if one["z"] > 6]
    assert {one["name"] for one in dropped["dropped"]} == {"stain.jpg", "scratch.jpg"}
    assert dropped["pictures"] == dirty["pictures"] - len(dropped["dropped"])
    left = [
        p
        for p in sorted(folder.iterdir())
        if p.name not in {one["name"] for one in dropped["dropped"]}
    ]
    clean = build(tmp_path / "clean.st", left, "--size", "160")
    assert clean.read_bytes() == target.read_bytes()


def test_advice_leaves_suspects_out_and_draws_them_as_it_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAMPLES / "good", "it's good")
    shutil.copy(SAMPLES / "test" / "stain" / "002.jpg", "it's good/a stain.jpg")
    learn = ("build", "it's good", "-o", "the bank.st", "--metric", "plain", *SMALL)
    told = fapm(*learn)
    assert "suspects" in told.out
    assert "a stain.jpg" in told.out
    build_it, draw = (shlex.split(line.split(": ", 2)[2]) for line in told.err.splitlines()[-2:])
    assert "--without=it's good/a stain.jpg" in build_it
    again = fapm(*build_it[1:], "--json").json
    suspects = sum(word.startswith("--without=") for word in build_it)
    assert (again["pictures"], again["dropped"]) == (len(GOOD) + 1 - suspects, [])
    drawn = fapm(*draw[1:])
    assert drawn.code == 0
    assert "suspects/a stain_heatmap.png" in drawn.out.splitlines()
    assert Path("suspects/a stain_heatmap.png").exists()


def test_only_a_picture_that_is_there_can_be_left_out(tmp_path: Path) -> None:
    result = fapm("build", *GOOD, "-o", tmp_path / "b.st", "--without", tmp_path / "no.jpg")
    assert_fails(result, "--without", "no.jpg")


def test_a_clean_folder_has_no_suspect_and_loses_none(tmp_path: Path) -> None:
    learn = ("build", *GOOD, "-o", tmp_path / "bank.st", "--metric", "plain", *SMALL)
    made = fapm(*learn, "--drop-outliers", "--json").json
    assert made["suspects"] == made["dropped"] == []
    assert made["pictures"] == len(GOOD)
