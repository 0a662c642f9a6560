"""The paths that a command was given: what they hold, and what may be learnt of it."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from fapm_cli.commands.options import PICTURES
from fapm_cli.commands.terminal import note, told_if_long
from fapm_cli.errors import OptionError, OutputError, PictureError
from fapm_cli.finding.folders import Unreadable, count_kinds, named_below, path_of, search
from fapm_cli.finding.kinds import A_BANK, kind_of
from fapm_cli.finding.labels import read_labels
from fapm_cli.finding.learnable import Kind, check_kind, check_no_masks
from fapm_cli.stores.locating import keep, located
from fapm_cli.stores.stored import AnyPath

Named = tuple[AnyPath | Unreadable, str]
"""A picture, and its path below the folder that was given."""


LabelsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The decisions.jsonl of fapm serve: what an operator decided.",
        rich_help_panel=PICTURES,
    ),
]


def named_paths(paths: Iterable[AnyPath]) -> Iterator[AnyPath]:
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
            yield from (located(line.rstrip("\r\n")) for line in sys.stdin if line.strip())
        except (OSError, ValueError) as error:
            raise OptionError(f"stdin can't be read: {error}") from error


def find_named(paths: Iterable[AnyPath], *, of: Kind | None = None) -> list[Named]:
    """Find the pictures under all paths, each with its path below the folder that was given.

    What is left out is noted, and what can't be read stands in its place.

    Args:
        paths: as they were given; ``-`` for those on stdin.
        of: the parts that the pictures are to be of, good or defective ones; None for any.

    Raises:
        PictureError: some are not of such parts, by what tells it.
    """
    named: list[Named] = []
    for path in named_paths(paths):
        if of == "good":
            keep(path)
        try:
            with nullcontext() if isinstance(path, Path) else told_if_long(f"note: lists {path} …"):
                found = search(path)
        except PictureError as error:
            named.append((Unreadable(path, error), path.name))
            continue
        if of is not None:
            check_kind(path, found, of)
        note_left_out(path, found.left_out)
        named += named_below(path, found.items)
    if of is not None:
        check_no_masks([item for item, _ in named if not isinstance(item, Unreadable)], of)
    return named


def add_labelled(
    labels: Path | None, good: list[AnyPath] | None, bad: list[AnyPath] | None
) -> tuple[list[AnyPath], list[AnyPath]]:
    """Add what was decided to be good or defective to what was named so.

    Raises:
        OptionError: the labels can't be read.
    """
    if labels is None:
        return good or [], bad or []
    found = read_labels(labels)
    counted = {"good": found.good, "defective": found.defect, "left out, not sure": found.unsure}
    counts = ", ".join(f"{len(pictures)} {word}" for word, pictures in counted.items())
    note(f"note: {labels}: {counts}")
    return [*(good or []), *found.good], [*(bad or []), *found.defect]


def leave_out(files: list[Named], without: Sequence[AnyPath]) -> list[Named]:
    """Leave out the pictures that are named.

    Raises:
        OptionError: one is not among them.
    """
    unwanted = {_whole(path): path for path in without}
    found = {_whole(path_of(item)) for item, _ in files}
    for place, path in unwanted.items():
        if place not in found:
            raise OptionError(f"--without {path}: it is none of the pictures; name one as it lies")
    return [one for one in files if _whole(path_of(one[0])) not in unwanted]


def _whole(path: AnyPath) -> str:
    """One name for all that a path may be called."""
    return os.path.abspath(path) if isinstance(path, Path) else str(path)


def check_order(command: str, bank: Path, paths: Iterable[AnyPath]) -> None:
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


def note_left_out(folder: AnyPath, left_out: Counter[str]) -> None:
    """Note how many files of a folder are left out, by ending or kind; nothing for none."""
    if left_out:
        note(f"note: left out of {folder}: {count_kinds(left_out)}")


def check_output(path: Path, kind: str) -> None:
    """Check before long work that a file can be written, and replaces none of another kind.

    Args:
        path: of the file.
        kind: that it will be of, as :func:`kind_of` says it.

    Raises:
        OutputError: its folder is missing or read-only, or it is a folder itself, or there is a
            file of another kind, which is not empty.
    """
    if path.is_dir():
        raise OutputError(f"output {path} is a folder; name a file in it")
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"output folder {folder} does not exist; make it first")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"output folder {folder} is read-only; choose another")
    there = kind_of(path)
    if there != kind and path.is_file() and path.stat().st_size:
        raise OutputError(
            f"output {path} is {there or 'something else'}, not {kind}: name another file, or "
            "remove this one"
        )
