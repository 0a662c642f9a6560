"""Thresholds anew: by good pictures that a bank does not hold, by bad ones, or by its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fapm_cli.api.fresh_pictures import Judging, Scores, judge_bad, judge_fresh
from fapm_cli.api.listener import Listener
from fapm_cli.bank.bank import Bank
from fapm_cli.detection.judge import Judge
from fapm_cli.errors import BankError, OptionError, PictureError
from fapm_cli.files import name_suspects
from fapm_cli.learning.nominal_response import own_scores
from fapm_cli.pictures.reading import Item, PartOf
from fapm_cli.pictures.seen import Differences
from fapm_cli.scores.aim import Aim, check_rate
from fapm_cli.scores.suspects import OUTLIER
from fapm_cli.scores.thresholds import (
    MOST_RATE,
    Thresholds,
    fewest_errors,
    pictures_needed,
    rate_thresholds,
)


def check_task(
    good: object | None, bad: object | None, aim: Aim, max_false_alarm_rate: float | None
) -> None:
    """Check that there is something to set thresholds by, and one thing.

    Raises:
        OptionError: it is not so, or a rate is none.
    """
    check_rate("max false-alarm rate", max_false_alarm_rate)
    numbers = {
        "--threshold": aim.threshold,
        "--false-alarm-rate": aim.false_alarm_rate,
        "--max-false-alarm-rate": max_false_alarm_rate,
    }
    setting = {name for name, value in numbers.items() if value is not None}
    if good is None and bad is None and aim == Aim() and not setting:
        raise OptionError(
            "nothing to set the threshold by: give good pictures, --bad, a rate, --threshold "
            "or --undo"
        )
    if bad is not None and setting - {"--max-false-alarm-rate"}:
        raise OptionError(
            "--bad sets the threshold: leave --threshold and --false-alarm-rate out, or --bad"
        )
    if len(setting) > 1:
        raise OptionError(f"{' and '.join(sorted(setting))} set the threshold: choose one")


def calibrated(
    bank: Bank,
    detector: Judge | None,
    good: Sequence[tuple[Item, str]] | None,
    bad: Sequence[Item] | None,
    aim: Aim,
    *,
    max_false_alarm_rate: float | None,
    allow_few: bool,
    keep_suspects: bool,
    part_of: PartOf | None,
    batch_size: int,
    listener: Listener,
) -> Bank:
    """Set a bank's thresholds anew; as :meth:`fapm_cli.Bank.calibrate` says.

    Args:
        bank: any bank.
        detector: of the bank; needed for pictures.
        good: with their names; None for the bank's own.
        bad: None for none.
        aim: and so on, as there.
    """
    of_good, of_bad, differences = Scores(*own_scores(bank)), None, Differences()
    if detector is not None:
        judging = Judging(detector, batch_size, listener, differences)
        of_good = of_good if good is None else judge_fresh(judging, good, part_of)
        of_bad = None if bad is None else judge_bad(judging, bad)
    listener.on_differences(differences)
    _check_suspects(of_good, keep_suspects)
    listener.on_suspects(of_good.suspects, False)
    usual, rate = bank.thresholds, aim.false_alarm_rate
    if of_bad is not None:
        most = 1.0 if max_false_alarm_rate is None else max_false_alarm_rate
        usual = fewest_errors(of_good.scores, of_good.peaks, of_bad.scores, most_rate=most)
    elif aim.threshold is None and rate is None:
        rate = _kept_rate(usual, max_false_alarm_rate, fresh=good is not None)
        if rate is not None:
            usual = rate_thresholds(of_good.scores, of_good.peaks, rate)
        elif usual.scores is not None:  # the threshold stays: a band begins by its scores
            of_good = replace(of_good, scores=usual.scores)
    if good is not None and aim.threshold is None and not allow_few:
        _check_enough(of_good, rate or max_false_alarm_rate)
    chosen = aim.choose(usual, of_good.scores, of_good.peaks)
    if good is not None:
        chosen = replace(chosen, scores=tuple(map(float, of_good.scores)))
    if of_bad is not None:
        missed = sum(score <= chosen.score for score in of_bad.scores)
        listener.on_misses(missed, len(of_bad.scores))
    return bank.with_thresholds(chosen)


def undone(bank: Bank) -> Bank:
    """Go back to the thresholds before the last change.

    Raises:
        BankError: there are none.
    """
    if bank.previous_thresholds is None:
        raise BankError("the bank holds no thresholds before its own: nothing to undo")
    return bank.with_thresholds(bank.previous_thresholds)


def _check_suspects(of_good: Scores, keep: bool) -> None:
    outliers = [one for one in of_good.suspects if one[1] > OUTLIER]
    if outliers and not keep:
        raise PictureError(
            f"{len(outliers)} of {len(of_good.scores)} good pictures are unlike the rest by more "
            f"than {OUTLIER:g} σ: {name_suspects(outliers)}; take out those that are not good, or "
            "keep them with --keep-suspects"
        )


def _check_enough(of_good: Scores, rate: float | None) -> None:
    """Check that good pictures are enough to promise a false-alarm rate.

    Raises:
        PictureError: they are not.
    """
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
