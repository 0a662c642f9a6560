"""What a command says on stderr: progress and notes; and how it is stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import typer

from fapm_cli.errors import OptionError
from fapm_cli.files import one_line
from fapm_cli.plain_values import utc_text
from fapm_cli.stores.address import redacted

_LOG = "FAPM_LOG"


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


@contextmanager
def told_if_long(text: str, after_s: float = 2) -> Iterator[None]:
    """Note a text, if what goes on meanwhile takes longer."""
    timer = threading.Timer(after_s, note, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def log_as(kind: str | None) -> None:
    """Have all notes from now on written as ``text`` or ``json``; None for as they are.

    Raises:
        OptionError: it is something else.
    """
    if kind not in (None, "text", "json"):
        raise OptionError(f"log {kind!r}: use text or json")
    if kind is not None:
        os.environ[_LOG] = kind  # also for the line that an error ends it with


def note(text: str) -> None:
    """Print one line on stderr; nothing depends on whether anyone can read it.

    With FAPM_LOG=json in the environment it is an object, for what gathers logs.
    """
    line = one_line(redacted(text))
    if os.environ.get(_LOG) == "json":
        line = _as_json(line)
    with suppress(OSError):
        typer.echo(line, err=True)


def _as_json(line: str) -> str:
    level, message = "info", line
    for start, kind in (("fapm: ", "error"), ("note: ", "warning")):
        if line.startswith(start):
            level, message = kind, line.removeprefix(start)
    return json.dumps({"time": utc_text(), "level": level, "message": message})
