"""A process' own folder goes at its end, or, where it was killed, as the next one begins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from filelock import FileLock, Timeout

from fapm_cli import own_folder
from fapm_cli.own_folder import OwnFolder

NAME = "fapm-test"
_HOLD = """
import sys
from pathlib import Path
from fapm_cli.own_folder import OwnFolder
own = OwnFolder(sys.argv[1], Path(sys.argv[2]))
print(own.path, flush=True)
input()
"""


def test_a_folder_goes_at_the_end(tmp_path: Path) -> None:
    own = OwnFolder(NAME, tmp_path)
    (own.path / "picture.png").write_bytes(b"1")
    own.remove()
    assert not [*tmp_path.iterdir()]


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    other = tmp_path / f"{NAME}-of-something-else"
    other.mkdir()
    command = [sys.executable, "-c", _HOLD, NAME, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        (folder / "last").mkdir()
        OwnFolder(NAME, tmp_path).remove()
        assert (folder / "last").is_dir()
        process.kill()
        process.wait()
    assert folder.is_dir()
    own = OwnFolder(NAME, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([other, own.path])
    own.remove()
    assert os.listdir(tmp_path) == [other.name]


def test_one_that_another_process_took_for_left_behind_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = own_folder.locked, list[Path]()

    def late(folder: Path) -> FileLock:
        if not taken:
            taken.append(folder)
            shutil.rmtree(folder)
            raise Timeout(str(folder))
        return lock(folder)

    monkeypatch.setattr(own_folder, "locked", late)
    own = OwnFolder(NAME, tmp_path)
    assert own.path not in taken
    assert [*tmp_path.glob(f"{NAME}-*")] == [own.path]
    own.remove()
