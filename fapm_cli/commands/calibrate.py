"""``fapm calibrate``: set a bank's thresholds anew, without building it again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fapm_cli.commands.common import (
    check_order,
    check_rates,
    check_writable,
    choose_thresholds,
    find_named,
    note,
    open_detector,
    progress_bar,
)
from fapm_cli.commands.options import (
    BankArgument,
    BatchSizeOption,
    DeviceOption,
    FalseAlarmsOption,
    PrecisionOption,
    ReviewOption,
    WeightsOption,
)
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.files import escaped

if TYPE_CHECKING:
    from fapm_cli.engine import Detector


def calibrate(
    bank: BankArgument,
    good: Annotated[
        list[Path],
        typer.Argument(metavar="GOOD...", help="Good pictures that the bank was not built from."),
    ],
    bad: Annotated[
        list[Path] | None,
        typer.Option(help="Defective pictures (a file or folder; may be given again)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here, and leave BANK as it is.")
    ] = None,
    false_alarm_rate: FalseAlarmsOption = None,
    threshold: Annotated[
        float | None, typer.Option(help="Set the threshold itself; GOOD tells its false alarms.")
    ] = None,
    review_rate: ReviewOption = None,
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    batch_size: BatchSizeOption = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print the thresholds as JSON.")] = False,
) -> None:
    """Set a bank's thresholds anew from fresh pictures; what it has learnt stays as it is.

    From good pictures alone it keeps the bank's false-alarm rate, unless told another. With
    defective ones it sets the threshold where the rates of misses and false alarms have the
    least sum.

    Example:  fapm calibrate bank.st samples/test/good --bad samples/test/stain
    """
    target = output or bank
    check_writable(target)
    check_order("calibrate", bank, [*good, *(bad or ())])
    check_rates(false_alarm_rate, review_rate, threshold)
    if bad is not None and (threshold is not None or false_alarm_rate is not None):
        raise OptionError(
            "--bad sets the threshold: leave --threshold and --false-alarm-rate out, or --bad"
        )
    from fapm_cli.engine import save_bank
    from fapm_cli.threshold import fewest_errors

    detector = open_detector(bank, device, precision, weights)
    scores, peaks = _scores(detector, good, batch_size, fresh=True)
    before = detector.bank.thresholds
    if bad is not None:
        before = fewest_errors(scores, peaks, _scores(detector, bad, batch_size)[0])
    elif threshold is None and false_alarm_rate is None:
        false_alarm_rate = before.rate
    chosen = choose_thresholds(before, scores, peaks, false_alarm_rate, review_rate, threshold)
    save_bank(replace(detector.bank, thresholds=chosen), target)
    typer.echo(
        json.dumps(chosen.summary()) if as_json else f"{escaped(target)}: {chosen.describe()}"
    )


def _scores(
    detector: Detector, paths: Iterable[Path], batch_size: int, fresh: bool = False
) -> tuple[list[float], list[float]]:
    """Image scores and maxima of anomaly maps; with ``fresh``, of pictures not in the bank.

    Raises:
        PictureError: a picture can't be read, or none is left.
    """
    from fapm_cli.engine import Unreadable, judge

    named = find_named(paths, to_learn=fresh)
    known = {one.sha256 for one in detector.bank.pictures} if fresh else set()
    scores: list[float] = []
    peaks: list[float] = []
    with progress_bar() as advance:
        judged = judge(detector, (file for file, _ in named), batch_size)
        for done, one in enumerate(judged, start=1):
            if isinstance(one, Unreadable):
                raise one.error
            if one.prepared.picture.sha256 not in known:
                scores.append(float(one.found.image_scores[0]))
                peaks.append(float(one.found.anomaly_maps.amax()))
            advance("score", done, len(named))
    if not scores:
        raise PictureError("every good picture is in the bank, which knows it: give fresh ones")
    if len(scores) < len(named):
        note(
            f"note: {len(named) - len(scores)} pictures are in the bank, which knows them: left out"
        )
    return scores, peaks
