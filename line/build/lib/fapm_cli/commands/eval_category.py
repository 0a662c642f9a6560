"""One category, evaluated by one bank or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fapm_cli.commands.eval_notes import CategoryNotes
from fapm_cli.commands.terminal import progress_bar

if TYPE_CHECKING:
    from fapm_cli.api.detector import Detector
    from fapm_cli.evaluation.datasets import Category
    from fapm_cli.evaluation.evaluation import Evaluation

    Judges = Callable[[Category, CategoryNotes], Iterator[tuple[Detector, float | None]]]


def evaluate_by(
    judges: Judges, category: Category, batch_size: int, notes: CategoryNotes
) -> list[tuple[Evaluation, float]]:
    """Evaluate a category by each detector, and how many frames per second that judges.

    Args:
        judges: gives detectors for a category, with the seconds that their banks took to build.
        category: what to judge.
        batch_size: pictures at a time.
        notes: says what is to be known.
    """
    from fapm_cli.api.evaluation import evaluate_category
    from fapm_cli.api.speed import frames_per_second

    for text in category.remarks:
        notes.note(text)
    evaluations, detectors = [], []
    with progress_bar() as notes.advance:
        for detector, seconds in judges(category, notes):
            detectors.append(detector)
            evaluations.append(
                evaluate_category(
                    category,
                    detector,
                    batch_size,
                    on_stage=notes.on_stage,
                    build_seconds=seconds,
                )
            )
    for evaluation in evaluations:
        for error in evaluation.failures:
            notes.failure(error)
        for text in evaluation.remarks:
            notes.note(text)
    return [*zip(evaluations, frames_per_second(detectors), strict=True)]
