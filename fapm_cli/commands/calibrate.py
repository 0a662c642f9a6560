"""``fapm calibrate``: set a bank's thresholds anew, without building it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fapm_cli.commands.choices import check_rate, check_rates, choose_thresholds
from fapm_cli.commands.formats import choose_format, summary_text
from fapm_cli.commands.notes import name_suspects, note_few, note_groups
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
from fapm_cli.commands.paths import check_order, check_writable, find_named, part_namer
from fapm_cli.commands.terminal import note, progress_bar
from fapm_cli.errors import BankError, OptionError, PictureError
from fapm_cli.files import escaped

if TYPE_CHECKING:
    from fapm_cli.bank.bank import Bank
    from fapm_cli.bank.nominal_pictures import NominalPicture
    from fapm_cli.detection.detector import Detector
    from fapm_cli.detection.stream import Judged
    from fapm_cli.learning.batches import PartOf
    from fapm_cli.learning.twins import Looks
    from fapm_cli.scores.thresholds import Thresholds


@dataclass(frozen=True)
class Fresh:
    """A good picture that the bank does not hold, as the bank judges it.

    Attributes:
        picture: what is known of it.
        spot: its score away from the rim, what suspects are found by.
        level: likewise.
        looks: what tells near twins.
        part: what it shows, as ``--group`` says; None where that is not known.
    """

    picture: NominalPicture
    spot: float
    level: float
    looks: Looks
    part: str | int | None


@dataclass(frozen=True)
class Scores:
    """What a bank says of pictures.

    Attributes:
        scores: image scores; of good pictures, one per part.
        peaks: maxima of anomaly maps.
        suspects: names and robust z-scores of those unlike the rest, the most suspicious first.
    """

    scores: Sequence[float]
    peaks: Sequence[float]
    suspects: Sequence[tuple[str, float]] = ()


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
    check_writable(target)
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
    loaded, of_good, of_bad = _gather(
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
        _check_suspects(of_good, keep_suspects)
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


def _gather(
    path: Path,
    good: list[Path],
    bad: list[Path],
    batch_size: int,
    part_of: PartOf | None,
    open_bank: Callable[[], Detector],
) -> tuple[Bank, Scores, Scores | None]:
    """Load the bank, and score the pictures; its own stand in for good ones that are not given."""
    from fapm_cli.bank.file import load_bank
    from fapm_cli.learning.nominal_response import own_scores

    detector = open_bank() if good or bad else None
    bank = load_bank(path) if detector is None else detector.bank
    of_good = Scores(*own_scores(bank))
    if detector is not None and good:
        of_good = _judge_fresh(detector, good, batch_size, part_of)
    of_bad = _judge_bad(detector, bad, batch_size) if detector is not None and bad else None
    return bank, of_good, of_bad


def _judge(
    detector: Detector, paths: list[Path], batch_size: int, *, to_learn: bool
) -> Iterator[tuple[str, Path, Judged]]:
    """Judge pictures, each with its name below the folder that was given and its path.

    Raises:
        PictureError: a picture can't be read.
    """
    from fapm_cli.detection.stream import judge
    from fapm_cli.finding.search import Unreadable

    named = find_named(paths, to_learn=to_learn)
    with progress_bar() as advance:
        judged = judge(detector, (file for file, _ in named), batch_size)
        for done, ((_, name), one) in enumerate(zip(named, judged, strict=True), start=1):
            if isinstance(one, Unreadable):
                raise one.error
            yield name, one.prepared.picture.path, one
            advance("score", done, len(named))


def _judge_bad(detector: Detector, paths: list[Path], batch_size: int) -> Scores:
    """Score defective pictures: each counts."""
    found = [one.found for _, _, one in _judge(detector, paths, batch_size, to_learn=False)]
    scores = [float(one.image_scores[0]) for one in found]
    return Scores(scores, [float(one.anomaly_maps.amax()) for one in found])


def _judge_fresh(
    detector: Detector, paths: list[Path], batch_size: int, part_of: PartOf | None
) -> Scores:
    """Score the parts that good pictures show and the bank does not; find suspects among these.

    Raises:
        PictureError: a picture can't be read, or none is left.
        OptionError: ``--group`` finds no part in a name.
    """
    from fapm_cli.bank.nominal_pictures import in_groups, scores_of_groups
    from fapm_cli.learning.anew import fresh_groups
    from fapm_cli.learning.twins import Looks
    from fapm_cli.scores.suspects import find_suspects

    fresh = _without_copies(detector, paths, batch_size, part_of)
    if part_of is None and fresh:
        groups = fresh_groups(detector.bank, Looks.join([one.looks for one in fresh]))
        fresh = [replace(one, part=part) for one, part in zip(fresh, groups, strict=True)]
    unknown = [one for one in fresh if one.part is not None]
    if not unknown:
        raise PictureError("every good picture is in the bank, which knows it: give fresh ones")
    _note_left_out(len(fresh) - len(unknown), "show parts that are in the bank, which knows them")
    pictures = in_groups([one.picture for one in unknown], [one.part for one in unknown])
    names, numbers = [one.name for one in pictures], [one.group for one in pictures]
    note_groups(names, numbers, told=part_of is not None)
    suspects = find_suspects([one.spot for one in unknown], [one.level for one in unknown], numbers)
    return Scores(*scores_of_groups(pictures), [(names[i], z) for i, z in suspects])


def _without_copies(
    detector: Detector, paths: list[Path], batch_size: int, part_of: PartOf | None
) -> list[Fresh]:
    """Judge good pictures; leave out those that the bank holds, and copies of one another."""
    from fapm_cli.bank.nominal_pictures import NominalPicture, pixels_digest
    from fapm_cli.learning.anew import known_digests, with_pixels
    from fapm_cli.learning.nominal_response import spots_and_levels
    from fapm_cli.learning.twins import look_at

    known = known_digests(with_pixels(detector.bank))
    fresh: list[Fresh] = []
    num_given = 0
    for name, path, one in _judge(detector, paths, batch_size, to_learn=True):
        num_given += 1
        pixels, maps = one.prepared.pixels, one.found.anomaly_maps
        score, peak = float(one.found.image_scores[0]), float(maps.amax())
        digests = one.prepared.picture.sha256, pixels_digest(pixels)
        picture = NominalPicture(name, *digests, score, peak, 0)
        if known.isdisjoint(picture.digests):
            (spot,), (level,) = spots_and_levels(maps, detector.bank)
            part = None if part_of is None else part_of(path, name)
            fresh.append(Fresh(picture, spot, level, look_at(pixels.unsqueeze(0)), part))
        known |= picture.digests
    if fresh:
        _note_left_out(num_given - len(fresh), "are in the bank, which knows them, or copies")
    return fresh


def _note_left_out(count: int, why: str) -> None:
    if count:
        note(f"note: {count} pictures {why}: left out")


def _check_suspects(of_good: Scores, keep: bool) -> None:
    """Name the good pictures that look unlike the rest.

    Raises:
        PictureError: some do very much, and are not to be kept.
    """
    from fapm_cli.scores.suspects import OUTLIER

    outliers = [one for one in of_good.suspects if one[1] > OUTLIER]
    if outliers and not keep:
        raise PictureError(
            f"{len(outliers)} of {len(of_good.scores)} good pictures are unlike the rest by more "
            f"than {OUTLIER:g} σ: {name_suspects(outliers)}; take out those that are not good, or "
            "keep them with --keep-suspects"
        )
    if of_good.suspects:
        note(f"note: suspects: {name_suspects(of_good.suspects)}: unlike the rest by so many σ")


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
