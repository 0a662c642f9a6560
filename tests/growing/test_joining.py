"""Joining many banks: what is in memory at a time, and the same bank however it is done."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GOOD, build, fapm
from helpers import small_bank, small_config
from hypothesis import given, settings
from hypothesis import strategies as st

from fapm_cli.bank.bank import Bank, LayerMemory
from fapm_cli.bank.file import bank_bytes, load_bank, save_bank
from fapm_cli.growing import opening
from fapm_cli.growing.grown_memory import Candidates, grow_memory
from fapm_cli.growing.opening import to_join
from fapm_cli.learning.scratch import folder
from fapm_cli.learning.scratch.allowance import Allowance

SIZE = "--size", "96"


@pytest.fixture(scope="module")
def shifts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Banks of one kind of part."""
    where = tmp_path_factory.mktemp("shifts")
    return [build(where / f"{i}.st", GOOD[4 * i : 4 * i + 4], *SIZE) for i in range(3)]


def merged(banks: list[Path], to: Path) -> bytes:
    result = fapm("merge", *banks, "-o", to)
    assert result.code == 0, result.err
    return to.read_bytes()


@pytest.mark.parametrize("shown", [True, False])
def test_banks_that_stay_in_their_files_join_to_the_same_bank(
    shown: bool, shifts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    banks = shifts
    if not shown:
        banks = [tmp_path / path.name for path in shifts]
        for before, path in zip(shifts, banks, strict=True):
            save_bank(replace(load_bank(before), thumbnails=None), path)
    copied = merged(banks, tmp_path / "copied.st")
    monkeypatch.setattr(opening, "_MAPPED_BYTES", 0)
    assert merged(banks, tmp_path / "mapped.st") == copied
    assert merged(banks, banks[0] if not shown else tmp_path / "again.st") == copied


def test_what_a_merge_learns_anew_may_go_to_scratch_files(
    shifts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = merged(shifts, tmp_path / "memory.st")
    added = fapm("add", shifts[0], *GOOD[4:12], "-o", tmp_path / "memory-added.st")
    assert added.code == 0, added.err
    assert "scratch" not in added.err
    monkeypatch.setattr(folder, "large_temporary", lambda: tmp_path)
    monkeypatch.setattr(Allowance, "suffices", lambda *_: False)
    result = fapm("merge", *shifts, "-o", tmp_path / "files.st")
    assert "12 pictures goes to scratch files in" in result.err
    assert (tmp_path / "files.st").read_bytes() == in_memory
    added = fapm("add", shifts[0], *GOOD[4:12], "-o", tmp_path / "files-added.st")
    assert "12 pictures goes to scratch files in" in added.err
    files = [(tmp_path / f"{name}-added.st").read_bytes() for name in ("memory", "files")]
    assert files[0] == files[1]
    assert not [*tmp_path.glob("fapm-scratch-*")]


@settings(max_examples=25)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 2**16))
def test_of_many_banks_one_has_metrics_and_one_the_backbone(counts: list[int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    banks = []
    for count in counts:
        bank = small_bank(with_backbone=bool(draw.integers(2)), with_metrics=True)
        banks.append(replace(bank, pictures=bank.pictures[:count]))
    joined = to_join(banks)
    largest = counts.index(max(counts))
    assert [one.memories[0].metrics is not None for one in joined] == [
        i == largest for i in range(len(counts))
    ]
    whole = [one.backbone is not None for one in banks]
    assert sum(one.backbone is not None for one in joined) == min(sum(whole), 1)
    if any(whole):
        assert joined[whole.index(True)].backbone is not None
    for before, after in zip(banks, joined, strict=True):
        bare = [replace(one, backbone=None, memories=_bare(one)) for one in (before, after)]
        assert bank_bytes(bare[0]) == bank_bytes(bare[1])


def _bare(bank: Bank) -> tuple[LayerMemory, ...]:
    return tuple(replace(memory, metrics=None) for memory in bank.memories)


def test_patches_are_picked_one_at_a_time() -> None:
    alive: list[weakref.ref[torch.Tensor]] = []

    def patches() -> Iterator[Candidates]:
        for _ in range(5):
            vectors, numbers = torch.rand(200, 3), torch.arange(200, dtype=torch.int32)
            alive.append(weakref.ref(vectors))
            yield Candidates(vectors, numbers, numbers, torch.rand(200))
            del vectors
            assert sum(one() is not None for one in alive) <= 1

    memory = grow_memory(patches(), 400, small_config())
    assert len(alive) == len(memory.key_counts) == 5
