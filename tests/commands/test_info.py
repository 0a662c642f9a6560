"""``fapm info`` shows what a bank holds."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from conftest import GOOD, build, fapm


def test_info_shows_what_the_bank_holds(bank: Path) -> None:
    result = fapm("info", bank)
    assert (result.code, result.err) == (0, "")
    for text in ("12, 000.jpg to 011.jpg", "efficientnet_lite0", "224x224", "grid 7x7", "E"):
        assert text in result.out
    for layer in ("block4_depthwise", "block5_expand"):
        assert re.search(rf"{layer}  \d+ keys of \d+ values, \d+ of 49 patches", result.out)


def test_info_says_what_its_grids_show_with_a_scale_up_to_the_widest(bank: Path) -> None:
    shown = fapm("info", bank).out
    for words in ("7x7 patches", "radius r", "feature units", "* is a widened patch"):
        assert words in shown
    scales = re.findall(r"^scale (.*)$", shown, re.MULTILINE)
    memories = fapm("info", bank, "--json").json["memories"].values()
    for scale, memory in zip(scales, memories, strict=True):
        steps = [float(step) for step in scale.split()]
        assert steps[0] == 0
        assert steps[-1] == pytest.approx(max(memory["radius_sq"]) ** 0.5, abs=0.01)


def test_info_says_that_the_paper_preset_crops(paper_bank: Path) -> None:
    assert "256x256 px, crop 224x224" in fapm("info", paper_bank).out


def test_info_json_holds_the_whole_header(bank: Path) -> None:
    described = fapm("info", bank, "--json").json
    assert described["config"]["backbone"] == "efficientnet_lite0"
    assert described["variant"] == "E"
    assert described["weights"] == "own"
    assert re.fullmatch(r"[0-9a-f]{64}", described["weights_hash"])
    assert described["backbone_embedded"] is True
    assert {"fapm", "torch"} <= set(described["versions"])
    assert [picture["name"] for picture in described["pictures"]] == [p.name for p in GOOD[:12]]
    assert all(re.fullmatch(r"[0-9a-f]{64}", p["sha256"]) for p in described["pictures"])
    assert all(picture["score"] > 0 for picture in described["pictures"])
    for memory in described["memories"].values():
        assert len(memory["key_counts"]) == len(memory["radius_sq"]) == len(memory["widened"]) == 49


def test_info_shows_picture_names_literally(tmp_path: Path) -> None:
    picture = tmp_path / "part[red]7.jpg"
    shutil.copy(GOOD[0], picture)
    target = build(tmp_path / "bank.st", [picture])
    assert "part[red]7.jpg" in fapm("info", target).out
