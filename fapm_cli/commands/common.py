"""What several commands share: options, paths, progress, batches of prepared pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from fapm_cli.errors import OptionError, OutputError, PictureError

if TYPE_CHECKING:
    from fapm_cli.config import BankConfig, Query
    from fapm_cli.engine import Detector

BankArgument = Annotated[Path, typer.Argument(metavar="BANK", help="A bank made by fapm build.")]
PathsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH...", help="Pictures and folders (searched through); - reads paths from stdin."
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
BatchSizeOption = Annotated[int, typer.Option(min=1, max=4096, help="Pictures at a time.")]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|random",
        help="Backbone weights: a safetensors or state-dict file, or random (speed tests).",
    ),
]
NeighborsOption = Annotated[
    int | None, typer.Option(help="Nearest keys averaged into a score [default: the bank's].")
]
LayerWeightsOption = Annotated[
    str | None, typer.Option(metavar="W,W", help="One weight per layer [default: the bank's].")
]
SigmaOption = Annotated[
    float | None, typer.Option(help="Blur of the anomaly map, input px [default: the bank's].")
]
ReachOption = Annotated[
    int | None,
    typer.Option(help="Also search patches this far around a vector's own [default: the bank's]."),
]


class Advance(Protocol):
    """Reports progress."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` steps of ``stage`` are done."""


@contextmanager
def progress_bar() -> Iterator[Advance]:
    """Show bars, one per stage, on stderr if that is a terminal, else nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), Remaining())
    tasks: dict[str, int] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield advance


def note(text: str) -> None:
    """Print one line on stderr."""
    typer.echo(text, err=True)


def named_paths(paths: Iterable[Path]) -> Iterator[Path]:
    """Replace ``-`` by the paths on stdin, one per line."""
    for path in paths:
        if str(path) == "-":
            yield from (Path(line.rstrip("\r\n")) for line in sys.stdin if line.strip())
        else:
            yield path


def find_named(
    paths: Iterable[Path],
) -> tuple[list[tuple[Path, str]], list[tuple[Path, PictureError]]]:
    """Find the pictures under all paths, each with its path below the folder that was given.

    Returns:
        Files and their names; and folders without a picture, each with its error.
    """
    from fapm_cli.images import find_pictures

    named: list[tuple[Path, str]] = []
    failures: list[tuple[Path, PictureError]] = []
    for path in named_paths(paths):
        root = path if path.is_dir() else path.parent
        try:
            named += [(file, file.relative_to(root).as_posix()) for file in find_pictures(path)]
        except PictureError as error:
            failures.append((path, error))
    return named, failures


def check_writable(path: Path) -> None:
    """Check before long work that a file can be written.

    Raises:
        OutputError: its folder is missing or read-only, or it is a folder itself.
    """
    if path.is_dir():
        raise OutputError(f"output {path} is a folder; name a file, like {path / 'bank.st'}")
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"output folder {folder} does not exist; make it first")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"output folder {folder} is read-only; choose another with -o")


def query_with(
    config: BankConfig,
    neighbors: int | None,
    layer_weights: str | None,
    sigma: float | None,
    reach: int | None,
) -> Query:
    """Change the bank's query as the options say.

    Raises:
        OptionError: a value makes no sense.
    """
    import dataclasses

    query = config.query
    if neighbors is not None:
        query = dataclasses.replace(query, num_neighbors=neighbors)
    if sigma is not None:
        query = dataclasses.replace(query, sigma=sigma)
    if reach is not None:
        query = dataclasses.replace(query, reach=reach)
    if layer_weights is not None:
        query = dataclasses.replace(query, layer_weights=parse_numbers(layer_weights))
        dataclasses.replace(config, query=query)  # checks how many there are
    return query


def parse_numbers(text: str) -> tuple[float, ...]:
    """Read ``2,1``.

    Raises:
        OptionError: a part is not a number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"layer weights {text!r}: write numbers and commas, like 2,1") from None


def open_detector(
    bank: Path,
    device: str,
    weights: str | None,
    neighbors: int | None,
    layer_weights: str | None,
    sigma: float | None,
    reach: int | None,
) -> Detector:
    """Load a bank and its backbone onto a device, and note what it does not look at."""
    from fapm_cli.device import resolve_device
    from fapm_cli.engine import Detector, bank_extractor, load_bank

    where = resolve_device(device)
    loaded = load_bank(bank, where)
    query = query_with(loaded.config, neighbors, layer_weights, sigma, reach)
    extractor = bank_extractor(loaded, weights)
    preprocessing = loaded.config.preprocessing
    if preprocessing.crops:
        (h, w), (ch, cw) = preprocessing.resize_px, preprocessing.crop_px
        note(f"note: this bank crops: {1 - ch * cw / (h * w):.0%} of each picture is not inspected")
    return Detector(loaded, extractor, device=where, query=query)
