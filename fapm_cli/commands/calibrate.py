"""``fapm calibrate``: set a bank's thresholds anew, without building it again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fapm_cli.commands.calibration_notes import CalibrationNotes
from fapm_cli.commands.formats import choose_format, summary_text
from fapm_cli.commands.notes import note_few, note_review
from fapm_cli.commands.opening import open_detector
from fapm_cli.commands.options import (
    OUTPUT,
    PICTURES,
    VERDICTS,
    BankArgument,
    BatchSizeOption,
    DeviceOption,
    EngineOption,
    FalseAlarmsOption,
    FormatOption,
    GroupOption,
    JsonOption,
    PrecisionOption,
    ReviewOption,
    ThreadsOption,
    WeightsOption,
)
from fapm_cli.commands.path_arguments import paths_argument
from fapm_cli.commands.paths import (
    LabelsOption,
    add_labelled,
    check_order,
    check_output,
    find_named,
)
from fapm_cli.commands.terminal import note, progress_bar
from fapm_cli.errors import OptionError
from fapm_cli.files import escaped
from fapm_cli.finding.kinds import A_BANK
from fapm_cli.stores.locating import located


def calibrate(
    bank: BankArgument,
    good: Annotated[
        list[Any] | None,
        paths_argument(
            "[GOOD...]", "Good pictures that the bank was not built from (default: its own)."
        ),
    ] = None,
    bad: Annotated[
        list[Any] | None,
        typer.Option(
            metavar="PATH",
            parser=located,
            help="Defective pictures (a file or folder; may be given again).",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    labels: LabelsOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write here, and leave BANK as it is.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    false_alarm_rate: FalseAlarmsOption = None,
    max_false_alarm_rate: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            help="Allow no higher rate, whatever the rest comes to.",
            rich_help_panel=VERDICTS,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            help="Set the threshold itself; GOOD tells its false alarms.",
            rich_help_panel=VERDICTS,
        ),
    ] = None,
    review_rate: ReviewOption = None,
    allow_few: Annotated[
        bool,
        typer.Option(
            "--allow-few",
            help="Take fewer good pictures than the rate needs.",
            rich_help_panel=VERDICTS,
        ),
    ] = False,
    keep_suspects: Annotated[
        bool,
        typer.Option(
            "--keep-suspects",
            help="Take good pictures that look unlike the rest.",
            rich_help_panel=PICTURES,
        ),
    ] = False,
    undo: Annotated[
        bool,
        typer.Option(
            "--undo",
            help="Go back to the thresholds before the last change.",
            rich_help_panel=VERDICTS,
        ),
    ] = False,
    group: GroupOption = None,
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    precision: PrecisionOption = "auto",
    engine: EngineOption = "auto",
    batch_size: BatchSizeOption = 8,
    output_format: FormatOption = "text",
    as_json: JsonOption = False,
) -> None:
    """Set a bank's thresholds anew by fresh pictures.

    What it has learnt stays as it is. From good pictures alone it keeps the bank's false-alarm
    rate, unless told another. With defective ones it sets the threshold where the rates of misses
    and false alarms have the least sum.

    Example:  fapm calibrate bank.st samples/test/good --false-alarm-rate 0.2
    """
    kind = choose_format(output_format, json=as_json)
    good, bad = add_labelled(labels, good, bad)
    target = output or bank
    check_order("calibrate", bank, [*(good or ()), *(bad or ())])
    check_output(target, A_BANK)
    from fapm_cli.api.bank import Bank, load
    from fapm_cli.api.calibration import check_task
    from fapm_cli.api.pictures import part_namer
    from fapm_cli.compute.cores import use_threads
    from fapm_cli.scores.aim import Aim

    part_namer(group)
    aim = Aim(false_alarm_rate, review_rate, threshold)
    if not undo:
        check_task(good or None, bad or None, aim, max_false_alarm_rate)
    elif good or bad or max_false_alarm_rate is not None or aim != Aim():
        raise OptionError("--undo goes back to the thresholds before: give nothing else with it")
    use_threads(threads)
    detector = None
    if good or bad:
        detector = open_detector(bank, device, precision, weights=weights, engine=engine)
    before = load(bank) if detector is None else Bank(detector.learnt)
    with progress_bar() as advance:
        told = CalibrationNotes(advance, grouped=group is not None)
        if undo:
            after = before.undo_calibration()
        else:
            after = before.calibrate(
                find_named(good, of="good") if good else None,
                [item for item, _ in find_named(bad, of="defective")] if bad else None,
                aim=aim,
                max_false_alarm_rate=max_false_alarm_rate,
                allow_few=allow_few,
                keep_suspects=keep_suspects,
                group=group,
                detector=detector,
                batch_size=batch_size,
                listener=told,
            )
    after.save(target)
    note(f"note: before: {before.thresholds.describe()}")
    chosen = after.thresholds
    if not undo:
        note_few(chosen, max_false_alarm_rate)
        note_review(chosen)
    told.note_misses(chosen)
    summary = {**chosen.summary(), "before": before.thresholds.summary(), "misses": told.misses}
    typer.echo(summary_text(kind, summary, f"{escaped(target)}: {chosen.describe()}"))
