"""The recipes of docs/service.md that ask a service."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ONE_BAD, ONE_GOOD, ROOT
from servers import Server, serving

PAGE = (ROOT / "docs" / "service.md").read_text("utf-8")


@pytest.fixture(scope="module")
def server(bank: Path) -> Iterator[Server]:
    with serving({"bank": bank}) as running:
        yield running


def run(
    server: Server, folder: Path, name: str, *pictures: Path
) -> subprocess.CompletedProcess[str]:
    found = re.search(rf"<!-- recipe: {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    (folder / name).write_text(found[1])
    program = {".sh": "sh", ".py": sys.executable}[Path(name).suffix]
    address = f"http://{server.host}:{server.port}"
    return subprocess.run(
        [program, folder / name, address, "bank", *pictures],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_shell_asks(server: Server, tmp_path: Path) -> None:
    asked = [run(server, tmp_path, "ask.sh", one) for one in (ONE_GOOD, ONE_BAD, tmp_path / "no")]
    assert [one.returncode for one in asked] == [0, 1, 2]
    assert '"verdict":"ok"' in asked[0].stdout


def test_python_asks(server: Server, tmp_path: Path) -> None:
    odd = tmp_path / "ü\n&.jpg"
    odd.write_bytes(ONE_BAD.read_bytes())
    named = ONE_GOOD.with_name("000.jpg")
    done = run(server, tmp_path, "ask.py", named, ONE_BAD)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["ok", "anomalous"], done.stderr
    assert lines[0][2] == "'000.jpg'"
    done = run(server, tmp_path, "ask.py", odd, Path(__file__))
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["unreadable"] * 2
