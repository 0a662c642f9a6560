"""``fapm eval``: how good banks are on labelled pictures; the paper's Tables 1 and 2."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from fapm_cli.commands.choices import configure, query_changes
from fapm_cli.commands.eval_files import SCORE_COLUMNS, make_folder, score_rows, write_plots
from fapm_cli.commands.eval_table import echo_figures
from fapm_cli.commands.formats import FORMATS, Record, choose_format, csv_text
from fapm_cli.commands.opening import open_detector, use_threads
from fapm_cli.commands.options import (
    LEARNING,
    OUTPUT,
    PICTURES,
    BackboneOption,
    BatchSizeOption,
    CalibrationOption,
    DeviceOption,
    GridOption,
    JsonOption,
    LayersOption,
    LayerWeightsOption,
    NeighborsOption,
    PrecisionOption,
    PresetOption,
    RatioOption,
    ReachOption,
    SeedOption,
    SigmaOption,
    SizeOption,
    SpreadOption,
    ThreadsOption,
    WeightsOption,
)
from fapm_cli.commands.paths import check_output
from fapm_cli.commands.terminal import Advance, note, progress_bar
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.files import name_first, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fapm_cli.compute.plan import Plan
    from fapm_cli.config import BankConfig
    from fapm_cli.detection.detector import Detector
    from fapm_cli.evaluation.datasets import Category
    from fapm_cli.evaluation.evaluate import Evaluation

EXIT_ERROR = 2

_SPEED_WARM_UP, _SPEED_RUNS = 3, 20
_FORMATS = (*FORMATS, "markdown")


def eval_(
    datasets: Annotated[
        list[Path],
        typer.Argument(metavar="DATASET...", help="Categories, folders of them, or tables."),
    ],
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of the datasets; told by what is there by default.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    good: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What good pictures' folders or labels are called.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    variants: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C,D,E",
            help="Variants of the paper's Table 2 (default: E).",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    bank: Annotated[
        Path | None,
        typer.Option(
            metavar="BANK",
            help="Judge this bank, in place of building one.",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    preset: PresetOption = "default",
    backbone: BackboneOption = None,
    layers: LayersOption = None,
    weights: WeightsOption = None,
    seed: SeedOption = 0,
    size: SizeOption = None,
    grid: GridOption = None,
    coreset_ratio: RatioOption = 0.1,
    spread_threshold: SpreadOption = 0.5,
    neighbors: NeighborsOption = None,
    layer_weights: LayerWeightsOption = None,
    sigma: SigmaOption = None,
    reach: ReachOption = None,
    calibration: CalibrationOption = None,
    output_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="text, json, jsonl, csv or markdown.",
            autocompletion=lambda: list(_FORMATS),
            rich_help_panel=OUTPUT,
        ),
    ] = "text",
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", hidden=True)] = False,
    markdown: Annotated[bool, typer.Option(hidden=True)] = False,
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write each picture's score as CSV.", rich_help_panel=OUTPUT
        ),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write ROC, histograms, worst pictures.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    precision: PrecisionOption = "auto",
    batch_size: BatchSizeOption = 16,
) -> int:
    """Measure how well good and bad pictures are told apart.

    Builds banks, or takes one, and judges labelled pictures. Balanced accuracy and false alarms are
    those of the bank's own verdicts, beside the best balanced accuracy that any threshold gives,
    and the most false alarms that were foretold.

    A dataset is a category (train/good, test/good, test/DEFECT, ground_truth/DEFECT), a folder of
    them, or a table path,label[,mask][,split] as .csv or .jsonl. MVTec AD, LOCO and AD 2, BTAD,
    MPDD, VisA, KolektorSDD and KolektorSDD2 are read as published. What can't be read is named
    and left out (exit code 2). Frames per second are of the engine at batch size 1, variants
    taking turns.

    Example:  fapm eval samples --json
    """
    kind = choose_format(output_format, _FORMATS, json=as_json, csv=as_csv, markdown=markdown)
    if bank is not None and any(
        option is not None for option in (variants, backbone, layers, size, grid)
    ):
        raise OptionError("--bank is judged as it is: leave the options for building out")
    from fapm_cli.compute.device import resolve_device
    from fapm_cli.compute.plan import make_plan
    from fapm_cli.evaluation.datasets import find_categories

    # All that can be wrong with the options is said before the work.
    use_threads(threads)
    plan = make_plan(resolve_device(device), precision)
    changes = query_changes(neighbors, layer_weights, sigma, reach, calibration)
    configs = [
        configure(
            preset, backbone, layers, variant, size, grid, coreset_ratio, spread_threshold
        ).with_query(**changes)
        for variant in (variants or "E").split(",")
    ]
    given = None
    if bank is not None:
        given = open_detector(bank, device, precision, weights, changes)
    if scores is not None:
        check_output(scores, "text")
    if plots is not None:
        make_folder(plots)
    found = [
        one
        for dataset in datasets
        for one in find_categories(dataset, layout, good, lambda text: note(f"note: {text}"))
    ]

    def detectors(
        category: Category, report: Report, advance: Advance
    ) -> Iterator[tuple[Detector, float | None]]:
        """The bank that was given, or one per variant and the seconds it took to build."""
        if given is not None:
            yield given, None
            return
        for config in configs:
            yield _build(category, config, weights, seed, plan, batch_size, report, advance)

    records: list[Record] = []
    rows: list[Record] = []
    plotted: set[str] = set()
    failed = False
    for one in found:
        note(f"{one.name} …")
        report = Report(one.name)
        try:
            evaluations = _evaluate(one.read(), detectors, batch_size, report)
        except PictureError as error:
            report.failure(error)
            records.append({"category": one.name, "error": str(error)})
        else:
            for evaluation, fps in zip(evaluations, _speeds(evaluations), strict=True):
                records.append({**evaluation.record(), "images_per_second": fps})
                rows += score_rows(evaluation)
                if plots is not None:
                    write_plots(evaluation, plots, plotted)
        failed |= report.failed
    echo_figures(kind, records)
    if scores is not None:
        text = csv_text(rows, SCORE_COLUMNS)
        write_atomically(scores, text.encode(errors="backslashreplace"))
    return EXIT_ERROR if failed else 0


class Report:
    """Says on stderr, once each, what is to be known of a category.

    Attributes:
        failed: whether something could not be read.
    """

    def __init__(self, name: str):
        """Report on the category of this name."""
        self._name = name
        self._said: set[str] = set()
        self.failed = False

    def failure(self, error: PictureError) -> None:
        """Say what could not be read."""
        self.failed = True
        self._say(f"fapm: {self._name}: {error}")

    def note(self, text: str) -> None:
        """Say something else."""
        self._say(f"note: {self._name}: {text}")

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            note(line)


def _build(
    category: Category,
    config: BankConfig,
    weights: str | None,
    seed: int,
    plan: Plan,
    batch_size: int,
    report: Report,
    advance: Advance,
) -> tuple[Detector, float]:
    from fapm_cli.detection.detector import Detector
    from fapm_cli.learning.build import build_from_files
    from fapm_cli.network.extraction import load_extractor

    if not category.train:
        raise PictureError("no pictures to learn from: say --bank, or which rows' split is train")
    extractor = load_extractor(config, weights, seed).to(plan.device)
    started = time.perf_counter()
    files = [(path, path.name) for path in category.train]
    built = build_from_files(
        files,
        config,
        extractor,
        batch_size,
        thumbnails=False,
        on_bad=lambda bad: report.failure(bad.error),
        on_stage=advance,
    )
    seconds = time.perf_counter() - started
    return Detector(built, extractor, plan=plan), seconds


def _evaluate(
    category: Category,
    detectors: Callable[[Category, Report, Advance], Iterator[tuple[Detector, float | None]]],
    batch_size: int,
    report: Report,
) -> list[Evaluation]:
    from fapm_cli.evaluation.evaluate import evaluate

    for text in (*category.notes, *_missing_masks(category)):
        report.note(text)
    evaluations = []
    with progress_bar() as advance:
        for detector, seconds in detectors(category, report, advance):
            evaluations.append(evaluate(category, detector, batch_size, advance, seconds))
    for evaluation in evaluations:
        for error in evaluation.failures:
            report.failure(error)
        for text in _limits(evaluation):
            report.note(text)
    return evaluations


def _missing_masks(category: Category) -> list[str]:
    """What the lack of masks costs."""
    missing, num_defective = category.unmarked, len(category.defective)
    if not missing:
        return []
    if len(missing) == num_defective:
        return ["lacks masks: no pixel figures"]
    names = name_first([f"{one.path.parent.name}/{one.path.name}" for one in missing])
    return [
        f"{len(missing)} of {num_defective} defective pictures lack a mask and are left out of "
        f"the pixel figures: {names}"
    ]


def _limits(evaluation: Evaluation) -> list[str]:
    """What the figures are of, where that is not all of every picture; and what is odd."""
    limits = []
    num_test, share = len(evaluation.category.test), evaluation.detector.inspected_share
    if len(evaluation.test) < num_test:
        limits.append(f"figures are of {len(evaluation.test)} of {num_test} test pictures")
    differ = evaluation.differences.describe()
    if differ is not None:
        limits.append(differ)
    if share < 1 and evaluation.figures.pixel_auroc is not None:
        limits.append(f"pixel figures are of the {share:.0%} of each picture that is inspected")
    if evaluation.masks_look_inverted:
        limits.append(
            f"{evaluation.num_inverted} of {evaluation.num_masked} masks mark more than half of "
            "their picture: are they inverted? White is where the defect is"
        )
    return limits


def _speeds(evaluations: list[Evaluation]) -> list[float]:
    """Frames per second of each detector at batch size 1, taking turns."""
    import torch

    from fapm_cli.compute.timing import alternate

    works = {}
    for i, evaluation in enumerate(evaluations):
        height, width = evaluation.detector.bank.config.preprocessing.crop_px
        pixels = torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8)
        works[str(i)] = functools.partial(evaluation.detector.detect, pixels)
    where = evaluations[0].detector.device
    times = alternate(works, where, warm_up=_SPEED_WARM_UP, runs=_SPEED_RUNS)
    return [1000 / median(spent) for spent in times.values()]
