"""Making a bank: what is told beforehand, and what is left out."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import GOOD, ROOT, build, fapm
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from fapm_cli.bank.file import load_bank
from fapm_cli.bank.presets import default_config
from fapm_cli.commands import making
from fapm_cli.compute import cores
from fapm_cli.compute.device import free_bytes
from fapm_cli.learning.memory_needed import (
    memory_needed,
    needed_with_scratch,
    scratch_needed,
)
from fapm_cli.network.loading import load_extractor
from fapm_cli.pictures import reading
from fapm_cli.pictures.picture import Picture, read_picture
from fapm_cli.pictures.preparing import prepare
from fapm_cli.pictures.read_ahead import Room
from fapm_cli.pictures.reading import memory_to_read, read_batches


def test_memory_grows_by_the_vectors_and_the_keys_of_each_picture() -> None:
    config = default_config(metric="plain", max_keys=0)
    extractor = load_extractor(config)
    one, other = (memory_needed(config, extractor, n) for n in (3000, 4000))
    vectors = 1000 * 2 * 240 * 28 * 28 * 4
    shown = 1000 * 3 * 224 * 224
    assert other - one == pytest.approx(vectors * (1 + 2 * 2 * 0.1) + shown)
    assert one > vectors * 3 * 1.4
    few = memory_needed(config, extractor, 1000)
    assert few > vectors * 1.2 + (1000 * 16) ** 2  # distances from those that may be picked
    limited = replace(config, max_keys=512)
    one, other = (memory_needed(limited, extractor, n) for n in (3000, 4000))
    of_patch = 1000 * 16 * 240 * 4
    assert other - one == vectors + shown + of_patch


def test_with_scratch_files_memory_grows_by_a_patch_or_a_little_each_and_room_by_all() -> None:
    config = default_config()
    extractor = load_extractor(config)
    one, other = (needed_with_scratch(config, extractor, n) for n in (20_000, 21_000))
    of_patch = 1000 * 240 * 16 * 4
    assert 2 * of_patch <= other - one < 5 * of_patch
    assert one < 3e9
    assert other < memory_needed(config, extractor, 20_000) / 8
    one, other = (scratch_needed(config, extractor, n) for n in (20_000, 21_000))
    assert other - one > 1000 * 3 * 240 * 28 * 28 * 4 * 0.99


def test_pictures_that_are_read_at_a_time_count_one_per_thread_by_their_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[Path] = []
    for mode, size in (("RGB", (50, 40)), ("L", (30, 20)), ("RGB", (300, 200)), ("RGBA", (90, 80))):
        files.append(tmp_path / f"{len(files)}.png")
        Image.new(mode, size).save(files[-1])
    of_file = [file.stat().st_size for file in files]
    monkeypatch.setattr(PngImageFile, "load", None)  # nothing is decoded for it
    monkeypatch.setattr(cores, "cores_asked_for", 2)
    config = default_config()
    largest = 4 * 300 * 200 + of_file[2], 16 * 90 * 80 + of_file[3]
    assert memory_to_read(files, config.preprocessing) == sum(largest)
    extractor = load_extractor(config)
    both = (memory_needed(config, extractor, 4, some) for some in (files, ()))
    assert next(both) - next(both) == sum(largest)


def test_of_what_was_read_ahead_only_the_input_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    images: list[weakref.ref[Image.Image]] = []

    def read(path: Path, *options: Any) -> Picture:
        picture = read_picture(path, *options)
        images.append(weakref.ref(picture.image))
        return picture

    monkeypatch.setattr(reading, "read_picture", read)
    monkeypatch.setattr(cores, "cores_asked_for", 2)
    batches = read_batches(GOOD * 2, default_config().preprocessing, 8)
    first = next(batches)
    assert len(first) == 8
    assert sum(image() is not None for image in images) <= 2 < len(images)
    batches.close()  # type: ignore[attr-defined]


def test_what_is_decoded_at_a_time_is_bounded_by_bytes_not_by_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(10)  # what a dropped stream had in hand comes to its end
    at_once: list[int] = []
    inside: set[int] = set()

    def slow(*arguments: Any) -> Any:
        inside.add(threading.get_ident())
        at_once.append(len(inside))
        time.sleep(0.005)
        inside.remove(threading.get_ident())
        return prepare(*arguments)

    monkeypatch.setattr(reading, "prepare", slow)
    monkeypatch.setattr(cores, "cores_asked_for", 4)
    preprocessing = default_config().preprocessing
    (one,) = (memory_to_read([path], preprocessing) for path in GOOD[:1])
    for room, most in ((1, 1), (int(2.9 * one), 2)):
        monkeypatch.setattr(reading, "_room", Room(room))
        at_once.clear()
        assert sum(map(len, read_batches(GOOD[:1] * 12, preprocessing, 4))) == 12
        assert max(at_once) <= most
        assert memory_to_read(GOOD[:1] * 12, preprocessing) == max(room, one)


def test_room_is_given_back_whatever_happens() -> None:
    room = Room(10)

    def fail(wanted: int) -> None:
        with room.visit() as enter:
            enter(wanted)
            raise KeyError(wanted)

    for wanted in (10, 99):
        with pytest.raises(KeyError):
            fail(wanted)
    with room.visit() as enter, room.visit() as too:
        enter(4)
        too(6)


def test_a_build_that_needs_more_than_is_free_says_so_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_module("fapm_cli.learning.scratch.allowance")  # keeps the one that it finds
    monkeypatch.setattr("fapm_cli.compute.device.free_bytes", lambda device: 5 * 10**8)
    result = fapm("build", *GOOD[:2], "-o", tmp_path / "bank.st")
    assert result.code == 0
    assert result.err.startswith("note: 2 pictures take up to 1.1 GB of memory, and only 0.5 GB")


def test_a_large_build_says_how_much_it_needs_and_a_small_one_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "memory" not in fapm("build", *GOOD[:2], "-o", tmp_path / "bank.st").err
    monkeypatch.setattr(making, "_MUCH_BYTES", 5e8)
    result = fapm("build", *GOOD[:2], "-o", tmp_path / "bank.st")
    assert result.err.startswith("note: 2 pictures take up to 1.1 GB of memory\n")


_MEASURED = """
import sys
import fapm_cli
from fapm_cli.api.listener import Listener

class Foretold(Listener):
    def on_begin(self, num_pictures, needed_bytes, free_bytes):
        print(needed_bytes())

fapm_cli.build(sys.argv[1:], metric="plain", listener=Foretold())
with open("/proc/self/status") as status:
    (most,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
print(int(most) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells what was taken at most")
def test_no_more_memory_is_taken_than_was_foretold(tmp_path: Path) -> None:
    large = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(large):
        with Image.open(GOOD[number]) as image:
            image.resize((6000, 4000)).save(path, compress_level=1)
    command = [sys.executable, "-c", _MEASURED, *map(str, [*GOOD, *large])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    foretold, taken = map(int, done.stdout.split())
    assert taken <= foretold <= 2 * taken


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
    result = fapm("build", folder, "-o", tmp_path / "twice.st", "--metric", "plain")
    assert result.code == 0
    assert "zz.jpg is in the bank already: left out" in result.err
    assert (tmp_path / "twice.st").read_bytes() == once
    assert len(load_bank(tmp_path / "twice.st").pictures) == 3


def test_build_says_where_the_budget_ends_what_many_patches_learn(tmp_path: Path) -> None:
    told = [
        fapm("build", *GOOD[:8], "-o", tmp_path / f"{most}.st", "--max-keys", most).err
        for most in (5, 12, 0)
    ]
    full = re.search(r"note: (\d+) of 98 patches are as full as --max-keys 5 lets them be", told[0])
    assert full
    assert "a build with --max-keys 10 may find more" in told[0]
    memories = load_bank(tmp_path / "5.st").memories
    assert int(full[1]) == sum(int((memory.key_counts == 10).sum()) for memory in memories)
    assert all("as full as" not in text for text in told[1:])  # 10 % of 8 pictures are 12


def test_views_are_a_picture_and_its_turned_copies() -> None:
    assert [default_config(turn=step).num_views for step in (0, 45, 120, 180)] == [1, 8, 3, 2]
