"""``fapm bench`` of engines side by side: what each is given, and what was measured."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fapm_cli.commands.terminal import note, progress_bar
from fapm_cli.errors import BankError, ModelError, OptionError

if TYPE_CHECKING:
    from fapm_cli.api.speed import Job
    from fapm_cli.detection.record import Record

Way = tuple[str, str, bool]
"""An engine, a precision that it has, and whether it is compiled."""


def ways_of(engines: str, precisions: str, compiled: bool, *, exported: bool) -> list[Way]:
    """Find out what there is to measure, each once, and note what an engine does not have.

    Args:
        engines: as ``--engine`` says.
        precisions: as ``--precision`` says.
        compiled: whether each is to be measured compiled, too.
        exported: whether there is but an exported file.

    Raises:
        OptionError: an engine or precision is unknown or can't be had here, or nothing is left.
    """
    from fapm_cli.api.speed import FAPM, choose_engines, precision_of

    names = choose_engines(engines, exported=exported)
    if compiled and FAPM not in names:
        raise OptionError(f"--compile is for fapm's own engine, not for {' and '.join(names)}")
    ways: dict[tuple[str, str], Way] = {}
    compiling = (False, True)[: 1 + compiled]
    for name, wanted, how in itertools.product(names, precisions.split(","), compiling):
        if how and name != FAPM:
            continue
        has = precision_of(name, wanted, compiled=how)
        if has is None:
            note(f"note: {name} computes no exported file in {wanted}")
        else:
            if name != FAPM and has != precision_of(name, "auto"):
                note(f"note: exported files are not proven in {has}, as {name} is measured")
            ways.setdefault((name, has), (name, wanted if name == FAPM else has, how))
    if not ways:
        raise OptionError(f"precision {precisions!r}: {' and '.join(names)} has none of that name")
    return [*ways.values()]


def measure_file(
    path: Path, ways: list[Way], sizes: list[int] | None, *, runs: int, warm_up: int
) -> list[Record]:
    """Measure an exported file.

    Raises:
        ModelError: it is not as it was made; or an engine failed.
        OptionError: it takes another number of pictures at a time.
    """
    from fapm_cli.api.speed import Job, read_input

    shape = read_input(path)
    if sizes not in (None, [shape[0]]):
        said = ",".join(map(str, sizes or ()))
        raise OptionError(
            f"batch size {said}: {path} takes {shape[0]} at a time, no more and no fewer; export "
            "another with: fapm export --batch N"
        )
    jobs = [Job(engine, precision, False, str(path), shape) for engine, precision, _ in ways]
    return _measure(jobs, {"model": str(path)}, runs, warm_up)


def measure_bank(
    path: Path, ways: list[Way], sizes: list[int], weights: str | None, *, runs: int, warm_up: int
) -> list[Record]:
    """Measure a bank by fapm, and by other engines a file that is exported for them.

    Raises:
        BankError, ModelError: it can't be read, or can't be exported; or an engine failed.
    """
    from fapm_cli.api.speed import FAPM, Job

    with TemporaryDirectory() as folder:
        files = {size: Path(folder, f"batch-{size}.onnx") for size in sizes}
        others = list(dict.fromkeys(engine for engine, _, _ in ways if engine != FAPM))
        size_px = _export(path, " and ".join(others), files, weights)
        jobs = []
        for size, (engine, precision, compiled) in itertools.product(files, ways):
            shape = (size, *size_px, 3)
            if engine == FAPM:
                jobs.append(Job(engine, precision, compiled, str(path), shape, weights))
            else:
                jobs.append(Job(engine, precision, compiled, str(files[size]), shape))
        return _measure(jobs, {"bank": str(path)}, runs, warm_up)


def _export(
    path: Path, engines: str, files: dict[int, Path], weights: str | None
) -> tuple[int, int]:
    """Write a bank's files by the batches that they take, if there are engines to run them.

    Returns:
        Height and width of the bank's input in px.
    """
    from fapm_cli.api.bank import load

    bank = load(path)
    if engines:
        note(f"note: exporting the bank for {engines}, and proving the files")
        try:
            for size, file in files.items():
                bank.export(file, batch=size, weights=weights)
        except (BankError, ModelError) as error:
            raise type(error)(f"no file of {path} for {engines}: {error}") from error
    return bank.learnt.config.preprocessing.crop_px


def _measure(jobs: Iterable[Job], what: dict[str, str], runs: int, warm_up: int) -> list[Record]:
    """Measure, and say of what, and how many times as fast as the first each is."""
    from fapm_cli.api.speed import measure_engines

    with progress_bar() as advance:
        told = functools.partial(advance, "engines")
        records = measure_engines([*jobs], runs=runs, warm_up=warm_up, on_process=told)
    return [{**one, **what, "speedup": one["fps"] / records[0]["fps"]} for one in records]
