"""Thresholds keep what they promise, say what they can't, and suspects stand out."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fapm_cli.scores.suspects import find_suspects
from fapm_cli.scores.thresholds import (
    Thresholds,
    fewest_errors,
    given_threshold,
    pictures_needed,
    rate_thresholds,
    with_review,
)

SCORES = [0.1 * i for i in range(1, 100)]  # 0.1 to 9.9
PEAKS = [2 * score for score in SCORES]


def test_a_rate_is_the_rank_that_a_picture_to_come_exceeds_so_often() -> None:
    found = rate_thresholds(SCORES, PEAKS, 0.1)
    assert found.score == pytest.approx(9.0)  # the 10th largest of 99
    assert (found.num_above, found.num_pictures, found.method) == (9, 99, "rate")
    assert found.expected == pytest.approx(0.1)
    false_alarms = {"expected": found.expected, "at_most": found.at_most, "confidence": 0.95}
    several = replace(found, scores=(1.0,) * 99)
    assert several.summary() == {**found.to_json(), "false_alarms": false_alarms}
    assert "scores" not in found.to_json()


def test_as_many_maps_exceed_the_pixel_threshold_as_scores_the_threshold() -> None:
    peaks = [SCORES[(7 * i) % 99] + 1 for i in range(99)]
    found = rate_thresholds(SCORES, peaks, 0.1)
    assert sum(peak > found.pixel for peak in peaks) == found.num_above == 9


def test_a_rate_below_what_the_pictures_can_tell_gives_the_largest_and_says_so() -> None:
    found = rate_thresholds(SCORES[:5], PEAKS[:5], 0.01)
    assert found.score == max(SCORES[:5])
    assert found.expected == pytest.approx(1 / 6)
    assert found.rate == 0.01


@pytest.mark.parametrize("num_pictures", [1, 2, 5, 20, 200])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_promises_hold_whatever_the_distribution(num_pictures: int, rate: float) -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(2000):
        scores = rng.pareto(1.5, num_pictures)  # heavy-tailed: its true rates are known
        found = rate_thresholds(scores.tolist(), scores.tolist(), rate)
        rates.append(float((1 + found.score) ** -1.5))
    assert np.mean(rates) == pytest.approx(found.expected, abs=4 * np.std(rates) / 2000**0.5)
    assert np.mean(np.array(rates) <= found.at_most) >= 0.94  # the same of each


def test_counts_of_false_alarms_stay_within_what_was_foretold() -> None:
    rng = np.random.default_rng(1)
    alarms = []
    for _ in range(2000):
        found = rate_thresholds((scores := rng.random(60).tolist()), scores, 0.05)
        alarms.append((rng.random(40) > found.score).sum())
    assert 0.94 <= np.mean(np.array(alarms) <= found.expected_among(40)) <= 0.995


@pytest.mark.parametrize("num", [1, 2, 7, 99])
def test_the_bound_is_the_rate_at_which_so_few_would_be_as_rare_as_one_in_twenty(num: int) -> None:
    for above in range(num):
        rate = given_threshold(SCORES[:num], PEAKS[:num], 0.05 + 0.1 * (num - above)).at_most
        ways = (math.comb(num, i) * rate**i * (1 - rate) ** (num - i) for i in range(above + 1))
        assert sum(ways) == pytest.approx(0.05, rel=1e-9)
    assert given_threshold(SCORES[:num], PEAKS[:num], 0.0).at_most == 1.0


@pytest.mark.parametrize(("num", "num_good"), [*itertools.product(range(1, 6), range(6))])
def test_false_alarms_foretold_are_the_fewest_that_95_of_100_orders_keep_to(
    num: int, num_good: int
) -> None:
    for above in range(num + 1):
        found = given_threshold(SCORES[:num], PEAKS[:num], 0.05 + 0.1 * (num - above))
        # Every order of the scores, old and new: the new ones above the threshold's rank. Where
        # all old ones are above it, it is as if there were one more, at it.
        old = max(num, above + 1)
        alarms = []
        for places in itertools.combinations(range(old + num_good), num_good):
            threshold = [i for i in range(old + num_good) if i not in places][above]
            alarms.append(sum(place < threshold for place in places))
        most = found.expected_among(num_good)
        assert np.mean([one <= most for one in alarms]) >= 0.95 - 1e-9
        assert most == 0 or np.mean([one < most for one in alarms]) < 0.95 + 1e-9


FEW = st.lists(st.one_of(st.floats(0, 10), st.integers(0, 4).map(float)), max_size=9)


@given(FEW.filter(len), FEW, st.sampled_from([0.01, 0.1, 0.25, 0.5, 1.0]))
@example([1.0, 2.0, 3.0], [1.5], 1.0)
@example([0.0] * 8 + [1.0], [0.0] * 6 + [1.0, 2.0, 2.0], 0.25)
def test_no_threshold_makes_fewer_errors_than_the_chosen_one(
    good: list[float], bad: list[float], most_rate: float
) -> None:
    def errors(threshold: float) -> tuple[Fraction, int]:
        above = sum(score > threshold for score in good)
        missed = sum(score <= threshold for score in bad)
        return Fraction(above, len(good)) + Fraction(missed, max(len(bad), 1)), above

    def allowed(threshold: float) -> bool:
        return errors(threshold)[1] + 1 <= max(most_rate * (len(good) + 1), 1) + 1e-9

    found = fewest_errors(good, good, bad, "labelled", most_rate)
    # Any threshold from the smallest good score on; below, every picture is anomalous.
    candidates = [score for score in good + bad if score >= min(good) and allowed(score)]
    least = min(errors(score)[0] for score in candidates)
    best = [score for score in candidates if errors(score)[0] == least]
    assert errors(found.score) == min(map(errors, best), key=lambda both: both[1])
    assert found.num_above == errors(found.score)[1]
    assert found.rate == found.expected == (found.num_above + 1) / (len(good) + 1)


@given(FEW.filter(len), st.floats(-1, 11) | st.integers(-1, 5).map(float))
def test_a_given_threshold_counts_the_pictures_above_it(good: list[float], score: float) -> None:
    peaks = [7.0 * i % 10 for i in range(len(good))]
    found = given_threshold(good, peaks, score)
    above = len([one for one in good if one > score])
    assert (found.score, found.method) == (score, "given")
    assert (found.num_above, found.num_pictures) == (above, len(good))
    assert found.rate == found.expected == (above + 1) / (len(good) + 1)
    assert found.pixel == (min(peaks) if above == len(good) else sorted(peaks)[-1 - above])


@pytest.mark.parametrize("percent", [1, 5, 10, 30, 50, 99])
def test_as_many_exceed_a_rates_threshold_as_the_rate_allows(percent: int) -> None:
    for num in range(1, 100):
        allowed = [k for k in range(num) if 100 * (k + 1) <= percent * (num + 1)]
        found = rate_thresholds(SCORES[:num], PEAKS[:num], percent / 100)
        assert found.num_above == max(allowed, default=0)


@given(st.floats(0.001, 0.999))
def test_a_rate_needs_the_fewest_pictures_that_can_promise_it(rate: float) -> None:
    needed = pictures_needed(rate)
    assert 1 / (needed + 1) <= rate * (1 + 1e-6)
    assert needed == 0 or 1 / needed > rate * (1 - 1e-6)


def test_few_pictures_fall_short_of_the_rate_or_of_the_usual_one() -> None:
    assert [rate_thresholds(SCORES[:n], PEAKS[:n], 0.1).falls_short for n in (8, 9)] == [0.1, None]
    bad = [100.0]
    few, enough = (fewest_errors(SCORES[:n], PEAKS[:n], bad).falls_short for n in (8, 9))
    assert (few, enough) == (0.05, None)
    assert given_threshold(SCORES[:2], PEAKS[:2], 1.0).falls_short is None


def test_between_good_and_bad_that_lie_apart_the_threshold_is_in_the_middle() -> None:
    assert fewest_errors([1.0, 2.0], [1.0, 2.0], [4.0, 5.0]).score == 3.0


def test_the_most_rate_bounds_false_alarms_however_many_defects_are_missed() -> None:
    found = fewest_errors(SCORES, PEAKS, [0.05] * 50 + SCORES[:50], "pseudo-defects", 0.1)
    assert found.expected <= 0.1
    assert fewest_errors(SCORES, PEAKS, SCORES[50:80]).expected > 0.1


def test_verdicts_are_ok_review_or_anomalous_and_a_threshold_itself_is_the_calmer() -> None:
    found = with_review(rate_thresholds(SCORES, PEAKS, 0.05), SCORES, 0.2)
    review = found.review
    assert review is not None
    assert review < found.score
    verdicts = [found.verdict(v) for v in (review, review + 0.01, found.score, found.score + 0.01)]
    assert verdicts == ["ok", "review", "review", "anomalous"]
    assert replace(found, review=None, review_rate=None).verdict(review + 0.01) == "ok"
    assert found.at(review).review is None
    assert with_review(found, SCORES, 0.01).review == found.score


@pytest.mark.parametrize(
    "change",
    [
        {"score": math.nan},
        {"score": "1"},
        {"score": 1},
        {"pixel": math.inf},
        {"review": 1e9},
        {"review": "0"},
        {"method": "guess"},
        {"method": []},
        {"rate": 1.1},
        {"rate": -0.1},
        {"rate": True},
        {"review_rate": 0.1},
        {"review_rate": 1.5},
        {"num_pictures": 0},
        {"num_pictures": 2**31},
        {"num_above": -1},
        {"num_above": 100},
        {"num_above": 1.0},
    ],
    ids=str,
)
def test_thresholds_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    fields = rate_thresholds(SCORES, PEAKS, 0.1).to_json()
    assert Thresholds(**fields) == rate_thresholds(SCORES, PEAKS, 0.1)
    with pytest.raises((ValueError, TypeError)):
        Thresholds(**{**fields, **change})


def test_a_rate_of_nothing_or_all_and_many_pictures_make_sense() -> None:
    fields = rate_thresholds(SCORES, PEAKS, 0.1).to_json()
    for rate in (0.0, 1.0):
        assert Thresholds(**{**fields, "rate": rate, "num_pictures": 2**31 - 1}).rate == rate


def test_suspects_are_those_far_above_the_rest_worst_first() -> None:
    rng = np.random.default_rng(0)
    levels = np.exp(rng.normal(0, 0.05, 100)).tolist()
    spots = [2 * level * float(np.exp(rng.normal(0, 0.05))) for level in levels]
    assert find_suspects(spots, levels) == []
    spots[3], spots[40], spots[70] = 4.0, 6.0, 0.2  # one far below is no suspect
    levels[9], spots[9] = 1.6, 3.2  # high all over
    found = find_suspects(spots, levels)
    assert [number for number, _ in found] == [40, 3, 9]
    assert all(z > 3.5 for _, z in found)
    in_other_units = find_suspects([1000 * s for s in spots], [1000 * v for v in levels])
    assert [number for number, _ in in_other_units] == [40, 3, 9]


def test_few_or_equal_pictures_have_no_suspect() -> None:
    assert find_suspects([1.0, 1.0, 1.0, 9.0], [1.0] * 4) == []
    assert find_suspects([1.0] * 10, [1.0] * 10) == []
    for order in itertools.permutations([0.9, 1.0, 1.1, 1.0, 5.0]):
        assert [order[i] for i, _ in find_suspects(order, [1.0] * 5)] == [5.0]


@pytest.mark.parametrize(
    ("parts", "factor"), [(5, 1.206), (8, 1.129), (9, 1.107), (10, 10 / 9.2), (100, 100 / 99.2)]
)
def test_the_spread_of_few_is_taken_for_more_than_it_seems(parts: int, factor: float) -> None:
    logs = [0.1 * ((7 * i) % parts) for i in range(parts - 1)] + [0.1 * parts * 9]
    ((number, z),) = find_suspects([float(np.exp(log)) for log in logs], [1.0] * parts)
    median = float(np.median(logs))
    spread = 1.4826 * factor * float(np.median([abs(log - median) for log in logs]))
    assert number == parts - 1
    assert z == pytest.approx((logs[-1] - median) / spread)


def test_at_another_threshold_the_review_band_stays_below_it_or_goes() -> None:
    found = with_review(rate_thresholds(SCORES, PEAKS, 0.05), SCORES, 0.2)
    assert found.review is not None
    above, below = found.at(found.review + 0.5), found.at(found.review - 0.5)
    assert above == replace(found, score=found.review + 0.5, method="given")
    gone = {"review": None, "review_rate": None, "method": "given"}
    assert below == replace(found, score=found.review - 0.5, **gone)  # type: ignore[arg-type]
    plain = rate_thresholds(SCORES, PEAKS, 0.05)
    assert plain.at(1.0) == replace(plain, score=1.0, method="given")
