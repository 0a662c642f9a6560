"""The course: a bookkeeper's capital, its promise kept, changes found."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fapm_cli.drift.course import TOLERANCE, Course, reserve

VALUES = st.lists(st.one_of(st.none(), st.integers(0, 3).map(float), st.floats(-9, 9)), max_size=9)


def factor(slope: float, p: float) -> float:
    return (1 + slope * (1 - 2 * p)) / (1 + TOLERANCE * abs(slope))


def by_hand(reference: list[float], values: list[float], seed: str, slopes: list[float]) -> float:
    """The evidence as a sum over all bets: when each was laid out, and what became of it."""
    chance, before, places = random.Random(seed), [*reference], []
    for value in values:
        larger = sum(one > value for one in before)
        equal = sum(one == value for one in before) + 1
        places.append((larger + chance.random() * equal) / (len(before) + 1))
        before.append(value)
    total = reserve(len(values))
    for start in range(len(values)):
        for slope in slopes:
            bet = (reserve(start) - reserve(start + 1)) / len(slopes)
            total += bet * math.prod(factor(slope, p) for p in places[start:])
    return total


@given(VALUES, VALUES, st.booleans())
def test_evidence_is_the_sum_of_all_bets(
    reference: list[float | None], values: list[float | None], up: bool
) -> None:
    known = [value for value in reference if value is not None]
    slopes = [-0.75, -0.5, -0.25] + [0.25, 0.5, 0.75] * up
    course, so_far = Course(known, "a", up=up), [1.0]
    for value in values:
        so_far.append(course.add(value))
    kept = [value for value in values if value is not None]
    assert course.evidence == pytest.approx(by_hand(known, kept, "a", slopes), rel=1e-9)
    assert course.most == max(so_far)
    assert (course.num_pictures, course.told) == (len(values), bool(kept))


@settings(max_examples=300)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
    st.sampled_from([-0.75, -0.25, 0.5, 0.75]),
)
def test_no_bet_gains_where_p_values_are_uniform_but_for_the_tolerance(
    places: list[float], slope: float
) -> None:
    mean = sum(places) / len(places)
    moved = [p + (0.5 - mean) for p in places]  # of any law with a mean of a half
    for off in (-TOLERANCE / 2, 0, TOLERANCE / 2):
        gains = [factor(slope, p + off) for p in moved]
        assert sum(gains) / len(gains) <= 1 + 1e-9


def test_all_is_laid_out_in_the_end_and_nothing_twice() -> None:
    left = [reserve(n) for n in range(2000)]
    assert left[0] == 1
    assert left == sorted(left, reverse=True)
    assert reserve(10**200) < 0.01


def streams(kind: str, number: int, length: int, defects: float) -> float:
    """Share of streams with evidence of 10 or more at any time."""
    rng, alarms = np.random.default_rng(len(kind)), 0
    for i in range(number):
        values = getattr(rng, kind)(size=length + 12)
        bad = rng.random(length) < defects
        values[12:][bad] = 1e6 if i % 2 else -1e6
        course = Course(values[:12].tolist(), str(i))
        for value in values[12:].tolist():
            course.add(value)
        alarms += course.most >= 10
    return alarms / number


@pytest.mark.parametrize(("kind", "defects"), [("normal", 0), ("standard_cauchy", 0.05)])
def test_of_streams_without_a_change_few_have_an_alarm_even_with_defects(
    kind: str, defects: float
) -> None:
    assert streams(kind, 300, 250, defects) <= 0.1


@pytest.mark.parametrize("shift", [-3.0, 3.0])
@pytest.mark.parametrize("calm", [0, 200, 5000])
def test_a_change_is_found_soon_however_late_it_comes(shift: float, calm: int) -> None:
    rng = np.random.default_rng(2)
    course = Course(rng.normal(size=60).tolist())
    for value in rng.normal(size=calm).tolist():
        course.add(value)
    assert course.most < 500
    for value in rng.normal(shift, size=60).tolist():
        if course.add(value) >= 500:
            break
    assert course.evidence >= 500
    assert course.rose == (shift > 0)
    assert abs(course.since - (calm + 1)) <= 20


def test_what_is_followed_downwards_says_nothing_of_a_rise() -> None:
    rng = np.random.default_rng(3)
    reference = rng.normal(size=60).tolist()
    for shift, found in ((3.0, False), (-3.0, True)):
        course = Course(reference, up=False)
        for value in rng.normal(shift, size=100).tolist():
            course.add(value)
        assert (course.most >= 500) == found


def test_evidence_stays_finite() -> None:
    course = Course([0.0] * 50)
    for n in range(5000):
        assert math.isfinite(course.add(n + 1.0))
