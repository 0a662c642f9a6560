"""Accuracy on real pictures, through the commands alone; needs ../shared/data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fapm_cli.cli import run

SHARED = Path(__file__).parent.parent.parent / "shared"
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


def auroc_of_score(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, category: str, *options: str
) -> float:
    """Image AUROC from what ``fapm score --json`` says, as a script would compute it."""
    from sklearn.metrics import roc_auc_score

    bank = str(tmp_path / "bank.st")
    assert run(["build", str(DATA / category / "train/good"), "-o", bank, *options]) == 0
    capsys.readouterr()
    run(["score", bank, str(DATA / category / "test"), "--json"])
    records = json.loads(capsys.readouterr().out)
    labels = [Path(record["path"]).parent.name != "good" for record in records]
    return 100 * float(roc_auc_score(labels, [record["score"] for record in records]))


def test_default_finds_defective_bottles(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert auroc_of_score(capsys, tmp_path, "bottle") >= 99.9


def test_default_finds_defective_screws(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert auroc_of_score(capsys, tmp_path, "screw") >= 95.5


def test_resnet18_holds_its_accuracy_and_adaptive_is_not_below_fixed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not RESNET18.is_file():
        pytest.skip("resnet18's weights are not beside the project")
    options = ("--backbone", "resnet18", "--weights", str(RESNET18))
    fixed, adaptive = evaluate(capsys, str(DATA / "screw"), "--variants", "D,E", *options)
    assert 100 * adaptive["image_auroc"] >= 97.5
    assert 100 * adaptive["pixel_auroc"] >= 99.2
    assert adaptive["image_auroc"] >= fixed["image_auroc"] - 1e-9
    (bottle,) = evaluate(capsys, str(DATA / "bottle"), *options)
    assert bottle["image_auroc"] == 1.0
    assert 100 * bottle["pixel_auroc"] >= 98.3


def test_pixels_of_the_default_are_told_apart_and_calibration_loses_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = str(DATA / "screw")
    (local,) = evaluate(capsys, root)
    (none,) = evaluate(capsys, root, "--calibration", "none")
    assert 100 * local["pixel_auroc"] >= 99.2
    assert local["image_auroc"] >= none["image_auroc"] - 0.001
    assert local["pixel_auroc"] >= none["pixel_auroc"] - 0.001
