"""``fapm calibrate``: set a bank's thresholds anew, without building it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fapm_cli.commands.calibration_pictures import Scores, check_suspects, gather
from fapm_cli.commands.choices import check_rate, check_rates, choose_thresholds
from fapm_cli.commands.formats import choose_format, summary_text
from fapm_cli.commands.notes import note_few
from fapm_cli.commands.opening import open_detector, use_threads
from fapm_cli.commands.options import (
    OUTPUT,
    PICTURES,
    VERDICTS,
    BankArgument,
    BatchSizeOption,
    DeviceOption,
    FalseAlarmsOption,
    FormatOption,
    GroupOption,
    JsonOption,
    PrecisionOption,
    ReviewOption,
    ThreadsOption,
    WeightsOption,
)
from fapm_cli.commands.paths import check_order, check_output, part_namer
from fapm_cli.commands.terminal import note
from fapm_cli.errors import BankError, OptionError, PictureError
from fapm_cli.files import escaped
from fapm_cli.finding.kinds import A_BANK

if TYPE_CHECKING:
    from fapm_cli.bank.bank import Bank
    from fapm_cli.scores.thresholds import Thresholds


def calibrate(
    bank: BankArgument,
    good: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[GOOD...]",
            help="Good pictures that the bank was not built from (default: its own).",
        ),
    ] = None,
    bad: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Defective pictures (a file or folder; may be given again).",
            rich_help_panel=PICTURES,
        ),
    ] = None,
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
    target = output or bank
    check_output(target, A_BANK)
    check_order("calibrate", bank, [*(good or ()), *(bad or ())])
    part_of = part_namer(group)
    check_rates(false_alarm_rate, review_rate, threshold)
    check_rate("max false-alarm rate", max_false_alarm_rate)
    _check_task(
        undo,
        bool(good),
        bool(bad),
        {
            "--threshold": threshold,
            "--false-alarm-rate": false_alarm_rate,
            "--max-false-alarm-rate": max_false_alarm_rate,
            "--review-rate": review_rate,
        },
    )
    from fapm_cli.bank.file import save_bank

    use_threads(threads)
    loaded, of_good, of_bad = gather(
        bank,
        good or [],
        bad or [],
        batch_size,
        part_of,
        lambda: open_detector(bank, device, precision, weights),
    )
    before = loaded.thresholds
    if undo:
        chosen = _undone(loaded, bank)
    else:
        check_suspects(of_good, keep_suspects)
        default = before
        aim = false_alarm_rate
        if of_bad is not None:
            default = _fewest_errors(of_good, of_bad, max_false_alarm_rate)
        elif threshold is None and aim is None:
            aim = _kept_rate(before, max_false_alarm_rate, fresh=bool(good))
        if good and threshold is None and not allow_few:
            _check_enough(of_good, aim or max_false_alarm_rate)
        chosen = choose_thresholds(
            default, of_good.scores, of_good.peaks, aim, review_rate, threshold
        )
    save_bank(loaded.with_thresholds(chosen), target)
    note(f"note: before: {before.describe()}")
    if not undo:
        note_few(chosen)
    misses = None if of_bad is None else _count_misses(chosen, of_bad)
    summary = {**chosen.summary(), "before": before.summary(), "misses": misses}
    typer.echo(summary_text(kind, summary, f"{escaped(target)}: {chosen.describe()}"))


def _check_task(undo: bool, good: bool, bad: bool, numbers: dict[str, float | None]) -> None:
    """Check that there is something to do, and one thing.

    Raises:
        OptionError: it is not so.
    """
    given = {name for name, value in numbers.items() if value is not None}
    setting = given - {"--review-rate"}
    if undo and (good or bad or given):
        raise OptionError("--undo goes back to the thresholds before: give nothing else with it")
    if not (undo or good or bad or given):
        raise OptionError(
            "nothing to set the threshold by: give good pictures, --bad, a rate, --threshold "
            "or --undo"
        )
    if bad and setting - {"--max-false-alarm-rate"}:
        raise OptionError(
            "--bad sets the threshold: leave --threshold and --false-alarm-rate out, or --bad"
        )
    if len(setting) > 1:
        raise OptionError(f"{' and '.join(sorted(setting))} set the threshold: choose one")


def _check_enough(of_good: Scores, rate: float | None) -> None:
    """Check that good pictures are enough to promise a false-alarm rate.

    Raises:
        PictureError: they are not.
    """
    from fapm_cli.scores.thresholds import MOST_RATE, pictures_needed

    aim, found = MOST_RATE if rate is None else rate, len(of_good.scores)
    if found < pictures_needed(aim):
        raise PictureError(
            f"{found} good pictures can promise {1 / (found + 1):.1%} false alarms, not {aim:.2%}: "
            f"give {pictures_needed(aim)} or more, or take that with --allow-few"
        )


def _kept_rate(before: Thresholds, most: float | None, fresh: bool) -> float | None:
    """The bank's false-alarm rate, if it is allowed, to be had anew; None to keep its threshold."""
    if most is not None and most < before.rate:
        return most
    return before.rate if fresh else None


def _fewest_errors(of_good: Scores, of_bad: Scores, most: float | None) -> Thresholds:
    from fapm_cli.scores.thresholds import fewest_errors

    most_rate = 1.0 if most is None else most
    return fewest_errors(of_good.scores, of_good.peaks, of_bad.scores, most_rate=most_rate)


def _count_misses(chosen: Thresholds, of_bad: Scores) -> dict[str, int]:
    """Count, and note, how many defective pictures would pass."""
    bad = len(of_bad.scores)
    missed = sum(score <= chosen.score for score in of_bad.scores)
    note(f"note: misses {missed} of {bad} bad pictures")
    if missed / bad + chosen.num_above / chosen.num_pictures >= 1:
        note("note: that is no better than chance: are good and bad pictures swapped?")
    return {"missed": missed, "bad": bad}


def _undone(bank: Bank, path: Path) -> Thresholds:
    """The thresholds before the last change.

    Raises:
        BankError: there are none.
    """
    if bank.previous_thresholds is None:
        raise BankError(f"bank {path} holds no thresholds before its own: nothing to undo")
    return bank.previous_thresholds
