"""Making a bank: what is told beforehand, and what is left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import GOOD, build, fapm

from fapm_cli.bank import load_bank
from fapm_cli.commands import making
from fapm_cli.coreset import MEMORY_BYTES
from fapm_cli.device import free_bytes
from fapm_cli.engine import default_config, load_extractor, memory_needed


def test_memory_grows_by_the_vectors_and_the_keys_of_each_picture() -> None:
    config = default_config()
    extractor = load_extractor(config)
    one, other = (memory_needed(config, extractor, n) for n in (1000, 2000))
    vectors = 1000 * 2 * 240 * 28 * 28 * 4
    assert other - one == pytest.approx(vectors * (1 + 2 * 2 * 0.1))
    assert one > vectors * 1.4 + MEMORY_BYTES


def test_a_build_that_needs_more_than_is_free_says_so_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fapm_cli.device.free_bytes", lambda device: 5 * 10**8)
    result = fapm("build", *GOOD[:2], "-o", tmp_path / "bank.st")
    assert result.code == 0
    assert result.err.startswith("note: 2 pictures take about 0.9 GB of memory, and only 0.5 GB")


def test_a_large_build_says_how_much_it_needs_and_a_small_one_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "memory" not in fapm("build", *GOOD[:2], "-o", tmp_path / "bank.st").err
    monkeypatch.setattr(making, "_MUCH_BYTES", 5e8)
    result = fapm("build", *GOOD[:2], "-o", tmp_path / "bank.st")
    assert result.err.startswith("note: 2 pictures take about 0.9 GB of memory\n")


def test_free_memory_is_known_where_linux_tells() -> None:
    import torch

    free = free_bytes(torch.device("cpu"))
    assert free is None or 2**20 < free < 2**50
    assert (free is None) == (not Path("/proc/meminfo").exists())


def test_a_file_that_comes_twice_is_learnt_once(tmp_path: Path) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    for picture in GOOD[:3]:
        shutil.copy(picture, folder)
    once = build(tmp_path / "once.st", [folder]).read_bytes()
    shutil.copy(GOOD[0], folder / "zz.jpg")
    result = fapm("build", folder, "-o", tmp_path / "twice.st")
    assert result.code == 0
    assert "zz.jpg is in the bank already: left out" in result.err
    assert (tmp_path / "twice.st").read_bytes() == once
    assert len(load_bank(tmp_path / "twice.st").pictures) == 3
