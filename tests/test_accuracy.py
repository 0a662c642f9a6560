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
