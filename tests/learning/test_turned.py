"""Turned copies give keys, and count for nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import GOOD, assert_fails, build, fapm
from PIL import Image

from fapm_cli.bank.file import load_bank
from fapm_cli.bank.presets import default_config, paper_config
from fapm_cli.config import BankConfig
from fapm_cli.learning import turned
from fapm_cli.learning.turned import (
    angles,
    cells_before,
    parts_turn,
    turned_copies,
    usual_step,
    with_turn,
)
from fapm_cli.pictures.preparing import Pixels

SMALL = ("--size", "64")


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
    plain = default_config().to_json()
    del plain["turn"], plain["turn_found"]
    before = BankConfig.from_json(plain)
    assert before.turn == 0
    assert not before.turn_found


# --- Found by the pictures themselves ------------------------------------------------------------


def key(number: int, angle: float, height: int = 90, width: int = 120) -> Pixels:
    """A long bright part with a head at one end, a little different each time, on a dark ground."""
    draw = np.random.default_rng(number)
    picture = np.full((height, width, 3), 40, np.uint8)
    middle = height // 2, width // 2
    cv2.rectangle(
        picture, (middle[1] - 30, middle[0] - 6), (middle[1] + 30, middle[0] + 6), 200, -1
    )
    cv2.circle(picture, (middle[1] - 26, middle[0]), 12, (220, 180, 60), -1)
    turned = turned_copies(torch.from_numpy(picture), 5)[int(angle) // 5 - 1].numpy()
    shown = picture if int(angle) // 5 == 0 else turned
    noisy = shown + draw.integers(-12, 13, shown.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def test_parts_that_lie_at_any_angle_turn_and_aligned_ones_do_not() -> None:
    angles_of = np.random.default_rng(0).integers(0, 360, 8)
    assert parts_turn([key(i, angle) for i, angle in enumerate(angles_of)])
    assert parts_turn([key(i, angle, 120, 90) for i, angle in enumerate(angles_of)])
    assert not parts_turn([key(i, 0) for i in range(8)])
    assert not parts_turn([key(i, angle) for i, angle in enumerate([0, 5, 0, 5, 355, 0, 0, 5])])


def test_a_part_that_looks_the_same_at_every_angle_does_not_turn() -> None:
    rows, columns = np.mgrid[:64, :64] - 31.5
    disc = ((rows**2 + columns**2 < 400) * 160 + 40).astype(np.uint8)
    draw = np.random.default_rng(1)
    noisy = [disc[..., None] + draw.integers(0, 12, (64, 64, 3), dtype=np.uint8) for _ in range(6)]
    assert not parts_turn(noisy)


def shifted(number: int, off: float, half: tuple[int, int] | None) -> Pixels:
    """A disc with a mark that is always on top, or a bar, shifted by so many px at most."""
    draw = np.random.default_rng(number)
    picture = np.full((96, 96, 3), 40, np.uint8)
    y, x = (48 + round(draw.uniform(-off, off)) for _ in range(2))
    if half is None:
        cv2.circle(picture, (x, y), 20, (200, 200, 200), -1)
        cv2.circle(picture, (x, y - 12), 5, (90, 90, 90), -1)
    else:
        cv2.rectangle(
            picture, (x - half[0], y - half[1]), (x + half[0], y + half[1]), (200,) * 3, -1
        )
    noisy: Pixels = np.clip(picture + draw.integers(-6, 7, picture.shape), 0, 255).astype(np.uint8)
    return noisy


@pytest.mark.parametrize("off", [2, 4, 8, 12, 20])
@pytest.mark.parametrize("half", [None, (14, 6)])
def test_parts_that_are_shifted_do_not_turn(off: float, half: tuple[int, int] | None) -> None:
    assert not parts_turn([shifted(number, off, half) for number in range(8)])


def test_lights_from_either_side_do_not_turn_parts() -> None:
    rows, columns = np.mgrid[:64, :64] / 64 - 0.5
    draw = np.random.default_rng(4)
    lit = [
        np.repeat((128 + sign * 80 * columns + other * 60 * rows)[..., None], 3, axis=2)
        + draw.integers(-6, 7, (64, 64, 3))
        for sign, other in draw.choice([-1, 1], (8, 2))
    ]
    assert not parts_turn([np.clip(one, 0, 255).astype(np.uint8) for one in lit])


def test_surfaces_and_flat_pictures_do_not_turn() -> None:
    draw = np.random.default_rng(2)
    grain = [draw.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(6)]
    assert not parts_turn(grain)
    assert not parts_turn([np.full((64, 96, 3), 90, np.uint8)] * 6)


def test_two_pictures_say_nothing() -> None:
    assert not parts_turn([key(0, 0), key(1, 90)])
    assert not parts_turn([])


@pytest.mark.parametrize(
    ("number", "step"),
    [(1, 0), (2, 0), (3, 10), (53, 10), (54, 15), (80, 15), (81, 45), (150, 45), (151, 0)],
)
def test_the_fewer_pictures_the_more_copies(number: int, step: int) -> None:
    assert usual_step(number) == step
    if step:
        assert {90, 180, 270} <= {*angles(step)}  # as sharp as the pictures


def test_copies_are_found_where_they_are_asked_for_alone() -> None:
    shown = [key(i, angle) for i, angle in enumerate((0, 70, 140, 210, 280))]
    own = default_config()
    assert own.turn_found

    def show(numbers: Iterable[int]) -> Iterable[Pixels]:
        return [shown[number] for number in numbers]

    assert with_turn(own, 5, show).turn == 10
    assert with_turn(own, 5, lambda numbers: [key(i, 0) for i in numbers]).turn == 0
    assert with_turn(own, 5, lambda numbers: []).turn == 0
    for config in (default_config(turn=0), default_config(turn=45), paper_config()):
        assert with_turn(config, 5, show) == config
    assert not default_config(variant="A").turn_found


@pytest.fixture(scope="module")
def turning(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of parts that lie at any angle."""
    folder = tmp_path_factory.mktemp("turning")
    for i, angle in enumerate((0, 70, 140, 210, 280, 35)):
        Image.fromarray(key(i, angle, 96, 96)).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


def test_a_build_finds_it_and_says_so(tmp_path: Path, turning: list[Path]) -> None:
    small = (*SMALL, "--metric", "plain", "-o", tmp_path / "bank.st")
    result = fapm("build", *turning[:4], *small)
    assert result.code == 0
    assert "copies    of each picture, turned by the multiples of 10°" in result.out
    assert "copies" in fapm("info", tmp_path / "bank.st").out
    assert fapm("build", *turning[:4], *small, "--json").json["turn"] == 10
    assert fapm("build", *turning[:4], *small, "--json", "--turn", "none").json["turn"] == 0
    assert fapm("build", *GOOD[:4], *small, "--json").json["turn"] == 0


@pytest.mark.parametrize("value", ["much", "1e1", "²", "--20"])
def test_a_turn_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    result = fapm("build", GOOD[0], "-o", tmp_path / "bank.st", f"--turn={value}")
    assert_fails(result, f"turn {value!r}: use auto, none or degrees")


def test_banks_that_grow_find_it_anew(tmp_path: Path, turning: list[Path]) -> None:
    two = build(tmp_path / "two.st", turning[:2], *SMALL)
    four = build(tmp_path / "four.st", turning[2:], *SMALL)
    assert [load_bank(path).config.turn for path in (two, four)] == [0, 10]
    both = build(tmp_path / "both.st", turning, *SMALL)
    grown, merged = tmp_path / "grown.st", tmp_path / "merged.st"
    assert fapm("add", two, *turning[2:], "-o", grown).code == 0
    assert fapm("merge", two, four, "-o", merged).code == 0
    for path in (grown, merged):
        assert load_bank(path).config == load_bank(both).config
        assert torch.equal(load_bank(path).memories[0].keys, load_bank(both).memories[0].keys)


def test_copies_and_what_can_not_be_read_make_no_fewer_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turned, "_STEPS", {6: 10, 8: 15})
    assert (usual_step(6), usual_step(7)) == (10, 15)
    files = [tmp_path / f"{i:02}.png" for i in range(6)]
    for i, path in enumerate(files):
        Image.fromarray(key(i, 60 * i, 96, 96)).save(path)
    at_once = build(tmp_path / "at_once.st", files, *SMALL)
    with Image.open(files[3]) as image:
        image.save(tmp_path / "copy.bmp")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    more = tmp_path / "more.st"
    extra = (*files, tmp_path / "copy.bmp", tmp_path / "broken.png", "--skip-bad")
    assert fapm("build", *extra, "-o", more, *SMALL, "--metric", "plain").code == 0
    assert load_bank(more).config.turn == load_bank(at_once).config.turn == 10
    assert torch.equal(load_bank(more).memories[0].keys, load_bank(at_once).memories[0].keys)


def test_banks_without_thumbnails_merge_whatever_was_found(
    tmp_path: Path, turning: list[Path]
) -> None:
    lean = (*SMALL, "--no-thumbnails")
    two = build(tmp_path / "two.st", turning[:2], *lean)
    four = build(tmp_path / "four.st", turning[2:], *lean)
    assert fapm("merge", two, four, "-o", tmp_path / "merged.st").code == 0
    merged = load_bank(tmp_path / "merged.st")
    assert merged.config.turn == 10
    views = 2 + 4 * 36  # ten per cent of what they were selected from, and as many again at most
    assert 0.1 * views * 4 * 16 <= len(merged.memories[0].keys) <= 0.2 * views * 4 * 16 + 4 * 4
