"""The input follows the pictures' own shape, as people see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import GOOD, build, fapm
from PIL import Image

from fapm_cli.bank.file import load_bank
from fapm_cli.bank.presets import configure
from fapm_cli.pictures.whole_set import upright_size, usual_aspect

TURNED = 6  # the orientation tag of a camera held upright


def saved(path: Path, width: int, height: int, orientation: int | None = None) -> Path:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x112] = orientation
    Image.new("RGB", (width, height), (9, 9, 9)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [None, 1, 3, TURNED])
def test_a_size_is_that_of_the_upright_picture(
    tmp_path: Path, suffix: str, orientation: int | None
) -> None:
    path = saved(tmp_path / f"one.{suffix}", 60, 20, orientation)
    assert upright_size(path) == ((60, 20) if orientation == TURNED else (20, 60))
    assert upright_size(str(path)) == upright_size(path)


def test_the_usual_aspect_is_the_median_of_what_can_be_read(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{w}.png", w, 100) for w in (50, 100, 400)]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG")
    array = np.zeros((100, 25, 3), np.uint8)
    assert usual_aspect([*paths, broken, tmp_path / "missing.png"]) == 1
    assert usual_aspect([paths[0], array, array]) == 4
    assert usual_aspect([broken]) == usual_aspect([]) == 1


@pytest.mark.parametrize(
    ("aspect", "size", "wanted"),
    [
        (1.0, None, (224, 224)),
        (1.05, None, (224, 224)),
        (4 / 3, None, (288, 224)),
        (3 / 4, None, (224, 288)),
        (2.5, None, (576, 224)),
        (0.4, 128, (128, 320)),
        (100.0, None, (16352, 224)),  # no more than 511 patches a side
        (2.5, (96, 160), (96, 160)),
    ],
)
def test_the_longer_side_is_the_multiple_of_32_that_comes_next_to_the_shape(
    aspect: float, size: int | tuple[int, int] | None, wanted: tuple[int, int]
) -> None:
    config = configure(size=size, aspect=aspect)
    assert config.preprocessing.resize_px == config.preprocessing.crop_px == wanted
    assert config.grid == (wanted[0] // 32, wanted[1] // 32)


def test_with_a_grid_of_ones_own_the_input_is_a_square() -> None:
    assert configure(grid=(7, 7), aspect=2.5).preprocessing.crop_px == (224, 224)
    assert configure(grid=(4, 4), size=128, aspect=2.5).preprocessing.crop_px == (128, 128)


def test_the_papers_input_has_the_papers_shape() -> None:
    assert configure("paper", aspect=2.5).preprocessing.resize_px == (256, 256)


def test_a_bank_of_long_pictures_is_long_and_says_how_much_it_sees(tmp_path: Path) -> None:
    for number, path in enumerate(GOOD[:3]):
        with Image.open(path) as image:
            image.crop((0, 0, 320, 160)).save(tmp_path / f"{number}.png")
    made = fapm("build", tmp_path, "-o", tmp_path / "bank.st", "--size", "64")
    assert made.code == 0, made
    assert "input     64x128 px, each 2.5 px of a picture: clear spots from 15 px" in made.out
    bank = load_bank(tmp_path / "bank.st")
    assert bank.config.grid == (2, 4)
    peak = fapm("score", tmp_path / "bank.st", tmp_path / "0.png", "--json").json[0]["peak"]
    assert peak["x"] < 320
    assert peak["y"] < 160
    exactly = build(tmp_path / "exact.st", [tmp_path / "0.png"], "--size", "64x64")
    assert load_bank(exactly).config.grid == (2, 2)
