"""Turned copies give keys, and count for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import GOOD, build, fapm
from PIL import Image

from fapm_cli.bank.file import load_bank
from fapm_cli.config import BankConfig
from fapm_cli.learning.turned import angles, cells_before, turned_copies

SMALL = ("--size", "96")


def test_copies_are_turned_by_the_multiples_of_the_step() -> None:
    assert [*angles(0)] == []
    assert [*angles(90)] == [90, 180, 270]
    assert len(angles(20)) == 17
    picture = torch.randint(256, (32, 32, 3), dtype=torch.uint8)
    for number, copy in enumerate(turned_copies(picture, 90), start=1):
        torch.testing.assert_close(copy, picture.rot90(number), rtol=0, atol=1)


def test_what_comes_in_from_outside_goes_on_from_the_rim() -> None:
    picture = torch.full((32, 64, 3), 77, dtype=torch.uint8)
    assert bool((turned_copies(picture, 45) == 77).all())


@pytest.mark.parametrize("number", [0, 1, 2])
def test_places_of_a_copy_are_told_where_they_were_in_the_picture(number: int) -> None:
    places = torch.arange(36).view(6, 6)
    turned = places.rot90(number + 1)
    cells = torch.arange(36)
    copies = torch.full((36,), number)
    assert cells_before(cells, copies, 90, (6, 6)).tolist() == turned.flatten().tolist()


def test_places_that_came_from_outside_are_told_at_the_rim() -> None:
    cells = cells_before(torch.arange(32), torch.zeros(32, dtype=torch.int64), 90, (4, 8))
    assert int(cells.min()) >= 0
    assert int(cells.max()) < 32


@pytest.mark.parametrize("step", [1, 4, 7, 200, -20])
def test_steps_that_do_not_go_round_are_refused(tmp_path: Path, step: int) -> None:
    result = fapm("build", GOOD[0], "-o", tmp_path / "bank.st", "--turn", step)
    assert result.code == 2
    assert f"turn {step}: wanted 0, or 5 to 180 degrees that divide 360" in result.err


def test_a_turned_part_is_known_and_pictures_are_counted_once(tmp_path: Path) -> None:
    plain = build(tmp_path / "plain.st", GOOD[:4], *SMALL)
    turned = build(tmp_path / "turned.st", GOOD[:4], *SMALL, "--turn", "90")
    with Image.open(GOOD[1]) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "part.png")
    scores = [
        fapm("score", bank, tmp_path / "part.png", "--json", "--exit-zero").json[0]
        for bank in (plain, turned)
    ]
    assert scores[1]["score"] < 0.7 * scores[0]["score"]
    known = load_bank(turned)
    assert known.config.turn == 90
    assert len(known.pictures) == known.num_groups == known.thresholds.num_pictures == 4
    for memory in known.memories:
        assert int(memory.key_pictures.max()) < 4
        assert int(memory.key_pictures.min()) >= 0


def test_a_picture_is_judged_without_its_own_copies(tmp_path: Path) -> None:
    """A part that looks the same upside down would else be its own twin."""
    for path in GOOD[:2]:
        with Image.open(path) as image:
            over = image.transpose(Image.Transpose.ROTATE_180)
            Image.blend(image, over, 0.5).save(tmp_path / f"{path.stem}.png")
    parts = sorted(tmp_path.glob("*.png"))
    plain = build(tmp_path / "plain.st", parts, *SMALL)
    turned = build(tmp_path / "turned.st", parts, *SMALL, "--turn", "180")
    for one, other in zip(load_bank(plain).pictures, load_bank(turned).pictures, strict=True):
        assert other.score > 0.5 * one.score > 0


def test_grown_banks_turn_what_they_learn(tmp_path: Path) -> None:
    turn = (*SMALL, "--turn", "180")
    whole = build(tmp_path / "whole.st", GOOD[:4], *turn)
    some = build(tmp_path / "some.st", GOOD[:3], *turn)
    grown = tmp_path / "grown.st"
    assert fapm("add", some, GOOD[3], "-o", grown).code == 0
    assert len(load_bank(grown).memories[0].keys) == len(load_bank(whole).memories[0].keys)
    assert torch.equal(load_bank(grown).memories[0].keys, load_bank(whole).memories[0].keys)
    lean = build(tmp_path / "lean.st", GOOD[:3], *turn, "--no-thumbnails")
    assert fapm("add", lean, GOOD[3], "-o", grown).code == 0
    counts = load_bank(grown).memories[0].key_counts
    assert int(counts.sum()) >= 0.9 * len(load_bank(whole).memories[0].keys)


def test_a_configuration_of_before_turns_nothing() -> None:
    from fapm_cli.bank.presets import default_config

    plain = default_config().to_json()
    del plain["turn"]
    assert BankConfig.from_json(plain).turn == 0
