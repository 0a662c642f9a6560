"""A picture of something else, or of nothing, is told apart from a part with a defect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ONE_BAD, ONE_GOOD, SAMPLES, fapm
from PIL import Image, ImageOps

WORDS = "unlike the training pictures"


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lens cap, no light, noise, no part, and another product."""
    folder = tmp_path_factory.mktemp("strange")
    part = Image.open(ONE_GOOD).convert("RGB")
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    pictures = {
        "black": Image.new("RGB", part.size),
        "white": Image.new("RGB", part.size, "white"),
        "noise": Image.fromarray(noise),
        "other": ImageOps.invert(part.transpose(Image.Transpose.ROTATE_90)),
        "dark": part.point(lambda value: value // 10),
    }
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")
    return folder


def records(*arguments: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fapm("score", *arguments, "--json").json
    return found


def test_picture_unlike_all_that_was_learnt_is_told_apart_and_anomalous(
    bank: Path, strange: Path
) -> None:
    result = fapm("score", bank, strange, "--json")
    assert result.code == 1
    for record in result.json:
        assert (record["verdict"], record["unlike"]) == ("anomalous", True), record
        assert 0.5 < record["share_above"] <= 1


def test_part_with_a_defect_is_not_unlike(bank: Path) -> None:
    for record in records(bank, SAMPLES / "test"):
        assert record["unlike"] is False
        assert record["share_above"] < 0.25
        assert (record["share_above"] > 0) == (record["regions"] != [])


def test_text_says_so_in_a_last_field_of_such_pictures_alone(bank: Path, strange: Path) -> None:
    lines = fapm("score", bank, strange / "black.png", ONE_BAD).out.splitlines()
    assert [line.split("\t")[-1] for line in lines] == [WORDS, "1 region"]
    assert lines[0].split("\t")[2] == "anomalous"


def test_csv_says_so_in_a_column_behind_the_others(bank: Path, strange: Path) -> None:
    text = fapm("score", bank, strange / "black.png", ONE_BAD, "--format", "csv").out
    head, *lines = (line.split(",") for line in text.splitlines())
    assert head[-11:-7] == ["time_s", "unlike", "differs", "extent"]
    assert [line[-10:-8] for line in lines] == [["True", "grey"], ["False", ""]]


def test_share_is_of_what_is_inspected(bank: Path, strange: Path, tmp_path: Path) -> None:
    mask = Image.new("L", (320, 320))
    mask.paste(255, (0, 0, 160, 80))
    mask.save(tmp_path / "mask.png")
    (record,) = records(bank, strange / "noise.png", "--roi", tmp_path / "mask.png")
    assert record["unlike"] is True
    assert record["share_above"] > 0.9


def test_pixel_threshold_of_a_run_does_not_change_it(bank: Path) -> None:
    (record,) = records(bank, ONE_BAD, "--pixel-threshold", 0)
    assert record["unlike"] is False
    assert record["regions"][0]["area_px"] == 320 * 320


def test_scores_asked_another_way_have_no_such_field(bank: Path, strange: Path) -> None:
    (record,) = records(bank, strange / "black.png", "--sigma", 2)
    assert not {"unlike", "share_above"} & set(record)
