"""What the commands that make a bank share: progress, pictures left out, saving, the summary."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fapm_cli.api.listener import Listener
from fapm_cli.commands.bank_summary import summarise, summary_lines, suspect_records
from fapm_cli.commands.formats import summary_text
from fapm_cli.commands.notes import note_differences, note_few, note_full, note_parts, note_review
from fapm_cli.commands.options import PICTURES
from fapm_cli.commands.paths import Named
from fapm_cli.commands.terminal import Advance, note, progress_bar
from fapm_cli.errors import PictureError
from fapm_cli.files import escaped, name_first
from fapm_cli.finding.folders import path_of
from fapm_cli.stores.address import redacted

if TYPE_CHECKING:
    from fapm_cli.api.bank import Bank
    from fapm_cli.finding.folders import Unreadable
    from fapm_cli.pictures.seen import Differences

SkipBadOption = Annotated[
    bool, typer.Option(help="Leave unreadable pictures out.", rich_help_panel=PICTURES)
]

KeepSuspectsOption = Annotated[
    bool,
    typer.Option(
        "--keep-suspects",
        help="Learn also where more than a fifth look unlike the rest.",
        rich_help_panel=PICTURES,
    ),
]

_MOST_SUSPECTS = 0.2  # of the pictures; but a single one is only named
_MUCH_BYTES = 2e9


class Making(Listener):
    """The making of a bank, from the first picture to the summary."""

    def __init__(self, output: Path, skip_bad: bool, advance: Advance, grouped: bool):
        """Start the clock; ``advance`` shows the progress, ``grouped`` tells of ``--group``."""
        self._grouped = grouped
        self._output, self._skip_bad, self._advance = output, skip_bad, advance
        self._skipped: list[Unreadable] = []
        self._known: list[str] = []
        self._unlike: dict[bool, list[tuple[str, float]]] = {True: [], False: []}
        self._seconds: dict[str, float] = {}
        self._last = time.perf_counter()
        self.shared = self.num_added = 0
        self.aims_differ = False
        self.without_thumbnails: list[str] = []

    def on_begin(
        self,
        num_pictures: int,
        needed_bytes: Callable[[], int],
        free_bytes: Callable[[], int | None],
    ) -> None:
        """Note how much memory it takes, where that is much; start the clock."""
        needed, free = needed_bytes(), free_bytes()
        takes = f"note: {num_pictures} pictures take up to {needed / 1e9:.1f} GB of memory"
        if free is not None and needed > free:
            note(
                f"{takes}, and only {free / 1e9:.1f} GB are free: give fewer pictures, or a "
                "smaller --size, if it fails"
            )
        elif needed > _MUCH_BYTES:
            note(takes)
        self._last = time.perf_counter()

    def on_scratch(self, num_pictures: int, folder: Path, most_bytes: int, stays: bool) -> None:
        """Note where scratch files go; start the clock."""
        then = "; if it is stopped, go on with --resume" if stays else ""
        note(
            f"note: what is learnt of {num_pictures} pictures goes to scratch files in "
            f"{folder}, up to {most_bytes / 1e9:.1f} GB{then}"
        )
        self._last = time.perf_counter()

    def on_budget(self, num_keys: int, milliseconds: float) -> None:
        """Note what a measurement came to, which another time may come to something else."""
        note(
            f"note: {milliseconds:.1f} ms a picture here: the bank is that of --max-keys {num_keys}"
        )

    def on_bad(self, bad: Unreadable) -> None:
        """Leave a picture out.

        Raises:
            PictureError: without ``--skip-bad``.
        """
        if not self._skip_bad:
            raise PictureError(f"{bad.error}; or leave such pictures out with --skip-bad")
        self._skipped.append(bad)

    def on_known(self, name: str) -> None:
        """Remember a picture that is left out, since the bank has it, as this file or another."""
        self._known.append(name)

    def on_shared(self, count: int) -> None:
        """Remember how many pictures are in several banks."""
        self.shared = count

    def on_aims(self, differ: bool) -> None:
        """Remember whether the verdicts of banks that are merged aim at different things."""
        self.aims_differ = differ

    def on_added(self, count: int) -> None:
        """Remember how many pictures are new."""
        self.num_added = count

    def on_differences(self, differences: Differences) -> None:
        """Say in what they differ from the bank's."""
        note_differences(differences)

    def on_no_thumbnails(self, bank: str) -> None:
        """Remember which banks hold none."""
        self.without_thumbnails.append(bank)

    def note_known(self) -> None:
        """Say which pictures are left out, since the bank has them."""
        if len(self._known) == 1:
            note(f"note: {self._known[0]} is in the bank already: left out")
        elif self._known:
            note(
                f"note: {name_first(self._known)} are in the bank already, or copies of a picture "
                "that is: left out"
            )

    def on_suspects(self, suspects: Sequence[tuple[str, float]], dropped: bool) -> None:
        """Remember pictures that look unlike the rest, and whether they were left out."""
        self._unlike[dropped] += suspects

    def check_suspects(self, num_pictures: int) -> None:
        """Check that most pictures look alike: of a folder of good parts alone they do.

        Args:
            num_pictures: that are learnt.

        Raises:
            PictureError: more than a fifth are suspects.
        """
        suspects = [escaped(name) for name, _ in self._unlike[False]]
        if len(suspects) > max(_MOST_SUSPECTS * num_pictures, 1):
            raise PictureError(
                f"{len(suspects)} of {num_pictures} pictures look unlike the rest (first: "
                f"{', '.join(suspects[:3])}), too many for good parts alone: nothing is written; "
                "give good parts alone, or learn all of these with --keep-suspects"
            )

    def on_stage(self, stage: str, done: int, total: int) -> None:
        """Add the time since the last call to ``stage``, and show how far it is."""
        self._mark(stage)
        self._advance(stage, done, total)

    def finish(self, bank: Bank, kind: str) -> None:
        """Save the bank, and print its summary in a format.

        Raises:
            OutputError: it can't be written.
        """
        pictures = bank.learnt.pictures
        for bad in self._skipped:
            note(f"note: skipped: {bad.error}")
        groups = [picture.group for picture in pictures]
        note_parts([picture.name for picture in pictures], groups, self._grouped, self.num_added)
        num_bytes = bank.save(self._output)
        note_few(bank.thresholds)
        note_review(bank.thresholds)
        note_full(bank)
        self._mark("save")
        summary = {
            "bank": str(self._output),
            "pictures": len(pictures),
            "groups": len(set(groups)),
            "skipped": len(self._skipped),
            **summarise(bank.describe()),
            "suspects": suspect_records(self._unlike[False]),
            "dropped": suspect_records(self._unlike[True]),
            "bytes": num_bytes,
            "seconds": {stage: round(spent, 3) for stage, spent in self._seconds.items()},
        }
        typer.echo(summary_text(kind, summary, summary_lines(summary, bank.thresholds.describe())))

    def advise(self, files: Sequence[Named], given: list[str]) -> None:
        """Say how to build without the suspects, and how to see what is odd about them.

        A bank that has learnt them would show nothing, so it is built first. No advice is given
        that would not work as it stands: where pictures share a name, come from stdin, or from an
        address that is not shown whole.

        Args:
            files: what the bank was built from.
            given: after ``fapm build``.
        """
        paths = {name: str(path_of(item)) for item, name in files}
        if len(paths) < len(files) or "-" in given or redacted(" ".join(given)) != " ".join(given):
            return
        suspects, dropped = (
            [paths[name] for name, _ in self._unlike[dropped]] for dropped in (False, True)
        )
        if suspects:
            build = ["fapm", "build", *[f"--without={path}" for path in suspects], *given]
            _tell_command("to learn without the suspects", build)
        if suspects or dropped:
            odd = [*dropped, *suspects]
            draw = ["fapm", "heatmap", "-o", "suspects", "--", str(self._output), *odd]
            _tell_command(
                "then, to see what is odd about them" if suspects else "to see them", draw
            )

    def _mark(self, stage: str) -> None:
        now = time.perf_counter()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._last
        self._last = now


def _tell_command(purpose: str, words: list[str]) -> None:
    """Note a command for the shell, unless a name in it can't be shown in one line."""
    command = shlex.join(words)
    if command.isprintable():
        note(f"note: {purpose}: {command}")


@contextmanager
def making(output: Path, skip_bad: bool = False, group: str | None = None) -> Iterator[Making]:
    """Make a bank for ``output``, with progress on the terminal."""
    with progress_bar() as advance:
        work = Making(output, skip_bad, advance, group is not None)
        try:
            yield work
        finally:
            work.note_known()
