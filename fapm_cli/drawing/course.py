"""The course of drift: the evidence of each measure, picture by picture, as a PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from fapm_cli.drift.drift import Change
from fapm_cli.finding.kinds import DRAWN_BY

_LEAST, _MOST = 1e-4, 1e6  # of the axis
_NAMES = {"x": "place, x", "y": "place, y", "p_value": "p-value"}


def draw_course(evidence: Mapping[str, Sequence[float]], changes: Sequence[Change]) -> bytes:
    """Draw how evidence came and went.

    Args:
        evidence: of each measure after each picture, in units of the alarm's level.
        changes: that were noticed; the first is marked.
    """
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, values in evidence.items():
        shown = np.clip(np.asarray(values, np.float64), _LEAST, _MOST)
        axes.plot(np.arange(1, len(shown) + 1), shown, label=_NAMES.get(name, name))
    axes.axhline(1, color="black", linestyle="--", label="alarm")
    for change in changes[:1]:
        label = f"{change.cause}: {change.word} since picture {change.since}"
        axes.axvline(change.since, color="grey", linestyle=":", label=label)
    axes.set(yscale="log", ylim=(_LEAST, _MOST), xlabel="picture")
    axes.set_ylabel("evidence of a change, by the alarm's level")
    axes.legend(loc="upper left", fontsize=8)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": DRAWN_BY})
    return data.getvalue()
