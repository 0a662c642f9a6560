"""What the command-line tests share: calling ``fapm``, and one bank of the sample pictures."""

from __future__ import annotations

import functools
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before torch is imported: where cores are shared, threads that wait for one another are slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What vector units there are is torch's own matter: to ask, it compiles six programs, and starts
# itself anew once a core.
os.environ |= {"TORCHINDUCTOR_VEC_ISA_OK": "0", "TORCHINDUCTOR_COMPILE_THREADS": "1"}

import forked
import pytest
import torch
from compiled import Graphs
from filelock import FileLock
from hypothesis import settings

from fapm_cli.cli import run
from fapm_cli.evaluation import speed
from fapm_cli.network import weights

# A busy machine is no fault of what is tested.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "samples"
GOOD = sorted((SAMPLES / "good").glob("*.jpg"))
ONE_GOOD = SAMPLES / "test" / "good" / "000.jpg"
ONE_BAD = SAMPLES / "test" / "stain" / "000.jpg"
# A shell has what it starts in the background ignore Ctrl-C; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)
_GRAPHS = Graphs()
_CUDA_IS_AVAILABLE, _VISIBLE = torch.cuda.is_available, os.environ.get("CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class Result:
    """What a run of the command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, read as one JSON value."""
        return json.loads(self.out, parse_constant=_refuse)

    @property
    def scores(self) -> dict[str, float]:
        """Score by path, of a JSON array of records."""
        return {record["path"]: record["score"] for record in self.json}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def fapm(*arguments: object, stdin: str | None = None) -> Result:
    """Run ``fapm`` in this process."""
    out, err, own_stdin = io.StringIO(), io.StringIO(), sys.stdin
    if stdin is not None:
        sys.stdin = io.StringIO(stdin)
    try:
        with redirect_stdout(out), redirect_stderr(err), _GRAPHS.lent():
            code = run([str(argument) for argument in arguments])
    finally:
        sys.stdin = own_stdin
    return Result(code, out.getvalue(), err.getvalue())


def build(bank: Path, pictures: Iterable[Path], *options: object) -> Path:
    """Build a bank and say where it is; noted are but few pictures, and what to do of suspects.

    By the plain metric, unless another is asked for: choosing one takes longer than all the rest.
    """
    if not {"--metric", "--preset"} & set(options):
        options = ("--metric", "plain", *options)
    result = fapm("build", *pictures, "-o", bank, *options)
    assert result.code == 0, result
    usual = (
        "good pictures can't promise",
        "without the suspects",
        "what is odd about them",
        "as full as",
    )
    assert all(any(note in line for note in usual) for line in result.err.splitlines()), result
    return bank


def assert_fails(result: Result, *words: str, code: int = 2) -> None:
    """Check the manners of a failure: its code, and one line on stderr that says the words."""
    assert result.code == code, result
    lines = result.err.splitlines()
    assert len(lines) == 1, result
    assert lines[0].startswith("fapm: ")
    for word in words:
        assert word in lines[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have what needs a running Ray come first: what is last may be done by two processes, each of
    which then starts one.
    """
    items.sort(key=lambda item: "ray" not in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session", autouse=True)
def _on_the_cpu() -> Iterator[None]:
    """Have ``auto`` mean the CPU, whatever this machine has: what it prints is then the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", bool)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")  # for the programs that tests start
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_weights_are_read_once() -> Iterator[None]:
    """Have a build begin with the weights that another one read: most read the same file."""
    with pytest.MonkeyPatch.context() as patch:
        read, own = weights._read_torch, weights.packaged_weights()
        once = functools.cache(functools.partial(read, own))
        patch.setattr(weights, "_read_torch", lambda p: {**once()} if p == own else read(p))
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_timed_rounds() -> Iterator[None]:
    """Have ``eval`` time a picture no longer than it takes to have a figure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "_WARM_UP", 1)
        patch.setattr(speed, "_RUNS", 2)
        yield


@pytest.fixture(autouse=True)
def _on_cuda(request: pytest.FixtureRequest, _on_the_cpu: None) -> Iterator[None]:
    """Have tests marked ``cuda`` see the card that there is."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("cuda") is not None:
            patch.setattr(torch.cuda, "is_available", _CUDA_IS_AVAILABLE)
            if _VISIBLE is None:
                patch.delenv("CUDA_VISIBLE_DEVICES")
            else:
                patch.setenv("CUDA_VISIBLE_DEVICES", _VISIBLE)
        yield


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory, _on_the_cpu: None) -> Iterator[str]:
    """What a shell calls ``fapm`` by, in a process of its own that starts at once."""
    address = tmp_path_factory.mktemp("forks") / "at"
    serve = [sys.executable, "-c", f"import forked; forked.serve({str(address)!r})"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    null = subprocess.DEVNULL
    with subprocess.Popen(serve, env=environment, stdin=null, stdout=null) as waiting:
        while not address.exists():
            assert waiting.poll() is None
            time.sleep(0.01)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(forked.ADDRESS, str(address))
            yield shlex.join((sys.executable, "-SE", str(ROOT / "tests" / "forked.py")))
        waiting.kill()


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one of the test processes fills, and all of them read."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, making = base / name, base / f"{name}.part"
    with FileLock(base / f"{name}.lock"):
        if not folder.exists():
            making.mkdir()
            make(making)
            making.rename(folder)
    return folder


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of 12 good sample pictures."""
    folder = made_once(tmp_path_factory, "bank", lambda f: build(f / "bank.st", GOOD[:12]))
    return folder / "bank.st"


@pytest.fixture(scope="session")
def own_bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of 16 of them, of 160 px, whose patches have metrics of their own: the default."""
    options = ("--metric", "own", "--no-thumbnails", "--size", "160")
    folder = made_once(tmp_path_factory, "own", lambda f: build(f / "bank.st", GOOD[:16], *options))
    return folder / "bank.st"


@pytest.fixture(scope="session")
def paper_bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of the paper's preset, cropping, with a small random network."""
    options = ("--preset", "paper", "--backbone", "resnet18", "--weights", "random")
    folder = made_once(
        tmp_path_factory, "paper", lambda f: build(f / "paper.st", GOOD[:4], *options)
    )
    return folder / "paper.st"
