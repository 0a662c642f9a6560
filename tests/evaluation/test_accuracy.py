"""Accuracy on real pictures, through the commands alone; needs ../shared/data.

The sets that take longer are those of benchmarks/accuracy.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import ROOT

from fapm_cli.cli import run

SHARED = ROOT.parent / "shared"
DATA = SHARED / "data" / "mvtec_ad"
RESNET18 = SHARED / "weights" / "resnet18-imagenet-to-layer3.pth"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason="real pictures are not beside the project"),
]


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert run(["eval", *arguments, "--json"]) == 0
    records: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return records


def test_default_finds_defective_bottles(capsys: pytest.CaptureFixture[str]) -> None:
    (bottle,) = evaluate(capsys, str(DATA / "bottle"))
    assert 100 * bottle["image_auroc"] >= 99.9
    assert 100 * bottle["pixel_auroc"] >= 98.6


def test_resnet18_holds_its_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    if not RESNET18.is_file():
        pytest.skip("resnet18's weights are not beside the project")
    options = ("--backbone", "resnet18", "--weights", str(RESNET18))
    (bottle,) = evaluate(capsys, str(DATA / "bottle"), *options)
    assert bottle["image_auroc"] == 1.0
    assert 100 * bottle["pixel_auroc"] >= 98.3
