"""A service's temporary folder goes at its end, or, where it was killed, as the next one begins."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT

from fapm_cli.serving.own_folder import OwnFolder

_HOLD = """
from fapm_cli.serving.own_folder import OwnFolder
print(OwnFolder().path, flush=True)
input()
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_folder_goes_at_the_end(tmp_path: Path) -> None:
    own = OwnFolder()
    (own.path / "picture.png").write_bytes(b"1")
    own.remove()
    assert not [*tmp_path.iterdir()]


@pytest.mark.skipif(sys.platform == "win32", reason="folders are locked by flock")
def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    other = tmp_path / "fapm-serve-of-something-else"
    other.mkdir()
    command = [sys.executable, "-c", _HOLD]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        (folder / "last").mkdir()
        OwnFolder().remove()
        assert (folder / "last").is_dir()
        process.kill()
        process.wait()
    assert folder.is_dir()
    own = OwnFolder()
    assert sorted(tmp_path.iterdir()) == sorted([other, own.path])
    own.remove()
    assert os.listdir(tmp_path) == [other.name]
