"""The README is true: its commands run, its figures' commands parse, its format is the code's."""

from __future__ import annotations

import json
import os
import pydoc
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import made_once
from PIL import Image

import fapm_cli
from fapm_cli.bank.file import load_bank
from fapm_cli.cli import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
    ]
}

PYTHON, RECIPES = PAGES["docs/python.md"], PAGES["docs/recipes.md"]
DEPLOYMENT = PAGES["docs/deployment.md"]
NO_EXTRA = "the extra fapm[export] is not installed"

Recipe = Callable[..., "subprocess.CompletedProcess[str]"]


def shell_commands(block: str) -> list[list[str]]:
    """The fapm commands of a block, as argument lists; installing is not run here."""
    joined = block.replace("\\\n", " ").replace("&&", "\n").replace(";", "\n")
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("fapm ")]


def demo_block() -> str:
    found = re.search(r"<!-- demo -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def whole_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, where the samples are: for what is printed to the last digit."""
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def workplace(whole_samples: Path) -> Path:
    """The same with ten good parts, which are learnt sooner."""
    for path in sorted(Path("samples/good").iterdir())[10:]:
        path.unlink()
    return whole_samples


def test_demo_command_builds_scores_and_draws(workplace: Path) -> None:
    commands = shell_commands(demo_block())
    assert [arguments[0] for arguments in commands] == ["build", "score", "heatmap"]
    for arguments in commands:
        assert run(arguments) == 0, arguments
    assert (workplace / "bank.st").is_file()
    assert len(list((workplace / "out").rglob("*_heatmap.png"))) == 20


@pytest.mark.parametrize(
    "page",
    # what the page of drift prints is compared below, to the last digit
    [name for name, text in PAGES.items() if "```console" in text and name != "docs/drift.md"],
)
def test_console_blocks_run_and_print_as_many_lines(
    page: str, workplace: Path, bank_of_samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(bank_of_samples, "bank.st")
    for block in re.findall(r"```console\n(.*?)```", PAGES[page], re.DOTALL):
        command, _, printed = block.partition("\n")
        for arguments in shell_commands(command):
            if {"export", "verify", "--engine", "part.onnx"} & {*arguments}:
                pytest.importorskip("onnxruntime", reason=NO_EXTRA)
            code = run(arguments)
            assert code in (0, 1), arguments
            found = capsys.readouterr().out.splitlines()
            shown = [line for line in printed.splitlines() if line != "..."]
            if "..." not in printed:
                assert len(found) == len(shown), command


@pytest.fixture(scope="module")
def bank_of_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        assert run(["build", str(ROOT / "samples/good"), "-o", str(folder / "bank.st")]) == 0

    return made_once(tmp_path_factory, "samples", make) / "bank.st"


def write_line_log(bank: Path) -> None:
    """Write the log of a line whose lamp gets 15 % brighter with the 61st part."""
    detector, chance = fapm_cli.load(bank).detector(), random.Random(0)
    shown = [np.asarray(Image.open(path)) for path in sorted(Path("samples/test/good").iterdir())]
    with Path("line.jsonl").open("w") as log:
        number = 0
        for gain in (1.0, 1.15):
            lit = [np.asarray(np.clip(np.rint(one * gain), 0, 255), np.uint8) for one in shown]
            records = [result.record for result in detector.stream(lit)]
            for record in chance.choices(records, k=60):
                number += 1
                log.write(json.dumps({**record, "path": f"inbox/{number:04}.jpg"}) + "\n")


def test_drift_says_what_its_page_says(
    whole_samples: Path, bank_of_samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(bank_of_samples, "bank.st")
    write_line_log(bank_of_samples)
    for block in re.findall(r"```console\n(.*?)```", PAGES["docs/drift.md"], re.DOTALL):
        command, _, printed = block.partition("\n")
        (arguments,) = shell_commands(command)
        assert run(arguments) == 1
        assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    "page",
    # tests/stores runs that page's, with servers and a tar file at hand
    [name for name, text in PAGES.items() if "```sh" in text and name != "docs/elsewhere.md"],
)
def test_shell_blocks_run(page: str, workplace: Path, bank_of_samples: Path) -> None:
    shutil.copy(bank_of_samples, "bank.st")
    text = re.sub(r"<!-- (?:recipe: .*|demo|test) -->\n```.*?```", "", PAGES[page], flags=re.DOTALL)
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for arguments in shell_commands(block):
            if Path(arguments[1]).parts[0] in ("samples", "bank.st"):  # others' data is not here
                assert run(arguments) in (0, 1), arguments


def test_the_python_example_prints_what_it_says(
    whole_samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = re.search(r"```python\n(.*?)```\n\nIt prints:\n\n```text\n(.*?)```", PYTHON, re.DOTALL)
    assert found is not None
    exec(found[1], {})
    assert capsys.readouterr().out == found[2]
    assert Image.open("heat.png").size == Image.open("samples/test/stain/000.jpg").size


def test_the_deployment_example_prints_what_it_says(
    whole_samples: Path, bank_of_samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason=NO_EXTRA)
    found = re.search(
        r"```python\n(.*?)```\n\nIt prints:\n\n```text\n(.*?)```", DEPLOYMENT, re.DOTALL
    )
    assert found is not None
    assert run(["export", str(bank_of_samples), "-o", "part.onnx"]) == 0
    capsys.readouterr()
    exec(found[1], {})
    assert capsys.readouterr().out == found[2]


def test_every_file_of_the_table_of_stages_is_there() -> None:
    rows = re.findall(r"^\| `(\w+)/` \| ([\w, ]+) \|", PAGES["docs/method.md"], re.MULTILINE)
    there = {path.name for path in (ROOT / "fapm_cli").iterdir() if (path / "__init__.py").exists()}
    assert {folder for folder, _ in rows} == there - {"api"}
    for folder, names in rows:
        if folder != "commands":  # one file a command
            for name in names.split(", "):
                assert list((ROOT / "fapm_cli" / folder).glob(f"{name}*")), f"{folder}/{name}"


def test_every_link_leads_somewhere() -> None:
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if "://" in path:
                continue
            there = ((ROOT / page).parent / path).resolve() if path else ROOT / page
            assert there.exists(), f"{page}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
                assert anchor in map(slug, headings), f"{page}: {target}"


def test_drawn_pictures_are_well_formed() -> None:
    drawn = list((ROOT / "docs").glob("*.svg"))
    assert drawn
    for picture in drawn:
        assert ElementTree.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_help_page_shows_no_address_of_an_object() -> None:
    assert " at 0x" not in pydoc.render_doc(fapm_cli)


def slug(heading: str) -> str:
    """A heading's address."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# --- Recipes -----------------------------------------------------------------------------------

HOSTILE = [
    "-bad.jpg",
    "bad\n   0.1\tfake\tok\t.jpg",
    os.fsdecode(b"\xb2\xbf.jpg"),
    "a/1.jpg",
    "b/1.jpg",
]


@pytest.fixture
def recipe(workplace: Path, bank: Path, program: str) -> Recipe:
    """Run a recipe of the docs where the samples and a bank.st are.

    ``failing`` is what the shell does in place of ``fapm``, by the name of the command.
    """
    shutil.copy(bank, "bank.st")
    path = f"{workplace / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}

    def run_recipe(
        name: str, *arguments: object, failing: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        found = re.search(rf"<!-- recipe: {name} -->\n```\w+\n(.*?)```", RECIPES, re.DOTALL)
        assert found is not None
        Path(name).write_text(found[1])
        cases = "".join(f"{key}) {what} ;;\n" for key, what in (failing or {}).items())
        shim = f'#!/bin/sh\ncase $1 in\n{cases}*) exec {program} "$@"\nesac\n'
        Path("bin").mkdir(exist_ok=True)
        Path("bin/fapm").write_text(shim)
        Path("bin/fapm").chmod(0o755)
        command = [sys.executable if name.endswith(".py") else "sh", name, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)

    return run_recipe


def fill(folder: str, kind: str, names: list[str]) -> Path:
    """Make a folder of sample pictures of a kind (s* for scratch and stain) under these names."""
    sources = sorted((ROOT / "samples" / "test").glob(f"{kind}/*.jpg"))[: len(names)]
    for source, name in zip(sources, names, strict=True):
        (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, Path(folder) / name)
    return Path(folder)


def test_ci_recipe_fails_on_anomalous_pictures_and_keeps_evidence(
    recipe: Recipe,
) -> None:
    odd = fill("-all", "good", ["0.jpg", *HOSTILE])
    shutil.copy("samples/test/stain/000.jpg", odd / "stain\n.jpg")
    shutil.copy("bank.st", "-bank.st")
    assert recipe("ci.sh", "-bank.st", odd, "-out").returncode == 1
    records = [json.loads(line) for line in Path("-out/scores.jsonl").read_text().splitlines()]
    assert {one["path"] for one in records} == {str(p) for p in odd.rglob("*.jpg")}
    assert "<title>" in Path("-out/report.html").read_text()


def test_ci_recipe_tells_good_from_unreadable_and_fails_where_fapm_does(recipe: Recipe) -> None:
    good = fill("some", "good", ["0.jpg"])
    assert recipe("ci.sh", "bank.st", good, "good").returncode == 0
    (good / "broken.png").write_bytes(b"no picture")
    drawn, killed = {"heatmap": "exit 0"}, "kill -9 $$"
    assert recipe("ci.sh", "bank.st", good, "broken", failing=drawn).returncode == 2
    unscored = recipe("ci.sh", "bank.st", good, "out", failing={"score": killed, **drawn})
    assert unscored.returncode not in (0, 1)
    undrawn = recipe("ci.sh", "bank.st", good, "out", failing={"score": ":", "heatmap": killed})
    assert undrawn.returncode == 2


def test_line_recipe_takes_out_what_is_not_ok_under_any_name_and_overwrites_nothing(
    recipe: Recipe,
) -> None:
    inbox = fill("-in box", "good", ["a good one.jpg"])
    fill("-in box", "s*", HOSTILE)
    (inbox / "broken.jpg").write_bytes(b"no picture")
    with_bad = ("-bank.st", inbox, "-rejected", "--limit", 6)
    shutil.copy("bank.st", "-bank.st")
    done = recipe("line.py", *with_bad)
    assert done.returncode == 1, done.stderr
    assert {str(p.relative_to("-rejected")) for p in Path("-rejected").rglob("*.jpg")} == {*HOSTILE}
    first = {path: path.read_bytes() for path in Path("-rejected").rglob("*.jpg")}
    assert len(set(first.values())) == len(HOSTILE)
    assert len(done.stdout.splitlines()) == 6
    assert re.search(r" ok [\d.]+ '-in box/a good one.jpg'$", done.stdout, re.MULTILINE)
    recipe("line.py", *with_bad)
    second = {path: path.read_bytes() for path in Path("-rejected").rglob("*.jpg")}
    assert first.items() <= second.items()
    assert len(second) == 2 * len(HOSTILE)
    assert "-bad_2.jpg" in os.listdir("-rejected")


def test_line_recipe_fails_where_fapm_does(recipe: Recipe) -> None:
    inbox = fill("inbox", "good", ["0.jpg"])
    done = recipe("line.py", "bank.st", inbox, "out", failing={"score": "kill -9 $$"})
    assert done.returncode not in (0, 1)


def test_nightly_recipe_keeps_the_threshold_where_a_known_defect_would_pass(
    recipe: Recipe,
) -> None:
    before = Path("bank.st").read_bytes()
    few = "--allow-few"
    assert (
        recipe("nightly.sh", "bank.st", "samples/test/good", "samples/test/stain").returncode == 2
    )
    done = recipe("nightly.sh", "bank.st", "samples/test/good", "samples/good/000.jpg", few)
    assert (done.returncode, "1 known defects would pass" in done.stderr) == (1, True)
    assert Path("bank.st").read_bytes() == before
    failing = {"calibrate": "exit 2"}
    folders = ("samples/test/good", "samples/test/stain")
    assert recipe("nightly.sh", "bank.st", *folders, failing=failing).returncode == 2
    assert Path("bank.st").read_bytes() == before
    odd = Path("-b\tank\n.st")
    shutil.copy("bank.st", odd)
    good = fill("-good\n", "good", [*HOSTILE, "5.jpg", "6.jpg", "7.jpg"])
    done = recipe("nightly.sh", odd, good, fill("-bad\t", "s*", HOSTILE), few)
    assert done.returncode == 0, done.stderr
    assert load_bank(odd).thresholds.num_pictures == 8
    assert not list(Path().glob("*.new*"))


@pytest.mark.parametrize("failing", [{"score": "kill -9 $$"}, {"score": "exit 0"}])
def test_nightly_recipe_keeps_the_bank_where_nothing_was_scored(
    recipe: Recipe, failing: dict[str, str]
) -> None:
    before = Path("bank.st").read_bytes()
    done = recipe(
        "nightly.sh",
        "bank.st",
        "samples/test/good",
        "samples/test/stain",
        failing={"calibrate": "cp bank.st bank.st.new", **failing},
    )
    assert done.returncode != 0
    assert Path("bank.st").read_bytes() == before
    assert not list(Path().glob("*.new*"))
