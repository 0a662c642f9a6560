"""Options of commands whose records go to sinks, and the one way in which they are published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fapm_cli.commands.options import SINKS
from fapm_cli.commands.terminal import note
from fapm_cli.errors import OptionError

if TYPE_CHECKING:
    from fapm_cli.detection.record import Record

ToOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URL",
        help="mqtt[s]://HOST/TOPIC, http[s]://HOST/PATH, sqlite:///FILE, opc.tcp://HOST#NODE; "
        "@FILE: a file that holds it. May be given again.",
        rich_help_panel=SINKS,
    ),
]
QueueOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Where records wait for a sink that is down (default: ~/.local/state/fapm/queue).",
        rich_help_panel=SINKS,
    ),
]
QueueSizeOption = Annotated[
    int,
    typer.Option(
        min=1, metavar="MB", help="Most that wait; then the oldest go.", rich_help_panel=SINKS
    ),
]


@contextmanager
def publishing(
    to: list[str] | None, queue: Path | None, queue_mb: int
) -> Iterator[Callable[[Record], Record]]:
    """Give the function that publishes a record, and returns it as receivers see it.

    At the end, what waits is sent for some seconds, and what is left is told.
    """
    if not to:
        if queue is not None:
            raise OptionError("--queue is for --to: add it, or leave it out")
        yield lambda record: record
        return
    from fapm_cli.sinks.delivery import Delivery

    with Delivery(to, queue, queue_mb * 1_000_000, lambda line: note(f"note: {line}")) as delivery:
        yield delivery.publish
