"""P-values: valid, monotone, and of one mind with verdicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fapm_cli.scores.p_values import PValues
from fapm_cli.scores.thresholds import (
    Thresholds,
    fewest_errors,
    given_threshold,
    rate_thresholds,
)

LEVELS = st.one_of(st.integers(0, 6).map(float), st.floats(-1e3, 1e3))
SCORES = st.lists(LEVELS, min_size=1, max_size=9)
RATES = st.sampled_from([0.01, 0.1, 0.2, 0.5, 0.9])


def by_rank(good: list[float], score: float) -> float:
    """The p-value of ranks, counted."""
    at_least = 0
    for one in good:
        if one >= score:
            at_least += 1
    return (at_least + 1) / (len(good) + 1)


def by_hand(good: list[float], score: float) -> float:
    """The p-value without thresholds, by looking for the neighbours."""
    if score > max(good):
        return 1 / (len(good) + 1)
    if score in good or score < min(good):
        return by_rank(good, score)
    below = max(one for one in good if one < score)
    above = min(one for one in good if one > score)
    share = (score - below) / (above - below)
    return by_rank(good, below) * (1 - share) + by_rank(good, above) * share


def thresholds_of(good: list[float], score: float, rate: float) -> list[Thresholds]:
    """Thresholds set in every way."""
    bad = [score, max(good) + 1]
    return [
        rate_thresholds(good, good, rate),
        given_threshold(good, good, score),
        fewest_errors(good, good, bad, "labelled", 0.5),
    ]


@given(SCORES, LEVELS)
def test_it_is_linear_between_the_ranks_of_neighbours(good: list[float], score: float) -> None:
    for one in [score, *good]:
        assert PValues(good)(one) == pytest.approx(by_hand(good, one), rel=1e-9)


@given(SCORES, LEVELS, st.lists(LEVELS, min_size=2, max_size=9), RATES)
def test_it_falls_as_scores_rise_within_its_range(
    good: list[float], given_score: float, scores: list[float], rate: float
) -> None:
    for thresholds in [None, *thresholds_of(good, given_score, rate)]:
        p = PValues(good, thresholds)
        values = [p(score) for score in sorted(scores + good)]
        assert values == sorted(values, reverse=True)
        assert all(1 / (len(good) + 1) <= value <= 1 for value in values)


@given(SCORES, LEVELS, LEVELS, RATES)
def test_it_is_never_less_than_ranks_allow(
    good: list[float], given_score: float, score: float, rate: float
) -> None:
    for thresholds in [None, *thresholds_of(good, given_score, rate)]:
        for one in [score, *good]:
            assert PValues(good, thresholds)(one) >= by_rank(good, one) - 1e-12


@given(SCORES, LEVELS, LEVELS, RATES)
def test_it_is_at_most_the_promised_rate_exactly_where_the_verdict_is_anomalous(
    good: list[float], given_score: float, score: float, rate: float
) -> None:
    for thresholds in thresholds_of(good, given_score, rate):
        if thresholds.expected == 1:
            continue  # all good parts are above it: no p-value is more
        p = PValues(good, thresholds)
        for one in [score, thresholds.score, np.nextafter(thresholds.score, 1e9), *good]:
            said = p(one) <= thresholds.expected
            assert said == (thresholds.verdict(one) == "anomalous")


@given(SCORES, LEVELS)
def test_thresholds_set_by_others_leave_it_as_it_is(good: list[float], score: float) -> None:
    others = [
        replace(given_threshold(good, good, score), num_pictures=len(good) + 1),
        replace(given_threshold([*good, 0.0], good, max(good)), num_pictures=len(good)),
    ]
    others[1] = replace(others[1], score=min(good) - 1, num_above=0)
    for thresholds in others:
        assert PValues(good, thresholds)(score) == PValues(good)(score)


@pytest.mark.parametrize("num_parts", [1, 4, 19, 60])
@pytest.mark.parametrize("draw", ["random", "standard_cauchy"])
def test_of_good_parts_no_more_than_a_share_have_a_p_value_as_small(
    num_parts: int, draw: str
) -> None:
    rng, found = np.random.default_rng(num_parts), []
    for _ in range(4000):
        *good, fresh = getattr(rng, draw)(num_parts + 1).tolist()
        found.append(PValues(good, rate_thresholds(good, good, 0.1))(fresh))
    for share in np.arange(0.01, 1, 0.01):
        slack = 4 * np.sqrt(share * (1 - share) / len(found))
        assert np.mean(np.array(found) <= share) <= share + slack
