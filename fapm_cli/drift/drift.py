"""Drift: whether the pictures of a stream still come from what they came from before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fapm_cli.drift.course import Course
from fapm_cli.errors import OptionError

ALPHA = 0.01
Reference = Mapping[str, Sequence[float]]
"""Values of good parts of before, by the names of :data:`MEASURES`."""


@dataclass(frozen=True)
class Measure:
    """What is followed.

    Attributes:
        cause: what probably changed where it does.
        more: what to say of pictures that have more of it.
        less: likewise.
        digits: after the point, that values are rounded to; records have no more of them, but for
            p-values.
        least: what is less counts as this.
        most: likewise.
    """

    cause: str
    more: str
    less: str
    digits: int = 5
    least: float = 0.0
    most: float = 1.0

    def on_grid(self, value: float) -> float:
        """A value as it is compared with others: one of a finite number.

        The grid is settled before any picture is seen, so what is exchangeable stays so, and what
        :mod:`fapm_cli.drift.course` promises holds for values on it as for any.
        """
        return round(min(max(value, self.least), self.most), self.digits)

    def word(self, rose: bool) -> str:
        """How pictures are that have more of it, or less."""
        return self.more if rose else self.less


MEASURES = {
    "brightness": Measure("light", "brighter", "darker", digits=3, most=255.0),
    "sharpness": Measure("focus", "sharper", "less sharp", most=10.0),
    "x": Measure("position", "farther right", "farther left", least=-1.0, most=2.0),
    "y": Measure("position", "lower", "higher", least=-1.0, most=2.0),
    "p_value": Measure("process", "", "less like good parts", digits=4),
}
"""By the name in records; what changes one may change all that come after it, hardly those before.

A p-value is followed downwards alone: scores of a bank's own parts, their keys left out, are rather
higher than those of fresh ones, and that pictures are more usual than before is no fault.
"""


@dataclass(frozen=True)
class Change:
    """A change of a measure.

    Attributes:
        measure: which, a name of :data:`MEASURES`.
        noticed: number of the picture at which the evidence reached the alarm's level, from 1.
        since: number of the picture from which on values are probably others.
        rose: whether they are larger.
    """

    measure: str
    noticed: int
    since: int
    rose: bool

    @property
    def cause(self) -> str:
        """What probably changed."""
        return MEASURES[self.measure].cause

    @property
    def word(self) -> str:
        """How pictures are now."""
        return MEASURES[self.measure].word(self.rose)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"cause": self.cause, "word": self.word, **vars(self)}


class Drift:
    """Follows records of judged pictures, one after another.

    Each measure has a course of evidence of its own; with M measures, the alarm is raised where one
    reaches M / alpha, so that of streams in which nothing changes at most a share alpha ever have
    one (the sum of M chances of alpha / M). It keeps 16 bytes of each different value of a measure
    (on a grid, :meth:`Measure.on_grid`), so its memory does not grow for ever.

    Attributes:
        alpha: that share.
        reference: that it compares with.
        courses: by the names of :data:`MEASURES`.
        num_pictures: how many it took.
        num_left_out: how many records more were of pictures that could not be read.
    """

    def __init__(self, reference: Reference | None = None, *, alpha: float = ALPHA):
        """Begin with no picture.

        Args:
            reference: measures of good parts to compare with, beside the stream's own of before;
                None for no others.
            alpha: the share of streams without a change that may ever have an alarm.

        Raises:
            OptionError: ``alpha`` is no such share.
        """
        if not 0 < alpha < 1:
            raise OptionError(f"alpha {alpha}: wanted a share of streams, above 0, below 1")
        self.alpha, self.reference = alpha, reference or {}
        self.courses = {
            name: Course(
                [*map(measure.on_grid, self.reference.get(name, ()))], name, up=bool(measure.more)
            )
            for name, measure in MEASURES.items()
        }
        self.num_pictures = self.num_left_out = 0
        self._changes: dict[str, Change] = {}

    @property
    def num_reference(self) -> int:
        """How many good parts of the reference pictures are compared with."""
        return max(map(len, self.reference.values()), default=0)

    @property
    def untold(self) -> list[str]:
        """Causes of which the records so far tell nothing."""
        told = {MEASURES[name].cause for name, course in self.courses.items() if course.told}
        causes = dict.fromkeys(measure.cause for measure in MEASURES.values())
        return [cause for cause in causes if cause not in told]

    @property
    def level(self) -> float:
        """The evidence from which on there is an alarm, M / alpha."""
        return len(MEASURES) / self.alpha

    @property
    def evidence(self) -> dict[str, float]:
        """The evidence of each measure by now, in units of the alarm's level."""
        return {name: course.evidence / self.level for name, course in self.courses.items()}

    @property
    def changes(self) -> list[Change]:
        """Of each measure whose evidence ever reached the level; first what explains the others."""
        return [self._changes[name] for name in MEASURES if name in self._changes]

    def add(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Take the record of the next picture, as ``fapm score`` gives it.

        Returns:
            What to say with it: ``evidence``, the greatest by now, in units of the alarm's level;
            whether there was an ``alarm`` so far; and if so its probable ``cause``, and ``since``
            which picture of this stream, from 1.
        """
        if "error" in record:
            self.num_left_out += 1
        else:
            self.num_pictures += 1
            values = values_of(record)
            for name, course in self.courses.items():
                value = values.get(name)
                placed = None if value is None else MEASURES[name].on_grid(value)
                if course.add(placed) >= self.level and name not in self._changes:
                    change = Change(name, self.num_pictures, course.since, course.rose)
                    self._changes[name] = change
        changes = self.changes
        state: dict[str, Any] = {"evidence": max(self.evidence.values()), "alarm": bool(changes)}
        if changes:
            state |= {"cause": changes[0].cause, "since": changes[0].since}
        return state

    def summary(self) -> dict[str, Any]:
        """What was found so far, as plain values."""
        changes = self.changes
        return {
            "alarm": bool(changes),
            "cause": changes[0].cause if changes else None,
            "changes": [change.to_json() for change in changes],
            "alpha": self.alpha,
            "pictures": self.num_pictures,
            "left_out": self.num_left_out,
            "reference": self.num_reference,
            "untold": self.untold,
            "most_evidence": {
                name: course.most / self.level for name, course in self.courses.items()
            },
        }


def values_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a record, by the names of :data:`MEASURES`; what it does not tell is missing."""
    found = {**record.get("measures", {}), "p_value": record.get("p_value")}
    return {name: found[name] for name in MEASURES if found.get(name) is not None}
