"""The scratch folder: a workspace in files, which a build that was stopped goes on from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fapm_cli.errors import OptionError, OutputError
from fapm_cli.files import large_temporary
from fapm_cli.learning.scratch.blocks import Blocks
from fapm_cli.learning.scratch.field import Field
from fapm_cli.learning.scratch.found_rows import FileRows
from fapm_cli.learning.scratch.journal import writing
from fapm_cli.learning.scratch.thumbnail_file import ThumbnailFile
from fapm_cli.learning.scratch.workspace import Job, T, Tensors, Workspace
from fapm_cli.own_folder import LOCK, OwnFolder, locked

_NAME, _PLAN = "fapm-scratch", "plan.json"
Plan = Mapping[str, Any]


class ScratchFolder(Workspace):
    """A workspace in files below a folder."""

    def __init__(self, folder: Path):
        """Open it, or begin it."""
        self.folder = folder
        with writing(folder):
            folder.mkdir(exist_ok=True)

    def store(
        self, name: str, fields: Sequence[Field], capacity: int, device: torch.device
    ) -> Blocks:
        """What holds fields of pictures, however many."""
        return Blocks(self._below(name).folder, fields, device)

    def found(self, name: str, shapes: Mapping[str, Sequence[int]], total: int) -> FileRows:
        """What holds rows of these shapes."""
        return FileRows(self._below(name).folder, shapes)

    def thumbnails(self) -> ThumbnailFile:
        """What holds thumbnails."""
        return ThumbnailFile(self._below("thumbnails").folder)

    def steps(self, work: Callable[[T], Tensors], items: Mapping[str, T]) -> Iterator[Tensors]:
        """What steps of these names give: from their files, if they were taken before."""
        for name, item in items.items():
            yield self._step(name, Job(work, item))

    def _step(self, name: str, job: Job[T, Tensors]) -> Tensors:
        path = self.folder / f"{name}.safetensors"
        try:
            return load_file(path)
        except (SafetensorError, OSError):
            self._write(path, job())
        # Where they were made they would lie between what else a step takes and gives back, and
        # that would not be used again.
        with writing(path):
            return load_file(path)

    def _write(self, path: Path, found: Tensors) -> None:
        with writing(path):
            whole = path.with_suffix(".new")
            try:
                save_file({n: one.cpu().contiguous() for n, one in found.items()}, whole)
            except SafetensorError as error:
                raise OSError(0, str(error)) from error
            os.replace(whole, path)

    def under(self, name: str) -> ScratchFolder:
        """A folder below, for steps of which the names may be the same."""
        return self._below(name)

    def _below(self, name: str) -> ScratchFolder:
        return ScratchFolder(self.folder / name)


@contextmanager
def scratch_folder(
    parent: Path | None, plan: Plan, needed_bytes: int, *, resume: bool
) -> Iterator[ScratchFolder]:
    """Lock a scratch folder while a build uses it; at the end it is removed.

    Args:
        parent: where it lies; it then stays where the build does not come to its end. None for a
            private one among the system's temporary files, which goes in any case.
        plan: what is built from what: what a build must share to be gone on from.
        needed_bytes: most that it will take.
        resume: whether to go on from what is there; else it is removed.

    Raises:
        OptionError: another build uses it, or what is there has another plan.
        OutputError: it can't be written, or has too little room.
    """
    wanted = json.loads(json.dumps(plan))
    if parent is None:
        with writing(large_temporary()):
            own = OwnFolder(_NAME, large_temporary())
        try:
            yield _open(own.path, wanted, needed_bytes, resume=resume)
        finally:
            own.remove()
        return
    folder = parent / _NAME
    with writing(parent):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = locked(folder)
        except Timeout:
            raise OptionError(
                f"--scratch {parent}: another build is using it; give another folder"
            ) from None
    ended = False
    try:
        yield _open(folder, wanted, needed_bytes, resume=resume)
        ended = True
    finally:
        lock.release()
        if ended:
            shutil.rmtree(folder, ignore_errors=True)


def _open(folder: Path, plan: dict[str, Any], needed_bytes: int, *, resume: bool) -> ScratchFolder:
    """Begin in a folder, or go on there, if there is room."""
    _begin(folder, plan, resume=resume)
    _check_room(folder, needed_bytes)
    return ScratchFolder(folder)


def _begin(folder: Path, plan: dict[str, Any], *, resume: bool) -> None:
    """Make a folder ready for a plan.

    Raises:
        OptionError: it holds what came of another.
    """
    file = folder / _PLAN
    if resume and file.is_file():
        before = json.loads(file.read_text("utf-8"))
        for name in sorted(plan | before):
            there, here = before.get(name), plan.get(name)
            if there != here:
                raise OptionError(
                    f"--resume: {folder} is of a build with another {name} ({_short(there)}; here "
                    f"{_short(here)}); leave --resume out to begin anew"
                )
        return
    with writing(folder):
        for one in folder.iterdir():
            if one.is_dir():
                shutil.rmtree(one)
            elif one.name != LOCK:
                one.unlink()
        whole = file.with_suffix(".new")
        whole.write_text(json.dumps(plan, sort_keys=True), "utf-8")
        os.replace(whole, file)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _check_room(folder: Path, needed_bytes: int) -> None:
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    if needed_bytes - there > free:
        raise OutputError(
            f"scratch files take up to {needed_bytes / 1e9:.1f} GB, and {folder.parent} has "
            f"{(free + there) / 1e9:.1f} GB free: give a --scratch with more, or more --memory"
        )
