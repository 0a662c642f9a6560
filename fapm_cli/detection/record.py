"""What is said of a judged picture, as plain values: the record of ``fapm score``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from fapm_cli.detection.judge import Judge
from fapm_cli.detection.stream import Judged, judge
from fapm_cli.errors import PictureError
from fapm_cli.finding.folders import Unreadable
from fapm_cli.pictures.reading import Item
from fapm_cli.scores.thresholds import Thresholds
from fapm_cli.stores.stored import AnyPath

Record = dict[str, Any]


def record_of(detector: Judge, one: Judged | Unreadable, thresholds: Thresholds | None) -> Record:
    """Say what was found in a picture; docs/score.schema.json has the fields.

    Args:
        detector: that judged it.
        one: the picture; one that can't be read has but ``path`` and ``error``.
        thresholds: where verdicts change; None for no verdict.
    """
    if isinstance(one, Unreadable):
        return {"path": str(one.path), "error": str(one.error)}
    picture = one.prepared.picture
    pose = one.prepared.pose
    located = detector.locator.locate(one.found, picture.size_px, pose)
    score = located["score"]
    try:
        check_score(picture.path, score)
    except PictureError as error:
        return {"path": str(picture.path), "error": str(error)}
    record = {"path": str(picture.path), **located, "precision": detector.precision}
    if detector.p_values is not None:
        record["p_value"] = detector.p_values(score)
    record["measures"] = one.prepared.measures(detector.fitting.roi).to_json()
    lit = one.prepared.lit
    differs = detector.bank.differences(one.prepared.like, one.prepared.differs)
    if differs is not None:
        record["differs"] = differs
    if one.prepared.placed is not None:
        record["shift"] = {"x": pose.shift_px[1], "y": pose.shift_px[0]}
    if detector.bank.config.align == "rigid":
        record["turn"] = pose.turn
    if lit is not None:
        record["light"] = [round(gain, 3) for gain in lit.gains]
    if picture.moment is not None:
        record |= {"frame": picture.moment.frame, "time_s": picture.moment.time_s}
    if thresholds is not None:
        record |= {"threshold": thresholds.score, "verdict": thresholds.verdict(score)}
        if thresholds.review is not None:
            record["review_threshold"] = thresholds.review
    return record


def records(
    detector: Judge, items: Iterable[Item | None], batch_size: int, thresholds: Thresholds | None
) -> Iterator[Record]:
    """Judge pictures, as :func:`judge` does, and say of each what was found."""
    for one in judge(detector, items, batch_size):
        yield record_of(detector, one, thresholds)


def check_score(path: AnyPath, score: float) -> None:
    """Check that a picture's score is a number.

    Raises:
        PictureError: it is not finite.
    """
    if not math.isfinite(score):
        raise PictureError(f"picture {path} has no finite score: a bad bank?")
