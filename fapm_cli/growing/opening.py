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
        largest = _stripped(
            found, largest, number, lambda bank: len(bank.pictures), without_metrics
        )
        holder = _stripped(
            found, holder, number, lambda bank: len(bank.backbone or ()), without_backbone
        )
    return found


def _stripped(
    banks: list[Bank],
    best: int,
    number: int,
    size: Callable[[Bank], int],
    strip: Callable[[Bank], Bank],
) -> int:
    """Strip the smaller of two banks, the later of equal ones; gives the other's number."""
    if number == best:
        return best
    more = size(banks[number]) > size(banks[best])
    best, other = (number, best) if more else (best, number)
    banks[other] = strip(banks[other])
    return best


def without_metrics(bank: Bank) -> Bank:
    """The bank less its patches' own metrics; what was chosen is still known."""
    return replace(bank, memories=tuple(replace(m, metrics=None) for m in bank.memories))


def without_backbone(bank: Bank) -> Bank:
    """The bank less its backbone."""
    return replace(bank, backbone=None)


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
