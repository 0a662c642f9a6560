"""What several commands share: options, paths, progress, batches of prepared pictures."""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from fapm_cli.errors import OptionError, OutputError, PictureError
from fapm_cli.files import escaped, one_line
from fapm_cli.finding import (
    A_BANK,
    DRAWN_BY,
    Search,
    Unreadable,
    count_kinds,
    kind_of,
    masks_beside,
    not_learnable,
    path_of,
    search,
)

if TYPE_CHECKING:
    from fapm_cli.config import BankConfig
    from fapm_cli.engine import Detector
    from fapm_cli.threshold import Thresholds


Named = tuple[Path | Unreadable, str]
"""A picture, and its path below the folder that was given."""

_SHOWN = 8  # suspects by name


class Advance(Protocol):
    """Reports progress."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Say that ``done`` of ``total`` steps of ``stage`` are done; None if that is not known."""


@contextmanager
def progress_bar(*, beside_rows: bool = False) -> Iterator[Advance]:
    """Show bars, one per stage, on stderr if that is a terminal, else nothing.

    Args:
        beside_rows: rows are written meanwhile; on the same terminal, they show the progress.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
    )
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True)
    name, rate = TextColumn("{task.description:>9}"), TaskProgressColumn(show_speed=True)
    columns = (name, BarColumn(), MofNCompleteColumn(), rate, Remaining())
    shown = console.is_terminal and not (beside_rows and sys.stdout.isatty())
    if not shown:  # a disabled Progress of rich before 15 still ends with an empty line
        yield lambda stage, done, total: None
        return
    tasks: dict[str, int] = {}
    with Progress(*columns, console=console) as bar:

        def advance(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield advance


@contextmanager
def gentle_stop() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a wish to stop, which the yielded function tells.

    Only the first: a second one interrupts at once. What the caller's shell ignores stays so.
    """
    wished = False
    before: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def wish(number: int, frame: object) -> None:
        nonlocal wished
        wished = True
        restore()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, wish)
    try:
        yield lambda: wished
    finally:
        restore()


def note(text: str) -> None:
    """Print one line on stderr; nothing depends on whether anyone can read it."""
    with suppress(OSError):
        typer.echo(one_line(text), err=True)


def named_paths(paths: Iterable[Path]) -> Iterator[Path]:
    """Replace ``-`` by the paths on stdin, one per line.

    Raises:
        OptionError: stdin is closed, or can't be read.
    """
    for path in paths:
        if str(path) != "-":
            yield path
            continue
        if sys.stdin is None:
            raise OptionError("stdin is closed: - reads paths from it")
        try:
            yield from (Path(line.rstrip("\r\n")) for line in sys.stdin if line.strip())
        except (OSError, ValueError) as error:
            raise OptionError(f"stdin can't be read: {error}") from error


def find_named(paths: Iterable[Path], *, to_learn: bool = False) -> list[Named]:
    """Find the pictures under all paths, each with its path below the folder that was given.

    What is left out is noted, and what can't be read stands in its place.

    Args:
        paths: as they were given; ``-`` for those on stdin.
        to_learn: whether the pictures are to be of good parts.

    Raises:
        PictureError: some that are to be learnt are not of good parts, by what tells it.
    """
    named: list[Named] = []
    for path in named_paths(paths):
        root = path if os.path.isdir(path) else path.parent
        try:
            found = search(path)
        except PictureError as error:
            named.append((Unreadable(path, error), path.name))
            continue
        if to_learn:
            _check_learnable(path, found)
        note_left_out(path, found.left_out)
        named += [(item, path_of(item).relative_to(root).as_posix()) for item in found.items]
    if to_learn:
        _check_no_masks([item for item, _ in named if isinstance(item, Path)])
    return named


def _check_no_masks(files: Sequence[Path]) -> None:
    """Check that none of the pictures is the mask of one that lies beside it.

    Raises:
        PictureError: some are, by their names.
    """
    masks = masks_beside(files)
    if masks:
        raise PictureError(
            f"{len(masks)} of {len(files)} pictures are masks of those beside them, by their names "
            f"(such as {masks[0]}): give the pictures of good parts alone"
        )


def _check_learnable(path: Path, found: Search) -> None:
    """Check that nothing under a path tells that it is not of good parts alone.

    Raises:
        PictureError: fapm drew some of its pictures, or it holds labelled ones.
    """
    if found.drawn:
        raise PictureError(
            f"{len(found.drawn)} of the pictures in {path} were {DRAWN_BY} "
            f"(such as {found.drawn[0]}): they are of no part; move them elsewhere"
        )
    reason = not_learnable(path, map(path_of, found.items)) if os.path.isdir(path) else None
    if reason is not None:
        raise PictureError(reason)


def check_order(command: str, bank: Path, paths: Iterable[Path]) -> None:
    """Check, by what the files hold, that the bank stands before the pictures.

    Raises:
        OptionError: one of the paths is a bank, and what stands in its place is none.
    """
    kind = kind_of(bank)
    if kind in ("", A_BANK):
        return
    for path in paths:
        if kind_of(path) == A_BANK:
            raise OptionError(
                f"{bank} is {kind}, and {path} is {A_BANK}: the bank comes first, like "
                f"fapm {command} {shlex.quote(str(path))} {shlex.quote(str(bank))}"
            )


def note_left_out(folder: Path, left_out: Counter[str]) -> None:
    """Note how many files of a folder are left out, by ending or kind; nothing for none."""
    if left_out:
        note(f"note: left out of {folder}: {count_kinds(left_out)}")


def name_first(names: Sequence[str], shown: int = 3) -> str:
    """Name the first of some pictures, and say how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + f" and {more} more" * (more > 0)


def note_groups(names: Sequence[str], groups: Sequence[int], told: bool) -> None:
    """Say which pictures are further shots of a part, unless ``--group`` told so.

    Args:
        names: of pictures.
        groups: the part that each shows.
        told: by ``--group``.
    """
    firsts = {group: i for i, group in reversed(list(enumerate(groups)))}
    twins = [name for i, name in enumerate(names) if firsts[groups[i]] != i]
    if twins and not told:
        note(
            f"note: {len(twins)} of {len(names)} pictures are nearly the same as another "
            f"({name_first(twins)}): N counts as {len(firsts)}; say by --group which show one part"
        )


def part_namer(group: str | None) -> Callable[[Path, str], str] | None:
    """Make of ``--group`` what names the part that a picture shows; None without it.

    Raises:
        OptionError: it is no regular expression; or, later, a picture's name does not match it.
    """
    if group is None:
        return None
    if group == "folder":
        return lambda path, name: str(path.parent)
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise OptionError(
            f"--group {group!r} is neither folder nor a regular expression: {error}"
        ) from error

    def part_of(path: Path, name: str) -> str:
        found = pattern.search(name)
        if found is None:
            raise OptionError(f"--group {group!r} finds no part in the name {name!r}")
        return found[1] or "" if pattern.groups else found[0]

    return part_of


class Differences:
    """Counts in what a run's pictures differ from the bank's, for one note at its end."""

    def __init__(self) -> None:
        """Begin with no picture."""
        self._pictures = self._differing = 0
        self._counts: Counter[str] = Counter()

    def count(self, differs: Sequence[str]) -> None:
        """Count a picture, and in what it differs."""
        self._pictures += 1
        self._differing += bool(differs)
        self._counts.update(differs)

    def tell(self) -> None:
        """Note what was counted, if any differs."""
        from fapm_cli.seen import DIFFERENCES

        if self._differing:
            kinds = [kind for kind in DIFFERENCES if self._counts[kind]]
            counts = ", ".join(f"{self._counts[kind]} {DIFFERENCES[kind]}" for kind in kinds)
            of_all = f"{self._differing} of {self._pictures} pictures"
            note(f"note: {of_all} are of another kind than the bank's: {counts}")


def check_writable(path: Path) -> None:
    """Check before long work that a file can be written.

    Raises:
        OutputError: its folder is missing or read-only, or it is a folder itself.
    """
    if path.is_dir():
        raise OutputError(f"output {path} is a folder; name a file in it")
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"output folder {folder} does not exist; make it first")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"output folder {folder} is read-only; choose another")


def configure(
    preset: str,
    backbone: str | None,
    layers: str | None,
    variant: str,
    size: str | None,
    grid: str | None,
    coreset_ratio: float,
    spread_threshold: float,
) -> BankConfig:
    """Configure a bank as the options say.

    Raises:
        OptionError: a value makes no sense.
    """
    from fapm_cli.config import parse_sides
    from fapm_cli.engine import default_config, paper_config

    changes: dict[str, Any] = {
        "variant": variant.upper(),
        "coreset_ratio": coreset_ratio,
        "spread_threshold": spread_threshold,
    }
    if backbone is not None:
        changes["backbone"] = backbone
    if layers is not None:
        changes["layers"] = layers.split(",")
    if size is not None:
        changes["size_px"] = parse_sides("size", size)
    if grid is not None:
        changes["grid"] = parse_sides("grid", grid)
    if preset == "default":
        return default_config(**changes)
    if preset != "paper":
        raise OptionError(f"preset {preset!r}: use default or paper")
    if size is not None:
        raise OptionError("--preset paper resizes to 256 and crops 224; leave --size out")
    return paper_config(**changes)


def query_changes(
    neighbors: int | None,
    layer_weights: str | None,
    sigma: float | None,
    reach: int | None,
    calibration: str | None,
) -> dict[str, Any]:
    """Collect what the options change of a bank's query.

    Raises:
        OptionError: layer weights are no numbers.
    """
    changes = {
        "num_neighbors": neighbors,
        "layer_weights": None if layer_weights is None else parse_numbers(layer_weights),
        "sigma": sigma,
        "reach": reach,
        "calibration": calibration,
    }
    return {name: value for name, value in changes.items() if value is not None}


def with_query(config: BankConfig, changes: dict[str, Any]) -> BankConfig:
    """Change the query of a configuration.

    Raises:
        OptionError: a value makes no sense.
    """
    import dataclasses

    return dataclasses.replace(config, query=dataclasses.replace(config.query, **changes))


def parse_numbers(text: str) -> tuple[float, ...]:
    """Read ``2,1``.

    Raises:
        OptionError: a part is not a number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"layer weights {text!r}: write numbers and commas, like 2,1") from None


def use_threads(number: int | None) -> None:
    """Work on pictures in so many threads, and let torch compute in as many.

    Args:
        number: as the option says; None for one per CPU that this process may use, or fewer of
            torch's where the environment says so (``OMP_NUM_THREADS``).
    """
    import torch

    from fapm_cli import feeding

    feeding.cores_asked_for = number
    torch.set_num_threads(number or min(torch.get_num_threads(), feeding.usable_cores()))


def open_detector(
    bank: Path,
    device: str,
    precision: str,
    weights: str | None = None,
    changes: dict[str, Any] | None = None,
    roi: Path | None = None,
    pixel_threshold: float | None = None,
    compiled: bool = False,
) -> Detector:
    """Load a bank and its backbone onto a device, and note what it does not look at.

    Args:
        bank: the file.
        device: as the option says.
        precision: as the option says.
        weights: a file in place of the bank's own backbone.
        changes: of the bank's query.
        roi: a mask of what to inspect.
        pixel_threshold: in place of the bank's own.
        compiled: as the option says.
    """
    check_threshold(pixel_threshold)
    if pixel_threshold is not None and pixel_threshold < 0:
        raise OptionError(f"pixel threshold {pixel_threshold}: wanted 0 or more")
    from fapm_cli.device import resolve_device
    from fapm_cli.engine import Detector, bank_extractor, load_bank, read_roi
    from fapm_cli.plan import make_plan

    where = resolve_device(device)
    loaded = load_bank(bank, where)
    plan = make_plan(where, precision, compiled=compiled)
    query = with_query(loaded.config, changes or {}).query
    preprocessing = loaded.config.preprocessing
    detector = Detector(
        loaded,
        bank_extractor(loaded, weights),
        plan=plan,
        query=query,
        roi=None if roi is None else read_roi(roi, preprocessing),
        pixel_threshold=pixel_threshold,
    )
    reasons = ["crop"] * preprocessing.crops + ["ROI"] * (detector.roi is not None)
    if reasons:
        share, limit = 1 - detector.inspected_share, " and ".join(reasons)
        note(f"note: {share:.0%} of each picture is not inspected: it lies outside the {limit}")
    if not plan.is_exact:
        note(f"note: {plan.backbone} moves single scores by some percent; see docs/accuracy.md")
    return detector


def verdict_thresholds(detector: Detector, threshold: float | None) -> Thresholds | None:
    """The bank's thresholds, or with another in their place; None, and a note, for no verdicts."""
    if threshold is not None:
        return detector.bank.thresholds.at(threshold)
    if detector.inspected_share < detector.bank.inspected_share:
        note(
            "note: the bank's threshold is for all that the bank inspects, and scores of less are "
            "higher: build with the mask, or give --threshold"
        )
    if detector.thresholds is None:
        note("note: the bank's threshold is not for scores asked this way: no verdicts")
    return detector.thresholds


def check_score(path: Path, score: float) -> None:
    """Check that a picture's score is a number.

    Raises:
        PictureError: it is not finite.
    """
    if not math.isfinite(score):
        raise PictureError(f"picture {path} has no finite score: a bad bank?")


def check_threshold(threshold: float | None) -> None:
    """Check that a threshold is a number that scores can be compared with.

    Raises:
        OptionError: it is not finite.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise OptionError(f"threshold {threshold}: wanted a finite number")


def check_rate(name: str, rate: float | None) -> None:
    """Check that a rate, if there is one, is a share of good pictures.

    Raises:
        OptionError: it is not.
    """
    if rate is not None and not 0 < rate < 1:
        raise OptionError(f"{name} {rate}: wanted a share of good pictures, above 0, below 1")


def check_rates(
    false_alarm_rate: float | None, review_rate: float | None, threshold: float | None
) -> None:
    """Check what was said of thresholds.

    Raises:
        OptionError: a value makes no sense, or two contradict one another.
    """
    check_threshold(threshold)
    check_rate("false-alarm rate", false_alarm_rate)
    check_rate("review rate", review_rate)
    if threshold is not None and false_alarm_rate is not None:
        raise OptionError("--threshold and --false-alarm-rate both set the threshold: choose one")
    if None not in (review_rate, false_alarm_rate) and review_rate <= false_alarm_rate:  # type: ignore[operator]
        raise OptionError(
            f"review rate {review_rate}: wanted more than the false-alarm rate {false_alarm_rate}"
        )


def choose_thresholds(
    default: Thresholds,
    scores: Sequence[float],
    peaks: Sequence[float],
    false_alarm_rate: float | None,
    review_rate: float | None,
    threshold: float | None,
) -> Thresholds:
    """Set thresholds as the options say, by good pictures' scores.

    Args:
        default: what to take where no option sets the threshold.
        scores: of good pictures, out of sample.
        peaks: the maxima of their anomaly maps.
        false_alarm_rate: as the option says.
        review_rate: as the option says.
        threshold: as the option says.
    """
    from fapm_cli.threshold import given_threshold, rate_thresholds, with_review

    chosen = default
    if threshold is not None:
        chosen = given_threshold(scores, peaks, threshold)
    elif false_alarm_rate is not None:
        chosen = rate_thresholds(scores, peaks, false_alarm_rate)
    return chosen if review_rate is None else with_review(chosen, scores, review_rate)


def note_few(thresholds: Thresholds) -> None:
    """Say what to expect where so few pictures are behind thresholds, and how many it takes."""
    from fapm_cli.threshold import CONFIDENCE, pictures_needed

    goal = thresholds.falls_short
    if goal is not None:
        note(
            f"note: {thresholds.num_pictures} good pictures can't promise {goal:.2%} false alarms: "
            f"expect {thresholds.expected:.1%}, at most {thresholds.at_most:.1%} "
            f"({CONFIDENCE:.0%} sure); for {goal:.2%} it takes {pictures_needed(goal)} or more: "
            "fapm add, or fapm calibrate with fresh ones"
        )


def name_suspects(suspects: Sequence[tuple[str, float]]) -> str:
    """Name the first of the pictures that look unlike the rest, with how many σ each is off."""
    names = ", ".join(f"{escaped(name)} ({z:.1f})" for name, z in suspects[:_SHOWN])
    return names + f" and {len(suspects) - _SHOWN} more" * (len(suspects) > _SHOWN)
