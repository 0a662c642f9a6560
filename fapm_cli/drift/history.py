"""The history of a stream that was followed: where a change began, and the course of evidence."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from statistics import median
from typing import Any

from fapm_cli.drift.drift import MEASURES, Change, Drift, values_of


class History:
    """Follows records as :class:`Drift` does, and keeps what it takes to tell of them.

    Attributes:
        drift: that follows.
        paths: of the pictures that were judged.
        evidence: of each measure after each picture, in units of the alarm's level.
    """

    def __init__(self, drift: Drift):
        """Begin with no picture, and a ``drift`` that has taken none."""
        self.drift, self.paths = drift, list[str]()
        self.evidence = {name: array("d") for name in MEASURES}
        self._values = {name: array("d") for name in MEASURES}

    def add(self, record: Mapping[str, Any]) -> None:
        """Take the record of the next picture."""
        self.drift.add(record)
        if "error" in record:
            return
        self.paths.append(record["path"])
        found = values_of(record)
        for name, value in self.drift.evidence.items():
            self.evidence[name].append(value)
            self._values[name].append(found.get(name, math.nan))

    def summary(self) -> dict[str, Any]:
        """What was found so far, as plain values: of each change also the ``path`` that it began
        with, and the measure's medians ``before``, with the reference, and ``after``.
        """
        changes = [change.to_json() | self._around(change) for change in self.drift.changes]
        return self.drift.summary() | {"changes": changes}

    def _around(self, change: Change) -> dict[str, Any]:
        values, first = self._values[change.measure], change.since - 1
        sides = [*self.drift.reference.get(change.measure, ()), *values[:first]], values[first:]
        before, after = ([one for one in side if not math.isnan(one)] for side in sides)
        path = self.paths[first]
        return {"path": path, "before": median(before) if before else None, "after": median(after)}
