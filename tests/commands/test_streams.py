"""Streams and faults that nobody foresaw: one line on stderr and 2, since 1 means anomalous."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import GOOD, ONE_GOOD, SAMPLES, assert_fails, build, fapm

from fapm_cli.cli import app

posix = pytest.mark.skipif(os.name != "posix", reason="a POSIX shell's ways")


def shell(script: str, *arguments: object, **environment: str) -> tuple[int, bytes, bytes]:
    """Run a shell script, in which ``fapm`` is this one; its exit code, stdout and stderr."""
    program = f'fapm() {{ "{sys.executable}" -m fapm_cli "$@"; }}\n'
    done = subprocess.run(
        ["sh", "-c", program + script, "sh", *map(str, arguments)],
        capture_output=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@posix
def test_closed_stdout_is_an_error_in_one_line(bank: Path) -> None:
    code, _, err = shell('fapm score "$@" >&-', bank, ONE_GOOD)
    assert (code, err) == (2, b"fapm: can't write output: stdout is closed\n")


@posix
def test_closed_stderr_and_stdin_change_no_verdict_and_no_bank(bank: Path, tmp_path: Path) -> None:
    code, out, _ = shell('fapm score "$@" 2>&- <&-', bank, ONE_GOOD)
    assert code == 0
    assert len(out.splitlines()) == 1
    assert shell('fapm score "$@" 2>&-', bank, tmp_path / "missing.png")[0] == 2
    closed = tmp_path / "closed.st"
    assert shell('fapm build "$@" 2>&- <&-', *GOOD[:3], "--metric", "plain", "-o", closed)[0] == 0
    assert closed.read_bytes() == build(tmp_path / "open.st", GOOD[:3]).read_bytes()


@posix
def test_stderr_on_a_full_disk_changes_no_exit_code(bank: Path, tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    code, out, _ = shell('fapm score "$@" 2>/dev/full', bank, ONE_GOOD, tmp_path / "missing.png")
    assert (code, len(out.splitlines())) == (2, 2)
    assert shell('fapm score "$@" --sigma 3 2>/dev/full', bank, ONE_GOOD)[0] == 0


@posix
def test_paths_from_a_closed_stdin_are_an_error_in_one_line(bank: Path) -> None:
    code, _, err = shell('fapm score "$1" - <&-', bank)
    assert code == 2
    assert len(err.splitlines()) == 1


@posix
@pytest.mark.parametrize("encoding", ["ascii", "cp1252:strict", "utf-16"])
def test_names_of_any_bytes_come_through_stdin_in_any_encoding(
    encoding: str, bank: Path, tmp_path: Path
) -> None:
    names = [b"\xff.jpg", "ü漢.jpg".encode(), b"a\rb.jpg", b" space .jpg"]
    for name in names:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_bytes(ONE_GOOD.read_bytes())
    (tmp_path / "list").write_bytes(b"\n".join(names) + b"\nmissing\xff.jpg\n")
    script = 'cd "$2" && fapm score "$1" - --format jsonl < list'
    code, out, err = shell(script, bank, tmp_path, PYTHONIOENCODING=encoding)
    assert code == 2
    assert len(err.decode("utf-16" if encoding == "utf-16" else "ascii").splitlines()) == 0
    records = out.decode("utf-16" if encoding == "utf-16" else "ascii").splitlines()
    assert ['"error"' in record for record in records] == [False] * 4 + [True]


FAULTS = [
    RuntimeError("something\nof two lines"),
    MemoryError(),
    ImportError("No module named 'cv2'", name="cv2"),
    OSError(5, "Input/output error"),
    OSError(5, "Input/output error", "weights.bin"),
    KeyError("name"),
    RecursionError("too deep"),
    AssertionError(),
]


PLACES = {
    "build": "fapm_cli.commands.build.find_named",
    "add": "fapm_cli.commands.grow.find_named",
    "merge": "fapm_cli.api.learning.merge_banks",
    "calibrate": "fapm_cli.commands.calibrate.find_named",
    "score": "fapm_cli.commands.score.find_named",
    "serve": "fapm_cli.serving.serve.serve",
    "check": "fapm_cli.line.check.check_line",
    "heatmap": "fapm_cli.commands.heatmap.find_named",
    "eval": "fapm_cli.commands.eval.learning_choices",
    "bench": "fapm_cli.api.bank.read_bank",
    "info": "fapm_cli.api.bank.read_bank",
    "drift": "fapm_cli.drift.history.History",
    "export": "fapm_cli.api.bank.read_bank",
    "verify": "fapm_cli.api.bank.read_bank",
}


def test_a_place_to_fail_is_known_of_every_command() -> None:
    assert {command.name for command in app.registered_commands} == PLACES.keys()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize(("command", "place"), PLACES.items())
def test_any_fault_of_any_command_is_one_line_and_2(
    command: str,
    place: str,
    fault: Exception,
    bank: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(place, fail)
    output = ("-o", tmp_path / "out")
    arguments: dict[str, tuple[object, ...]] = {
        "build": (GOOD[0], *output),
        "add": (bank, GOOD[0], *output),
        "merge": (bank, bank, *output),
        "calibrate": (bank, GOOD[0], *output),
        "score": (bank, GOOD[0]),
        "heatmap": (bank, GOOD[0], *output),
        "eval": (SAMPLES,),
        "bench": (bank,),
        "info": (bank,),
        "serve": (bank,),
        "check": (bank,),
        "drift": (bank,),
        "export": (bank, *output),
        "verify": (bank, bank),
    }
    result = fapm(command, *arguments[command])
    assert_fails(result)
    assert "write output" not in result.err
    if isinstance(fault, ImportError):
        assert "cv2" in result.err
    if isinstance(fault, OSError) and fault.filename:
        assert "weights.bin" in result.err


def test_a_fault_is_shown_whole_only_when_asked(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("name")

    monkeypatch.setattr("fapm_cli.api.bank.read_bank", fail)
    assert "Traceback" not in fapm("info", bank).err
    monkeypatch.setenv("FAPM_DEBUG", "1")
    assert "Traceback" in fapm("info", bank).err


@pytest.mark.parametrize("package", ["typer", "safetensors", "PIL"])
def test_a_broken_package_is_named(package: str, bank: Path, tmp_path: Path) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ImportError('broken', name={package!r})")
    code, _, err = shell('fapm info "$@"', bank, PYTHONPATH=str(tmp_path))
    assert code == 2
    assert err.decode().startswith(f"fapm: {package} can't be imported (broken)")
    assert len(err.splitlines()) == 1
