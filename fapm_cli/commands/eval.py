"""``fapm eval``: how good banks are on labelled pictures; the paper's Tables 1 and 2."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fapm_cli.commands.choices import learning_choices, query_changes
from fapm_cli.commands.eval_category import Judges, evaluate_by
from fapm_cli.commands.eval_files import SCORE_COLUMNS, make_folder, write_plots
from fapm_cli.commands.eval_notes import CategoryNotes
from fapm_cli.commands.eval_table import beside_paper, echo_figures
from fapm_cli.commands.formats import FORMATS, choose_format, csv_text
from fapm_cli.commands.opening import open_detector
from fapm_cli.commands.options import (
    LEARNING,
    OUTPUT,
    PICTURES,
    AlignOption,
    BackboneOption,
    BatchSizeOption,
    CalibrationOption,
    DeviceOption,
    GridOption,
    JsonOption,
    LayersOption,
    LayerWeightsOption,
    LightOption,
    MaxKeysOption,
    MetricOption,
    NeighborsOption,
    OnOption,
    PrecisionOption,
    PresetOption,
    RatioOption,
    ReachOption,
    SeedOption,
    SigmaOption,
    SizeOption,
    SpreadOption,
    ThreadsOption,
    TurnOption,
    WeightsOption,
    format_option,
)
from fapm_cli.commands.path_arguments import paths_argument
from fapm_cli.commands.paths import check_output
from fapm_cli.commands.terminal import note
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.files import write_atomically

if TYPE_CHECKING:
    from fapm_cli.detection.record import Record

EXIT_ERROR = 2

_FORMATS = (*FORMATS, "markdown")


def eval_(
    datasets: Annotated[
        list[Any],
        paths_argument("DATASET...", "Categories, folders of them, or tables; also elsewhere."),
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
            "--bank",  # typer 0.27 takes a name from the metavar alone for an argument's
            metavar="BANK",
            help="Judge this bank, in place of building one.",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="paper", help="Put what it reports beside AUROC.", rich_help_panel=OUTPUT
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
    max_keys: MaxKeysOption = None,
    spread_threshold: SpreadOption = 0.5,
    metric: MetricOption = None,
    turn: TurnOption = None,
    align: AlignOption = None,
    neighbors: NeighborsOption = None,
    layer_weights: LayerWeightsOption = None,
    sigma: SigmaOption = None,
    reach: ReachOption = None,
    calibration: CalibrationOption = None,
    light: LightOption = None,
    output_format: Annotated[str, format_option(_FORMATS)] = "text",
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
    on: OnOption = None,
) -> int:
    """Measure how well good and bad pictures are told apart.

    Builds banks, or takes one, and judges labelled pictures. Balanced accuracy and false alarms are
    those of the bank's own verdicts, beside the best balanced accuracy that any threshold gives,
    and the most false alarms that were foretold.

    A dataset is a category (train/good, test/good, test/DEFECT, ground_truth/DEFECT), a folder of
    them, or a table path,label[,mask][,split] as .csv or .jsonl. MVTec AD, LOCO and AD 2, BTAD,
    MPDD, VisA, KolektorSDD and KolektorSDD2 are read as published. What can't be read is named
    and left out (exit code 2). Frames per second are of the engine at batch size 1, variants
    taking turns, also with --on of this machine. With --against paper, its Table 1 (seven methods
    on MVTec AD) and Table 2 (the variants and their speed) stand beside image and pixel AUROC.

    Example:  fapm eval samples --against paper
    """
    if against not in (None, "paper"):
        raise OptionError(f"--against {against!r}: there is nothing but paper to hold against")
    kind = choose_format(output_format, _FORMATS, json=as_json, csv=as_csv, markdown=markdown)
    if bank is not None and any(
        option is not None for option in (variants, backbone, layers, size, grid)
    ):
        raise OptionError("--bank is judged as it is: leave the options for building out")
    from fapm_cli.api.detector import check_computing
    from fapm_cli.compute.cluster import connected, device_for
    from fapm_cli.compute.cores import use_threads
    from fapm_cli.evaluation.datasets import find_categories

    # All that can be wrong with the options is said before the work.
    use_threads(threads)
    device = device_for(on, device)
    check_computing(device, precision)
    changes = query_changes(neighbors, layer_weights, sigma, reach, calibration, light)
    common = (size, grid, coreset_ratio, spread_threshold, metric, turn, align, max_keys)
    choices, given = [], None
    if bank is None:
        choices = [
            learning_choices(preset, backbone, layers, variant, *common, **changes)
            for variant in (variants or "E").split(",")
        ]
    else:
        given = open_detector(bank, device, precision, weights=weights, **changes)
    if scores is not None:
        check_output(scores, "text")
    if plots is not None:
        make_folder(plots)
    found = [
        one
        for dataset in datasets
        for one in find_categories(dataset, layout, good, lambda text: note(f"note: {text}"))
    ]

    build_as = {"weights": weights, "seed": seed, "device": device, "batch_size": batch_size}
    judges = Judges(given, choices, {**build_as, "on": on}, precision)
    records: list[Record] = []
    rows: list[Record] = []
    plotted: set[str] = set()
    failed = False
    with connected(on) as cluster:
        for one in found:
            note(f"{one.name} …")
            notes = CategoryNotes(one.name)
            try:
                evaluated = evaluate_by(judges, one.read(), batch_size, notes, cluster)
            except PictureError as error:
                notes.failure(error)
                records.append({"category": one.name, "error": str(error)})
            else:
                for evaluation, fps in evaluated:
                    record = {**evaluation.record(), "images_per_second": fps}
                    records.append(beside_paper(record) if against else record)
                    rows += evaluation.score_rows()
                    if plots is not None:
                        write_plots(evaluation, plots, plotted)
            failed |= notes.failed
    echo_figures(kind, records)
    if scores is not None:
        text = csv_text(rows, SCORE_COLUMNS)
        write_atomically(scores, text.encode(errors="backslashreplace"))
    return EXIT_ERROR if failed else 0
