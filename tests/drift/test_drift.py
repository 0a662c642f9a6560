"""Drift: several measures at once, what is said of them, and the three figures in small."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fapm_cli.drift.course import Course
from fapm_cli.drift.drift import MEASURES, Drift, values_of
from fapm_cli.errors import OptionError
from fapm_cli.pictures.measures import Measures

USUAL = {"brightness": (100, 3), "sharpness": (0.3, 0.02), "x": (0.5, 0.01), "y": (0.5, 0.01)}


def pictures(seed: int, defects: float = 0.0, **factors: float) -> Iterator[dict[str, Any]]:
    """Records of parts that look alike; of some, measures are so many times as large."""
    rng = np.random.default_rng(seed)
    while True:
        bad = rng.random() < defects
        measures = {
            name: float(rng.normal(mean, spread) * factors.get(name, 1) * (2 if bad else 1))
            for name, (mean, spread) in USUAL.items()
        }
        p_value = 0.01 if bad else float(rng.random() ** factors.get("p_value", 1))
        yield {"path": "a.png", "score": 1.0, "measures": measures, "p_value": p_value}


def reference(number: int = 60) -> dict[str, list[float]]:
    found = [values_of(record) for record in islice(pictures(99), number)]
    return {name: [one[name] for one in found] for name in MEASURES}


CHANGES = [
    ({"brightness": 1.15}, "light", "brighter"),
    ({"brightness": 0.85, "sharpness": 1.3, "p_value": 3}, "light", "darker"),
    ({"sharpness": 0.8}, "focus", "less sharp"),
    ({"sharpness": 1.2, "p_value": 3}, "focus", "sharper"),
    ({"x": 1.05}, "position", "farther right"),
    ({"y": 0.95}, "position", "higher"),
    ({"p_value": 3}, "process", "less like good parts"),
]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("factors", "cause", "word"), CHANGES)
def test_a_change_is_noticed_with_its_cause(
    factors: dict[str, float], cause: str, word: str, known: bool
) -> None:
    drift = Drift(reference() if known else None)
    for record in islice(pictures(1), 150):
        calm = drift.add(record)
    assert calm["alarm"] is False
    assert calm["evidence"] < 1
    assert set(calm) == {"evidence", "alarm"}
    for record in islice(pictures(2, **factors), 100):
        state = drift.add(record)
    assert (state["alarm"], state["cause"]) == (True, cause)
    assert abs(state["since"] - 151) <= 15
    first = drift.changes[0]
    assert (first.word, first.since) == (word, state["since"])
    assert first.since <= first.noticed <= 250
    assert drift.summary()["cause"] == cause


def test_two_of_a_hundred_defects_in_ten_thousand_parts_raise_no_alarm() -> None:
    drift = Drift(reference())
    for record in islice(pictures(3, defects=0.02), 10_000):
        drift.add(record)
    assert drift.changes == []
    assert max(drift.summary()["most_evidence"].values()) < 0.5


def test_the_promise_holds_for_all_measures_together() -> None:
    alarms = 0
    for seed in range(60):
        drift = Drift(reference(20), alpha=0.2)
        for record in islice(pictures(seed, defects=0.02), 200):
            state = drift.add(record)
        alarms += state["alarm"]
    assert alarms <= 0.2 * 60
    assert Drift(alpha=0.2).level == len(MEASURES) / 0.2


def test_unreadable_pictures_are_left_out_and_counted() -> None:
    with_errors, without = Drift(), Drift()
    for n, record in enumerate(islice(pictures(4), 50)):
        if n % 5 == 0:
            with_errors.add({"path": "b.png", "error": "no picture"})
        assert with_errors.add(record) == without.add(record)
    assert with_errors.num_left_out == 10
    assert with_errors.num_pictures == 50
    assert Drift().add({"path": "b.png", "error": "no picture"})["alarm"] is False


def test_what_records_do_not_tell_is_said() -> None:
    drift = Drift()
    assert drift.untold == ["light", "focus", "position", "process"]
    drift.add({"path": "a.png", "score": 1.0})
    assert drift.untold == ["light", "focus", "position", "process"]
    drift.add({"path": "a.png", "score": 1.0, "p_value": 0.5})
    assert drift.untold == ["light", "focus", "position"]
    drift.add(next(pictures(0)))
    assert drift.untold == []


def test_the_same_records_give_the_same_evidence() -> None:
    one, other = Drift(reference()), Drift(reference())
    for record in islice(pictures(5), 100):
        assert one.add(record) == other.add(record)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
def test_an_alpha_that_is_no_share_is_refused(alpha: float) -> None:
    with pytest.raises(OptionError, match="alpha"):
        Drift(alpha=alpha)


RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "brightness": st.integers(-9, 270_000).map(lambda n: n / 1000),
            "sharpness": st.floats(0, 20),
            "x": st.integers(0, 9).map(lambda n: n / 1e5),
            "y": st.floats(-2, 3),
            "p_value": st.floats(0, 1),
        }
    ),
    max_size=8,
)


@given(RECORDS, RECORDS)
def test_courses_are_those_of_all_values_on_the_grid(
    before: list[dict[str, float]], values: list[dict[str, float]]
) -> None:
    reference = {name: [one[name] for one in before] for name in MEASURES}
    drift, courses = Drift(reference), {}
    for name, measure in MEASURES.items():
        on_grid = [measure.on_grid(value) for value in reference[name]]
        courses[name] = Course(on_grid, name, up=bool(measure.more))
    for one in values:
        drift.add({"path": "a", "measures": one, "p_value": one["p_value"]})
        for name, course in courses.items():
            course.add(MEASURES[name].on_grid(one[name]))
    assert drift.evidence == {name: one.evidence / drift.level for name, one in courses.items()}


@given(st.integers(0, 255_000), st.integers(0, 100_000))
def test_what_a_record_says_of_a_picture_is_on_the_grid(grey: int, share: int) -> None:
    measured = Measures(round(grey / 1e3, 3), *[round(share / 1e5, 5)] * 3)
    for name, value in measured.to_json().items():
        assert MEASURES[name].on_grid(value) == value


def test_memory_is_bounded_by_the_grid() -> None:
    names = [name for name in MEASURES if name != "p_value"]
    drift, sizes = Drift(), []
    for run in range(3):
        for n in range(2048):
            measures = {name: (n * 7 + run * 1024) % 500 / 1000 for name in names}
            drift.add({"path": "a", "measures": measures, "p_value": n / 1e7})
        sizes.append(len(pickle.dumps(drift)))
    assert max(sizes) - min(sizes) < 100  # by the state of what draws
