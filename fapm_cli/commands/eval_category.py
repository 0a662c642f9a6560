"""One category, evaluated by one bank or several."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fapm_cli.commands.eval_notes import CategoryNotes
from fapm_cli.commands.terminal import progress_bar
from fapm_cli.errors import PictureError

if TYPE_CHECKING:
    from fapm_cli.api.detector import Detector
    from fapm_cli.compute.cluster import Cluster
    from fapm_cli.evaluation.datasets import Category
    from fapm_cli.evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class Judges:
    """Where the detectors of a category come from.

    Attributes:
        given: the one that judges all categories; None to build.
        choices: of each bank to build, what to learn.
        build_as: of all of them, arguments of :func:`fapm_cli.build`.
        precision: to judge in.
    """

    given: Detector | None
    choices: Sequence[Mapping[str, Any]]
    build_as: Mapping[str, Any]
    precision: str

    def of(
        self, category: Category, notes: CategoryNotes
    ) -> Iterator[tuple[Detector, float | None]]:
        """The one that was given, or one by one those built, and the seconds that took.

        Raises:
            PictureError: the category has no good pictures to learn from.
        """
        if self.given is not None:
            yield self.given, None
            return
        if not category.train:
            raise PictureError(
                "no pictures to learn from: say --bank, or which rows' split is train"
            )
        from fapm_cli.api.learning import build

        for choice in self.choices:
            begun = time.perf_counter()
            built = build(
                category.train, thumbnails=False, listener=notes, **self.build_as, **choice
            )
            seconds = time.perf_counter() - begun
            yield built.detector(self.build_as["device"], self.precision), seconds


def evaluate_by(
    judges: Judges,
    category: Category,
    batch_size: int,
    notes: CategoryNotes,
    cluster: Cluster | None = None,
) -> list[tuple[Evaluation, float]]:
    """Evaluate a category by each detector, and how many frames per second that judges.

    Args:
        judges: gives the detectors.
        category: what to judge.
        batch_size: pictures at a time.
        notes: says what is to be known.
        cluster: that judges in place of this process, but for frames per second.
    """
    from fapm_cli.api.evaluation import evaluate_category
    from fapm_cli.api.speed import frames_per_second

    for text in category.remarks:
        notes.note(text)
    evaluations, detectors = [], []
    with progress_bar() as notes.advance:
        for detector, seconds in judges.of(category, notes):
            detectors.append(detector)
            evaluations.append(
                evaluate_category(
                    category,
                    detector,
                    batch_size,
                    on_stage=notes.on_stage,
                    build_seconds=seconds,
                    cluster=cluster,
                )
            )
    for evaluation in evaluations:
        for error in evaluation.failures:
            notes.failure(error)
        for text in evaluation.remarks:
            notes.note(text)
    return [*zip(evaluations, frames_per_second(detectors), strict=True)]
