from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import GOOD, ONE_GOOD, build

PACKAGE = Path(__file__).parents[1] / "fapm_cli"

# From the bottom up. An import goes to a lower layer only.
LAYERS = [
    {"", "errors", "resnet", "efficientnet_lite"},
    {
        *("grid", "geometry", "config", "device", "files", "plan", "backbones", "weights"),
        *("thumbnails", "threshold", "nominal_pictures", "finding", "twins", "seen"),
    },
    {"packed", "products", "decoding"},
    {"int8", "running"},
    {
        *("extraction", "coreset", "knn", "bank", "scoring"),
        *("metrics", "images", "timing", "feeding", "drawing", "calibration", "regions"),
    },
    # Plots draw what metrics found, reports show what was judged; the engine and they know
    # nothing of one another.
    {"engine", "plots", "report"},
    {"commands.colour", "commands.formats", "commands.parsing"},
    {"commands.common", "commands.options"},
    {"commands.making", "commands.records", "commands.help"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
# Siblings that may: a network's names and its weights' types are one matter; a bank holds a
# calibration.
ALLOWED_SIBLINGS = {("backbones", "weights"), ("bank", "calibration")}


def module_name(path: Path) -> str:
    """Name a module below the package; the package itself is the empty string."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def unit(module: str) -> str:
    """What a module counts as: the engine is one unit, what commands share is not theirs."""
    if module.startswith("engine"):
        return "engine"
    shared = {name for layer in LAYERS for name in layer if name.startswith("commands.")}
    if module.startswith("commands.") and module not in shared:
        return "commands"
    return module


def level(module: str) -> int:
    levels = [i for i, layer in enumerate(LAYERS) if unit(module) in layer]
    assert len(levels) == 1, f"{module} stands in no layer of this test: say where it belongs"
    return levels[0]


def imported(tree: ast.AST) -> set[str]:
    """The package's own modules that are imported anywhere in a file, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they go"
            module = node.module or ""
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                is_module = submodule.removeprefix("fapm_cli.") in MODULES
                found.add(submodule if is_module else module)
    own = {name for name in found if name.split(".")[0] == "fapm_cli"}
    return {name.removeprefix("fapm_cli").removeprefix(".") for name in own}


def test_the_import_reader_sees_every_way_to_import() -> None:
    code = """
import torch, fapm_cli, fapm_cli.bank
from fapm_cli import grid, __version__
from fapm_cli.errors import BankError
def body():
    from fapm_cli.engine import Detector
    from fapm_cli.commands.common import note
"""
    found = {"", "bank", "grid", "errors", "engine", "commands.common"}
    assert imported(ast.parse(code)) == found


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_go_down(module: str) -> None:
    for other in imported(ast.parse(MODULES[module].read_text("utf-8"))):
        assert other in MODULES, f"{module} imports {other}, which is not there"
        inside_the_engine = unit(module) == unit(other) == "engine"
        if not inside_the_engine and (module, other) not in ALLOWED_SIBLINGS:
            assert level(other) < level(module), f"{module} imports {other}"


def test_every_unit_that_the_layers_name_is_there_once() -> None:
    named = [name for layer in LAYERS for name in layer]
    assert len(named) == len(set(named))
    assert {unit(module) for module in MODULES} >= set(named)


HEAVY = {"torch", "torchvision", "numpy", "cv2", "PIL", "safetensors"}


def imported_by(*arguments: object) -> tuple[int, list[str], set[str]]:
    """Exit code, lines shown and modules imported of a command in a process of its own."""
    script = (
        "import json, sys; from fapm_cli.cli import run; code = run(json.loads(sys.argv[1])); "
        "print(); print(json.dumps([code, sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps([str(a) for a in arguments])],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *shown, last = done.stdout.splitlines()
    code, modules = json.loads(last)
    return code, shown, set(modules)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["score", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code, shown, modules = imported_by(*arguments)
    assert code == 0
    assert any("fapm" in line for line in shown)
    assert "fapm_cli" in modules
    assert not HEAVY & modules


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "resnet18"])
def test_score_imports_no_compiler_and_no_networks(tmp_path: Path, backbone: str) -> None:
    options = ["--backbone", backbone, "--weights", "random"] if backbone == "resnet18" else []
    bank = build(tmp_path / "bank.st", GOOD[:3], *options)
    code, _, modules = imported_by("score", bank, ONE_GOOD, "--exit-zero")
    assert code == 0
    assert "torch" in modules
    assert not {"torch._dynamo", "torchvision", "sympy", "matplotlib"} & modules
