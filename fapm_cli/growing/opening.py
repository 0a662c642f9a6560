"""Banks to be joined, of which no more is in memory than it takes: there may be hundreds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import load_bank
from fapm_cli.bank.tensors import as_tensors
from fapm_cli.growing.anew import all_shown
from fapm_cli.learning.memory_needed import memory_needed
from fapm_cli.learning.scratch.allowance import Allowance
from fapm_cli.learning.scratch.workspace import IN_MEMORY, Where, Workspace
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.pictures.reading import Item, memory_to_read

_MAPPED_BYTES = 256 * 2**20  # of all files; less is copied, since a file may be overwritten


def to_join(banks: Sequence[Bank | Path]) -> list[Bank]:
    """Banks, or what their files hold.

    Keys and thumbnails of many files stay there, and are read as they are needed. Metrics are left
    out but of the first of the largest banks, and the backbone but of the first that has most of
    it: a merge takes no others.

    Raises:
        BankError: a file is no bank.
    """
    files = [one for one in banks if isinstance(one, Path) and one.is_file()]
    mapped = sum(one.stat().st_size for one in files) > _MAPPED_BYTES
    found: list[Bank] = []
    largest = holder = 0
    for number, one in enumerate(banks):
        found.append(load_bank(one, mapped=mapped) if isinstance(one, Path) else as_tensors(one))
        bank = found[-1]
        if number and len(bank.pictures) > len(found[largest].pictures):
            found[largest], largest = without_metrics(found[largest]), number
        elif number:
            bank = without_metrics(bank)
        if number and len(bank.backbone or ()) > len(found[holder].backbone or ()):
            found[holder], holder = replace(found[holder], backbone=None), number
        elif number:
            bank = replace(bank, backbone=None)
        found[-1] = bank
    return found


def without_metrics(bank: Bank) -> Bank:
    """The bank less its patches' own metrics; what was chosen is still known."""
    return replace(bank, memories=tuple(replace(m, metrics=None) for m in bank.memories))


@contextmanager
def room(
    banks: Sequence[Bank],
    num_pictures: int,
    items: Sequence[Item],
    extractor: FeatureExtractor,
    on_begin: Callable[[Callable[[], int], Where | None], None],
) -> Iterator[Workspace]:
    """Find a place for what pictures give, if they are learnt anew, as a build does.

    Args:
        banks: that grow, or are joined.
        num_pictures: how many come of it.
        items: that are new.
        extractor: their backbone.
        on_begin: told how much memory it takes, and where scratch files are, or None.

    Raises:
        OutputError: there is no room for scratch files.
    """
    config = banks[0].config
    needed = functools.partial(memory_needed, config, extractor, num_pictures, items)
    reading = functools.partial(memory_to_read, items, config.preprocessing)
    with ExitStack() as stack:
        workspace = IN_MEMORY
        if all_shown(banks):
            found = Allowance().workspace(config, extractor, num_pictures, reading, needed, {})
            workspace = stack.enter_context(found)
        on_begin(needed, workspace.where)
        yield workspace
