from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ONE_GOOD, ROOT

from fapm_cli import HOMES as DOOR

PACKAGE = Path(__file__).parents[1] / "fapm_cli"

# In the order in which data flow. A folder imports from those before it; commands from all.
UNDER_ALL = [
    *("version", "errors", "files", "own_folder", "packages", "secret"),
    *("plain_values", "arrays", "config"),
]
FOLDERS = [
    *("compute", "stores", "finding", "pictures", "network", "memory", "scores", "bank", "graph"),
    "learning",
    *(
        "growing",
        "detection",
        "drift",
        "exporting",
        "engines",
        "sources",
        "drawing",
        "evaluation",
        "sinks",
        "api",
        "serving",
        "line",
        "commands",
        "cli",
        "__main__",
    ),
]
# Stages that know neither files nor what a bank is made of, nor print.
PURE = {"memory", "scores"}
MOST_LINES, MOST_FILES = 250, 12


def module_name(path: Path) -> str:
    """Name a module below the package; the package itself is the empty string."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def folder(module: str) -> str:
    return module.split(".")[0]


def level(module: str) -> int:
    if module in UNDER_ALL:
        return UNDER_ALL.index(module) - len(UNDER_ALL)
    assert folder(module) in FOLDERS, f"{module} lies in no folder that this test knows"
    return FOLDERS.index(folder(module))


def own_name(module: str | None) -> str:
    """Name a module as :func:`module_name` does; what is none of the package gets a free name."""
    return (module or "").removeprefix("fapm_cli.") if "fapm_cli" in (module or "") else "api"


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
import torch, fapm_cli, fapm_cli.bank.file
from fapm_cli.memory import grid, __doc__
from fapm_cli.errors import BankError
def body():
    from fapm_cli.detection.detector import Detector
    from fapm_cli.commands.terminal import note
"""
    found = {"", "bank.file", "memory", "memory.grid", "errors"}
    found |= {"detection.detector", "commands.terminal"}
    assert imported(ast.parse(code)) == found


@pytest.mark.parametrize("module", MODULES)
def test_a_folder_imports_from_those_before_it(module: str) -> None:
    if module == "":
        return  # the door leads everywhere
    for other in imported(ast.parse(MODULES[module].read_text("utf-8"))):
        assert other in MODULES, f"{module} imports {other}, which is not there"
        assert other, f"{module} imports the door"
        if folder(other) == folder(module):
            continue
        assert level(other) < level(module), f"{module} imports {other}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    imports = {m: imported(ast.parse(MODULES[m].read_text("utf-8"))) for m in MODULES if m}
    left = dict(imports)
    while left:  # what imports nothing that is left is done
        done = [m for m, others in left.items() if not others & (left.keys() - {m})]
        assert done, f"a circle among {sorted(left)}"
        left = {m: others for m, others in left.items() if m not in done}


# Behind the door, and yet for commands: folders, each with the reason.
BEHIND_THE_DOOR = {
    "stores": "where the paths of a shell lie is told as they are read, without torch",
    "finding": "what lies under the paths of a shell is found and named one by one, without torch",
}


@pytest.mark.parametrize("module", [m for m in MODULES if folder(m) == "commands"])
def test_commands_go_through_the_python_door(module: str) -> None:
    free = {"commands", "api", *UNDER_ALL, *BEHIND_THE_DOOR}
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and folder(name := own_name(node.module)) not in free:
            for alias in node.names:  # what the door gives may come from where it lives
                assert DOOR.get(alias.name) == name, f"{module} imports {alias.name} of {name}"


@pytest.mark.parametrize("module", MODULES)
def test_what_is_private_to_a_module_is_not_imported(module: str) -> None:
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fapm_cli"):
            assert not [a.name for a in node.names if a.name[0] == "_" and a.name[1] != "_"]


@pytest.mark.parametrize("module", [m for m in MODULES if folder(m) in PURE])
def test_pure_stages_know_no_files_no_configuration_and_do_not_print(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not {"print", "open", "Path", "BankConfig", "Preprocessing"} & names


def folders_of_modules(root: Path) -> set[str]:
    """Name the folders directly below a root that hold Python files."""
    return {path.relative_to(root).parts[0] for path in root.glob("*/**/*.py")}


def test_tests_lie_in_folders_like_the_packages() -> None:
    assert folders_of_modules(Path(__file__).parent) == folders_of_modules(PACKAGE)


def test_files_and_folders_can_be_seen_at_a_glance() -> None:
    for module, path in MODULES.items():
        lines = len(path.read_text("utf-8").splitlines())
        assert lines <= MOST_LINES, f"{module} has {lines} lines"
    for name in set(map(folder, MODULES)) - {"commands", ""}:
        files = [m for m, path in MODULES.items() if path.parent == PACKAGE / name]
        assert len(files) <= MOST_FILES, f"{name} has {len(files)} files"


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


@pytest.mark.parametrize("bank_of", ["bank", "paper_bank"], ids=["efficientnet_lite0", "resnet18"])
def test_score_imports_no_torch(bank_of: str, request: pytest.FixtureRequest) -> None:
    bank = request.getfixturevalue(bank_of)
    code, _, modules = imported_by("score", bank, ONE_GOOD, "--exit-zero")
    assert code == 0
    assert "openvino" in modules
    assert not {"torch", "torchvision", "sympy", "matplotlib", "openvino_telemetry"} & modules
    assert not {"sqlite3", "paho", "asyncua", "fapm_cli.sinks"} & modules


def test_files_that_the_project_names_are_there() -> None:
    named = re.findall(r'"((?:fapm_cli|tests)/[\w/]+\.py)"', (ROOT / "pyproject.toml").read_text())
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []
