"""Scratch files change nothing: the bank is the same, also that of a build that was killed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GOOD, ROOT, Result, build, fapm
from filelock import FileLock
from forked import Program
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fapm_cli.errors import OptionError
from fapm_cli.learning.scratch import blocks, folder
from fapm_cli.learning.scratch.allowance import Allowance, parse_bytes
from fapm_cli.learning.scratch.field import Field
from fapm_cli.learning.scratch.workspace import IN_MEMORY, HeldStore

FAST = "--size", "96", "--metric", "own"
PICTURES = GOOD[:16]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_MOST", 3)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bank that was built in memory."""
    return digest(build(tmp_path_factory.mktemp("wanted") / "bank.st", PICTURES, *FAST))


def fails(result: Result, *words: str) -> None:
    """Check that the last line says the words; a note of where files go may come before."""
    *_, line = result.err.splitlines()
    assert (result.code, result.out) == (2, "")
    assert [word for word in words if word not in line] == [], line


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def started(tmp_path: Path, *options: str) -> Program:
    """A build that runs beside."""
    argv = ["fapm", "build", *map(str, PICTURES), *FAST, *options]
    argv += ["-o", str(tmp_path / "bank.st"), "--scratch", str(tmp_path / "scratch")]
    return Program(argv, "from fapm_cli.learning.scratch import blocks; blocks._MOST = 3")


def killed(build: Program) -> int:
    """Kill a build; its exit code, as a shell has it."""
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.kill(build.pid, signal.SIGKILL)
    return build.wait()


@pytest.mark.parametrize(
    "options",
    [
        FAST,
        ("--size", "96", "--metric", "plain", "--no-thumbnails"),
        (*FAST, "--align", "shift", "--turn", "90"),
        ("--variant", "C", "--size", "96", "--metric", "plain"),
    ],
)
def test_a_bank_by_way_of_scratch_files_is_the_same_byte_for_byte(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    in_memory = build(tmp_path / "memory.st", PICTURES[:12], *options)
    scratch = tmp_path / "scratch"
    by_files = fapm(
        "build", *PICTURES[:12], *options, "-o", tmp_path / "files.st", "--scratch", scratch
    )
    assert by_files.code == 0, by_files.err
    assert "scratch files in" in by_files.err
    assert digest(tmp_path / "files.st") == digest(in_memory)
    assert not [*scratch.iterdir()]


def test_outliers_are_dropped_alike(tmp_path: Path) -> None:
    odd = [ROOT / "samples" / "test" / "stain" / "000.jpg"]
    options = (*FAST, "--drop-outliers", "--keep-suspects")
    banks = []
    for more in ((), ("--scratch", tmp_path / "scratch")):
        banks.append(tmp_path / f"{len(more)}.st")
        result = fapm("build", *PICTURES[:12], *odd, *options, "-o", banks[-1], *more)
        assert result.code == 0, result.err
    assert digest(banks[0]) == digest(banks[1])


@pytest.mark.parametrize(
    "reached",
    [
        "pictures/000000.bin",
        "pictures/000004.bin",
        "keys-0/*.safetensors",
        "plain/found/parts.jsonl",
        "variation-1/*.safetensors",
    ],
)
@pytest.mark.usefixtures("program")
def test_a_build_that_was_killed_goes_on_to_the_same_bytes(
    reached: str, wanted: str, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch" / "fapm-scratch"
    build, deadline = started(tmp_path), time.monotonic() + 60
    while not [*scratch.glob(reached)] and time.monotonic() < deadline:
        time.sleep(0.002)
    assert killed(build) == 128 + signal.SIGKILL, "it ended before it was killed"
    assert not (tmp_path / "bank.st").exists()
    before = {path: path.stat().st_mtime_ns for path in scratch.glob("pictures/*.bin")}
    on = fapm(
        *("build", *PICTURES, *FAST, "-o", tmp_path / "bank.st"),
        *("--scratch", tmp_path / "scratch", "--resume"),
    )
    assert on.code == 0, on.err
    assert digest(tmp_path / "bank.st") == wanted
    assert before
    assert not scratch.exists()


@pytest.mark.usefixtures("program")
def test_a_build_that_is_killed_again_and_again_comes_to_the_same_bytes(
    wanted: str, tmp_path: Path
) -> None:
    draw, scratch = random.Random(0), tmp_path / "scratch" / "fapm-scratch"
    for _ in range(4):
        build, deadline = started(tmp_path, "--resume"), time.monotonic() + 60
        while not (scratch / "pictures").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 1.5))
        killed(build)
    assert started(tmp_path, "--resume").wait() == 0
    assert digest(tmp_path / "bank.st") == wanted


def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> Path:
    """A scratch folder of a build that came to a full disk after so many files."""
    replaced, count = os.replace, [0]

    def replace(source: Any, target: Any) -> None:
        count[0] += "fapm-scratch" in str(target)
        if count[0] > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replaced(source, target)

    monkeypatch.setattr(os, "replace", replace)
    result = resumed(tmp_path)
    monkeypatch.setattr(os, "replace", replaced)
    fails(result, "can't use scratch file", "No space left", "--resume")
    return tmp_path / "scratch" / "fapm-scratch"


def resumed(tmp_path: Path, *options: str) -> Any:
    return fapm(
        *("build", *PICTURES, *FAST, "-o", tmp_path / "bank.st"),
        *("--scratch", tmp_path / "scratch", *options),
    )


@pytest.mark.parametrize("after", [4, 12])
def test_a_build_goes_on_from_a_full_disk(
    after: int, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path, monkeypatch, after)
    assert resumed(tmp_path, "--resume").code == 0
    assert digest(tmp_path / "bank.st") == wanted


def test_what_was_written_half_or_is_damaged_is_dropped(
    wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = stopped(tmp_path, monkeypatch, 8)
    second = scratch / "pictures" / "000001.bin"
    data = bytearray(second.read_bytes())
    data[len(data) // 2] ^= 1
    second.write_bytes(data)
    thumbnails = scratch / "thumbnails" / "thumbnails.bin"
    thumbnails.write_bytes(thumbnails.read_bytes()[:-5])
    with (scratch / "thumbnails" / "thumbnails.jsonl").open("a") as file:
        file.write('{"sizes": [1')
    assert resumed(tmp_path, "--resume").code == 0
    assert digest(tmp_path / "bank.st") == wanted


def test_only_the_same_build_is_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path, monkeypatch, 8)
    fails(resumed(tmp_path, "--resume", "--coreset-ratio", "0.2"), "coreset_ratio", "0.2")
    more = fapm(
        *("build", *GOOD[:17], *FAST, "-o", tmp_path / "bank.st"),
        *("--scratch", tmp_path / "scratch", "--resume"),
    )
    fails(more, "list of pictures", "leave --resume out")


def test_pictures_that_have_changed_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("test_scratch.PICTURES", pictures := [])
    for file in GOOD[:16]:
        pictures.append(Path(shutil.copy(file, tmp_path)))
    stopped(tmp_path, monkeypatch, 8)
    shutil.copy(GOOD[20], pictures[1])
    fails(resumed(tmp_path, "--resume"), "other pictures", "leave --resume out")


def test_without_resume_a_build_begins_anew(
    wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = stopped(tmp_path, monkeypatch, 8)
    (scratch / "pictures" / "000000.bin").write_bytes(b"")
    assert resumed(tmp_path).code == 0
    assert digest(tmp_path / "bank.st") == wanted


def test_a_folder_is_of_one_build_at_a_time(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch" / "fapm-scratch"
    scratch.mkdir(parents=True)
    with FileLock(scratch / "lock"):
        fails(resumed(tmp_path), "another build is using it")
    assert scratch.is_dir()


def test_resume_wants_to_know_from_where() -> None:
    result = fapm("build", *PICTURES, "-o", "never.st", "--resume")
    fails(result, "--resume", "--scratch")


def test_room_is_asked_for_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    fails(resumed(tmp_path), "scratch files take up to", "0.0 GB free")


def test_too_little_memory_is_told(tmp_path: Path) -> None:
    result = fapm("build", *PICTURES, *FAST, "-o", tmp_path / "bank.st", "--memory", "100MB")
    fails(result, "--memory 0.10 GB", "at least")


def test_private_folders_go_in_any_case_and_those_of_dead_processes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in ("dead", "live", "other"):
        (tmp_path / (f"fapm-scratch-{name}" if name != "other" else name)).mkdir()
    (tmp_path / "fapm-scratch-dead" / "lock").touch()
    monkeypatch.setattr(Allowance, "suffices", lambda *all_of_it: False)
    with FileLock(tmp_path / "fapm-scratch-live" / "lock"):
        assert fapm("build", *PICTURES[:4], *FAST, "-o", tmp_path / "bank.st").code == 0
    assert {path.name for path in tmp_path.glob("*") if path.is_dir()} == {
        "fapm-scratch-live",
        "other",
    }
    monkeypatch.setattr(folder, "_check_room", lambda *both: 1 / 0)
    assert fapm("build", *PICTURES[:4], *FAST, "-o", tmp_path / "bank.st").code != 0
    assert not [*tmp_path.glob("fapm-scratch-*")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("3GB", 3 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("7", 7), (4096, 4096)],
)
def test_sizes_are_read_as_people_write_them(text: str | int, wanted: int) -> None:
    assert parse_bytes("memory", text) == wanted


@pytest.mark.parametrize("text", ["", "GB", "0", "-1GB", "3 apples", "1e9", "0.1"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="memory"):
        parse_bytes("memory", text)


@given(st.data())
def test_fields_in_files_are_those_in_memory(data: st.DataObject) -> None:
    number, per_block = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    fields = [Field("a", 3, 2, (5,)), Field("b", 1, 4, (2,)), Field("empty", 3, 0, (5,))]
    fields.append(Field.of_rows("px", (2, 3), torch.uint8))
    held = HeldStore(fields, number + 2, CPU)
    digests = [str(i) for i in range(number)]
    cut = data.draw(st.integers(0, number))
    with tempfile.TemporaryDirectory() as name:
        stores = [blocks.Blocks(Path(name), fields, CPU) for _ in range(1)]
        stores[0].per_block = per_block
        for at in range(number):
            if at == cut:  # what waits is lost
                stores.append(blocks.Blocks(Path(name), fields, CPU))
                stores[-1].per_block = per_block
                cut_at, at_hand = stores[-1].known(0, digests), stores[-1]
                assert cut_at == cut // per_block * per_block
                for again in range(at):
                    at_hand.put(again, digests[again : again + 1], drawn(fields, again))
            for store in (held, stores[-1]):
                store.put(at, digests[at : at + 1], drawn(fields, at))
        for store in (held, stores[-1]):
            store.finish(number)
        some = data.draw(st.lists(st.integers(0, number - 1), min_size=1))
        kept = sorted(set(some))
        for field in fields[:2]:
            there, wanted = stores[-1].vectors(field.name), held.vectors(field.name)
            assert tuple(there.shape) == tuple(wanted.shape)
            assert torch.equal(there.patches(0, field.lead), wanted)
            assert torch.equal(there.patches(field.lead - 1, field.lead), wanted[-1:])
            by_picture = wanted.view(field.lead, number, field.per_picture, -1)
            assert torch.equal(
                there.of_pictures(torch.tensor(some)), by_picture[:, some].flatten(1, 2)
            )
            only = there.of(kept)
            assert torch.equal(only.patches(0, 1), by_picture[:1, kept].flatten(1, 2))
        assert torch.equal(stores[-1].rows("px")[torch.tensor(some)], held.rows("px")[some])
        assert stores[-1].vectors("empty").shape[1] == 0


def drawn(fields: list[Field], number: int) -> dict[str, Tensor]:
    """A picture's parts of fields, the same for the same number."""
    generator = torch.Generator().manual_seed(number)
    return {
        field.name: (100 * torch.rand(field.shape(1), generator=generator)).to(field.dtype)
        for field in fields
        if field.per_picture
    }


def test_memory_takes_no_step_twice() -> None:
    (found,) = IN_MEMORY.steps(lambda value: {"a": torch.tensor(value)}, {"step": 1})
    assert found["a"] == 1
