"""``fapm calibrate`` sets a bank's thresholds anew, and can be undone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, fapm

import fapm_cli
from fapm_cli.bank.file import load_bank
from fapm_cli.errors import PictureError
from fapm_cli.finding.labels import read_labels

TEST_GOOD = SAMPLES / "test" / "good"


def copy_of(bank: Path, folder: Path) -> Path:
    return Path(shutil.copy(bank, folder / "copy.st"))


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
        key: value
        for key, value in result.json.items()
        if key not in ("false_alarms", "before", "misses")
    }
    assert (first.pictures, first.weights_hash) == (second.pictures, second.weights_hash)
    bad = fapm("score", bank, ONE_BAD, "--json").scores
    assert bad == fapm("score", other, ONE_BAD, "--json").scores


def test_p_values_are_by_the_scores_that_set_the_thresholds(bank: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.st"
    fapm("calibrate", bank, TEST_GOOD, "-o", other, "--false-alarm-rate", 0.5)
    found = load_bank(other)
    good = sorted(fapm("score", bank, TEST_GOOD, "--json").scores.values())
    assert sorted(found.thresholds.scores or ()) == good
    records = fapm("score", other, TEST_GOOD, ONE_BAD, "--json").json
    by_rank = [(sum(g >= r["score"] for g in good) + 1) / 9 for r in records]
    assert [r["p_value"] for r in records] == by_rank
    for r in records:
        assert (r["p_value"] <= found.thresholds.expected) == (r["verdict"] == "anomalous")
    # The bank's own count again, by the scores of its parts.
    fapm("calibrate", other, "--undo")
    own = sorted(load_bank(bank).nominal_scores.tolist())
    (record,) = fapm("score", other, ONE_BAD, "--json").json
    assert record["p_value"] == 1 / (len(own) + 1)
    fapm("calibrate", other, "--undo")
    assert load_bank(other).thresholds == found.thresholds


def test_calibrate_keeps_the_banks_rate_and_writes_to_it(bank: Path, tmp_path: Path) -> None:
    target = copy_of(bank, tmp_path)
    rate = load_bank(target).thresholds.rate
    result = fapm("calibrate", target, TEST_GOOD, "--allow-few")
    assert result.code == 0
    assert load_bank(target).thresholds.rate == rate
    assert load_bank(target).thresholds.num_pictures == 8
    assert list(tmp_path.iterdir()) == [target]


def test_calibrate_with_bad_pictures_parts_good_and_bad(bank: Path, tmp_path: Path) -> None:
    target = copy_of(bank, tmp_path)
    bad = SAMPLES / "test" / "stain", SAMPLES / "test" / "missing"
    result = fapm("calibrate", target, TEST_GOOD, "--bad", bad[0], "--bad", bad[1], "--allow-few")
    assert result.code == 0
    assert "misses 0 of 6 bad pictures" in result.err
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


@pytest.mark.parametrize("count", [1, 2])
def test_a_handful_of_pictures_is_told_what_to_expect_and_what_to_do(
    count: int, tmp_path: Path
) -> None:
    result = fapm("build", *GOOD[:count], "-o", tmp_path / "bank.st")
    assert result.code == 0
    expected, at_most = {1: ("50.0%", "95.0%"), 2: ("33.3%", "77.6%")}[count]
    assert f"expect {expected}, at most {at_most}" in result.err
    assert "it takes 19 or more: fapm add" in result.err


def test_calibrate_shows_the_thresholds_before_and_after(bank: Path, tmp_path: Path) -> None:
    before = load_bank(bank).thresholds
    options = ("-o", tmp_path / "b.st", "--allow-few")
    result = fapm("calibrate", bank, TEST_GOOD, *options)
    after = load_bank(tmp_path / "b.st").thresholds
    assert result.out == f"{tmp_path / 'b.st'}: {after.describe()}\n"
    assert f"before: {before.describe()}" in result.err
    assert "8 good pictures can't promise 7.69% false alarms" in result.err
    told = fapm("calibrate", bank, TEST_GOOD, *options, "--json").json
    assert told["before"] == before.summary()
    assert told["misses"] is None


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ((), 12),  # the bank's own rate, from 12 pictures
        (("--false-alarm-rate", 0.01), 99),
        (("--max-false-alarm-rate", 0.02), 49),
        (("--bad", SAMPLES / "test" / "stain"), 9),
        (("--bad", SAMPLES / "test" / "stain", "--max-false-alarm-rate", 0.05), 19),
    ],
    ids=str,
)
def test_fewer_pictures_than_a_promise_needs_are_refused_or_said_to_be_few(
    options: tuple[object, ...], needed: int, bank: Path, tmp_path: Path
) -> None:
    target = copy_of(bank, tmp_path)
    words = "8 good pictures can promise 11.1%", f"give {needed} or more", "--allow-few"
    assert_fails(fapm("calibrate", target, TEST_GOOD, *options), *words)
    assert target.read_bytes() == bank.read_bytes()
    assert fapm("calibrate", target, TEST_GOOD, *options, "--allow-few").code == 0


def test_most_false_alarms_bound_what_bad_pictures_would_come_to(
    bank: Path, tmp_path: Path
) -> None:
    target = tmp_path / "b.st"
    every = sorted((SAMPLES / "test").rglob("*.jpg"))
    swapped = ("calibrate", bank, *every, "--bad", TEST_GOOD, "-o", target)
    kept = ("--keep-suspects", "--json")
    rates = []
    for most in (0.9, 0.2):
        told = fapm(*swapped, *kept, "--max-false-alarm-rate", most).json
        rates.append(told["false_alarms"]["expected"])
    assert rates[0] <= 0.9
    assert rates[1] <= 0.2
    rate = load_bank(bank).thresholds.rate
    told = fapm("calibrate", bank, "--max-false-alarm-rate", rate / 2, "-o", target, "--json").json
    assert (told["rate"], told["num_above"]) == (rate / 2, 0)
    told = fapm("calibrate", bank, "--max-false-alarm-rate", 2 * rate, "-o", target, "--json").json
    assert told["score"] == load_bank(bank).thresholds.score


def test_a_defect_among_the_good_pictures_is_named_and_refused_unless_it_is_to_stay(
    bank: Path, tmp_path: Path
) -> None:
    target, good = copy_of(bank, tmp_path), tmp_path / "good"
    shutil.copytree(TEST_GOOD, good)
    shutil.copy(SAMPLES / "test" / "stain" / "002.jpg", good / "stain.jpg")
    options = ("--false-alarm-rate", 0.1)
    words = "1 of 9 good pictures", "stain.jpg (", "--keep-suspects"
    assert_fails(fapm("calibrate", target, good, *options), *words)
    assert target.read_bytes() == bank.read_bytes()
    kept = fapm("calibrate", target, good, *options, "--keep-suspects")
    assert kept.code == 0
    assert "suspects: stain.jpg (" in kept.err


def test_a_threshold_needs_no_picture_and_the_banks_own_tell_its_false_alarms(
    bank: Path, tmp_path: Path
) -> None:
    target = copy_of(bank, tmp_path)
    scores = sorted(picture.score for picture in load_bank(bank).pictures)
    level = (scores[-3] + scores[-2]) / 2
    told = fapm("calibrate", target, "--threshold", level, "--json").json
    assert (told["score"], told["num_above"], told["num_pictures"]) == (level, 2, 12)
    told = fapm("calibrate", target, "--false-alarm-rate", 0.25, "--json").json
    assert told["score"] == scores[-3]
    assert told["before"]["score"] == level


def test_the_last_change_of_thresholds_is_undone_and_done_again(bank: Path, tmp_path: Path) -> None:
    target = copy_of(bank, tmp_path)
    assert_fails(fapm("calibrate", target, "--undo"), "nothing to undo")
    assert target.read_bytes() == bank.read_bytes()
    first = load_bank(bank).thresholds
    assert fapm("calibrate", target, "--threshold", 1.5).code == 0
    assert fapm("calibrate", target, "--threshold", 1.5).code == 0  # changes nothing
    assert load_bank(target).previous_thresholds == first
    second = load_bank(target).thresholds
    for wanted in (first, second, first):
        assert fapm("calibrate", target, "--undo", "--json").json["score"] == wanted.score
        assert load_bank(target).thresholds == wanted
    assert fapm("calibrate", target, "--threshold", 1.5).code == 0
    assert fapm("add", target, ONE_GOOD).code == 0
    assert fapm("calibrate", target, "--undo").code == 0
    assert replace(load_bank(target).thresholds, scores=None) == second  # beside those of then


def test_bad_pictures_that_pass_are_counted_and_swapped_folders_warned_of(
    bank: Path, tmp_path: Path
) -> None:
    target, bad = tmp_path / "b.st", SAMPLES / "test" / "stain"
    options = ("-o", target, "--allow-few", "--keep-suspects")
    right = fapm("calibrate", bank, TEST_GOOD, "--bad", bad, *options, "--json")
    assert right.json["misses"] == {"missed": 0, "bad": 3}
    assert "misses 0 of 3 bad pictures" in right.err
    assert "chance" not in right.err
    swapped = fapm("calibrate", bank, bad, "--bad", TEST_GOOD, *options)
    assert swapped.code == 0
    assert "misses 8 of 8 bad pictures" in swapped.err
    assert "no better than chance" in swapped.err


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ((), "nothing to set the threshold by"),
        (("--undo", "--threshold", 1), "nothing else"),
        ((TEST_GOOD, "--undo"), "nothing else"),
        (("--threshold", 1, "--max-false-alarm-rate", 0.1), "choose one"),
        (("--false-alarm-rate", 0.1, "--max-false-alarm-rate", 0.2), "choose one"),
        (("--max-false-alarm-rate", 1), "max false-alarm rate 1.0"),
        (("--bad", TEST_GOOD, "--threshold", 1), "--bad"),
    ],
    ids=str,
)
def test_tasks_that_contradict_or_are_none_are_refused(
    options: tuple[object, ...], word: str, bank: Path, tmp_path: Path
) -> None:
    assert_fails(fapm("calibrate", bank, *options, "-o", tmp_path / "new.st"), word)
    assert list(tmp_path.iterdir()) == []


def test_what_folders_tell_to_be_no_defects_stands_for_none(bank: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.st"
    for bad in (SAMPLES / "ground_truth", SAMPLES / "test", SAMPLES):
        result = fapm("calibrate", bank, "--bad", bad, "-o", other)
        assert_fails(result, str(bad), "of defective")
        with pytest.raises(PictureError, match="of defective"):
            fapm_cli.load(bank).calibrate(bad=bad)
    beside = tmp_path / "stain"
    shutil.copytree(SAMPLES / "test" / "stain", beside)
    shutil.copy(next((SAMPLES / "ground_truth" / "stain").iterdir()), beside)
    result = fapm("calibrate", bank, "--bad", beside, "-o", other)
    assert_fails(result, "_mask.png", "of defective parts alone")
    assert not other.exists()


def test_a_band_alone_begins_by_the_scores_that_the_threshold_came_from(
    bank: Path, tmp_path: Path
) -> None:
    fresh, other = tmp_path / "fresh.st", tmp_path / "other.st"
    assert fapm("calibrate", bank, TEST_GOOD, "-o", fresh, "--false-alarm-rate", 0.2).code == 0
    result = fapm("calibrate", fresh, "--review-rate", 0.5, "-o", other)
    scores = sorted(fapm("score", bank, TEST_GOOD, "--json").scores.values())
    found = load_bank(other).thresholds
    assert (found.review, found.score) == (scores[-4], load_bank(fresh).thresholds.score)
    assert "second look" not in result.err
    empty = fapm("calibrate", fresh, "--review-rate", 0.1, "-o", other)
    assert "no picture gets a second look: review rate 10.0%" in empty.err


def test_a_threshold_that_was_given_stays_as_the_bank_grows(bank: Path, tmp_path: Path) -> None:
    given, grown = tmp_path / "given.st", tmp_path / "grown.st"
    assert fapm("calibrate", bank, "--threshold", 1.25, "-o", given).code == 0
    result = fapm("add", given, ONE_GOOD, "-o", grown)
    assert "note: before: anomalous above 1.2500" in result.err
    found = load_bank(grown).thresholds
    assert (found.score, found.method, found.num_pictures) == (1.25, "given", 13)


def test_banks_whose_verdicts_aim_at_other_things_are_told_of(bank: Path, tmp_path: Path) -> None:
    given, merged = tmp_path / "given.st", tmp_path / "merged.st"
    assert fapm("calibrate", bank, "--threshold", 1.25, "-o", given).code == 0
    result = fapm("merge", given, bank, "-o", merged)
    assert f"verdicts aim at what those of {given} do" in result.err
    assert load_bank(merged).thresholds.score == 1.25
    assert "aim" not in fapm("merge", bank, bank, "-o", merged).err


def test_the_last_decision_holds_however_a_path_is_written(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    shutil.copy(ONE_GOOD, tmp_path / "part.jpg")
    lines = [
        ("part.jpg", "good"),
        ("a/../part.jpg", "unsure"),
        (str(tmp_path / "part.jpg"), "defect"),
    ]
    for count, kind in ((1, "good"), (2, "unsure"), (3, "defect")):
        labels = tmp_path / "labels.jsonl"
        labels.write_text(
            "".join(json.dumps({"path": p, "decision": d}) + "\n" for p, d in lines[:count])
        )
        found = read_labels(labels)
        assert [len(getattr(found, name)) for name in ("good", "defect", "unsure")] == [
            name == kind for name in ("good", "defect", "unsure")
        ]


def test_p_values_tell_the_same_as_verdicts_that_one_went_back_to(
    bank: Path, tmp_path: Path
) -> None:
    grown = tmp_path / "grown.st"
    assert fapm("add", bank, *GOOD[12:20], "-o", grown).code == 0
    assert fapm("calibrate", grown, "--undo").code == 0
    found = load_bank(grown).thresholds
    assert sorted(found.scores or ()) == sorted(load_bank(bank).nominal_scores.tolist())
    records = fapm("score", grown, SAMPLES / "test", "--json").json
    for one in records:
        assert (one["p_value"] <= found.expected) == (one["verdict"] == "anomalous")


def test_a_rate_that_too_few_pictures_can_not_promise_is_told_with_bad_ones_too(
    bank: Path, tmp_path: Path
) -> None:
    asked = ("--bad", SAMPLES / "test" / "stain", "--max-false-alarm-rate", 0.01, "--allow-few")
    result = fapm("calibrate", bank, TEST_GOOD, *asked, "-o", tmp_path / "other.st")
    assert "note: 8 good pictures can't promise 1.00% false alarms: expect 11.1%" in result.err
    assert "it takes 99 or more" in result.err
