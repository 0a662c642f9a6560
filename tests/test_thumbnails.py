from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import GOOD, build, fapm
from helpers import small_bank
from PIL import Image

from fapm_cli.engine import load_bank, nominal_picture, read_batches
from fapm_cli.engine.reading import Prepared
from fapm_cli.errors import BankError
from fapm_cli.thumbnails import decode_thumbnail, encode_thumbnail

GRADIENT = np.add.outer(np.arange(64), np.arange(96))[..., None] + np.array([0, 40, 80])


def encoded(kind: str, pixels: np.ndarray = GRADIENT, mode: str = "RGB") -> bytes:
    file = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(file, format=kind)
    return file.getvalue()


def test_a_thumbnail_is_next_to_the_picture_also_where_only_colour_changes() -> None:
    stripes = np.zeros((64, 96, 3), dtype=np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (200, 60, 60), (60, 60, 200)
    for pixels in (stripes, GRADIENT.astype(np.uint8)):
        back = decode_thumbnail(encode_thumbnail(pixels), (64, 96))
        assert back.dtype == np.uint8
        assert back.shape == (64, 96, 3)
        assert np.abs(back.astype(int) - pixels).max() <= 12


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (encode_thumbnail(GRADIENT.astype(np.uint8))[:200], "damaged"),
        (b"\xff\xd8" + bytes(50), "damaged"),
        (encoded("PNG"), "damaged"),
        (encoded("JPEG", mode="L"), "96×64 px, L"),
        (encoded("JPEG", mode="CMYK"), "CMYK"),
        (encoded("JPEG", GRADIENT[:32]), "96×32 px, RGB"),
    ],
)
def test_what_is_no_thumbnail_of_the_size_is_a_bank_error(data: bytes, said: str) -> None:
    with pytest.raises(BankError, match=said):
        decode_thumbnail(data, (64, 96))


def test_a_picture_far_larger_than_it_says_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = encoded("JPEG", np.zeros((4000, 4000, 3)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(BankError, match="4000×4000"):
        decode_thumbnail(large, (64, 96))


def test_a_bank_without_thumbnails_shows_no_picture() -> None:
    assert nominal_picture(small_bank(with_thumbnails=False), 0) is None


def test_a_damaged_thumbnail_is_told_when_it_is_shown() -> None:
    bank = small_bank()
    assert bank.thumbnails is not None
    broken = replace(bank, thumbnails=(b"\xff\xd8", *bank.thumbnails[1:]))
    assert nominal_picture(broken, 1) is not None
    with pytest.raises(BankError, match="build it again"):
        nominal_picture(broken, 0)


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_a_built_bank_shows_each_picture_as_the_backbone_saw_it(
    preset: str, tmp_path: Path
) -> None:
    options = ("--preset", preset, "--backbone", "resnet18", "--weights", "random")
    bank = load_bank(build(tmp_path / "bank.st", GOOD[:3], *options))
    (batch,) = read_batches(GOOD[:3], bank.config.preprocessing, 3)
    for i, one in enumerate(batch):
        assert isinstance(one, Prepared)
        shown = nominal_picture(bank, i)
        assert shown is not None
        assert np.abs(shown.astype(int) - one.pixels.numpy()).mean() < 2


def test_no_thumbnails_leaves_nothing_but_them_out(tmp_path: Path) -> None:
    with_them = load_bank(build(tmp_path / "with.st", GOOD[:2]))
    path = build(tmp_path / "without.st", GOOD[:2], "--no-thumbnails")
    without = load_bank(path)
    assert without.thumbnails is None
    assert without.pictures == with_them.pictures
    assert fapm("info", path, "--json").json["thumbnail_bytes"] == 0
