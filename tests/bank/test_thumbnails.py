from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import GOOD, build, fapm
from helpers import small_bank
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fapm_cli.bank.bank import nominal_picture
from fapm_cli.bank.file import load_bank
from fapm_cli.bank.thumbnails import decode_thumbnail, encode_thumbnail, unpack_thumbnails
from fapm_cli.errors import BankError
from fapm_cli.pictures.reading import Prepared, read_batches

GRADIENT = np.add.outer(np.arange(64), np.arange(96))[..., None] + np.array([0, 40, 80])


NOISE = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
GOOD_ONE = encode_thumbnail(NOISE)


def encoded(
    kind: str, pixels: np.ndarray = GRADIENT, mode: str = "RGB", **options: object
) -> bytes:
    image = Image.fromarray(pixels.astype(np.uint8)).convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    file = BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def test_a_thumbnail_is_the_very_picture() -> None:
    for pixels in (NOISE, GRADIENT.astype(np.uint8), np.zeros((64, 96, 3), np.uint8)):
        data = encode_thumbnail(pixels)
        back = decode_thumbnail(data, (64, 96))
        assert back.dtype == np.uint8
        assert np.array_equal(back, pixels)
        ends = np.array([len(data)])
        raw = np.frombuffer(data, np.uint8)
        assert list(unpack_thumbnails(raw, ends, 1, (64, 96))) == [data]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (GOOD_ONE[: len(GOOD_ONE) // 2], "damaged"),
        (GOOD_ONE[:25] + bytes(50), "damaged"),
        (GOOD_ONE[:25], "damaged"),
        (GOOD_ONE[:24], "no lossless WebP"),
        (b"", "no lossless WebP"),
        (encoded("PNG"), "no lossless WebP"),
        (encoded("WEBP", quality=90), "no lossless WebP"),
        (encoded("WEBP", GRADIENT[:32], lossless=True), "96×32 px"),
    ],
)
def test_what_is_no_thumbnail_of_the_size_is_a_bank_error(data: bytes, said: str) -> None:
    with pytest.raises(BankError, match=said):
        decode_thumbnail(data, (64, 96))


def test_a_picture_of_another_size_is_refused_before_a_decoder_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = encoded("WEBP", np.zeros((4000, 4000, 3)), lossless=True)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a decoder was opened"))
    with pytest.raises(BankError, match="4000×4000"):
        decode_thumbnail(large, (64, 96))


@settings(max_examples=200)
@given(st.integers(0, len(GOOD_ONE) - 1), st.integers(1, 255))
def test_a_damaged_byte_is_a_bank_error_or_another_picture_of_the_size(
    place: int, change: int
) -> None:
    wrong = bytearray(GOOD_ONE)
    wrong[place] ^= change
    with suppress(BankError):
        assert decode_thumbnail(bytes(wrong), (64, 96)).shape[:2] == (64, 96)


def test_a_thumbnail_says_what_it_shows_and_keeps_what_is_made_up() -> None:
    alpha = np.where(np.arange(96) < 40, 255, 0).astype(np.uint8)
    pixels = np.dstack([NOISE, np.broadcast_to(alpha, (64, 96))])
    data = encode_thumbnail(pixels)
    assert np.array_equal(decode_thumbnail(data, (64, 96)), pixels)
    shown = nominal_picture(replace(small_bank(), thumbnails=(data,)), 0)
    assert shown is not None
    assert np.array_equal(shown, NOISE)


def test_a_bank_without_thumbnails_shows_no_picture() -> None:
    assert nominal_picture(small_bank(with_thumbnails=False), 0) is None


def test_a_damaged_thumbnail_is_told_when_it_is_shown() -> None:
    bank = small_bank()
    assert bank.thumbnails is not None
    broken = replace(bank, thumbnails=(bank.thumbnails[0][:99], *bank.thumbnails[1:]))
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
        assert np.array_equal(shown, one.pixels)


def test_no_thumbnails_leaves_nothing_but_them_out(tmp_path: Path) -> None:
    with_them = load_bank(build(tmp_path / "with.st", GOOD[:2]))
    path = build(tmp_path / "without.st", GOOD[:2], "--no-thumbnails")
    without = load_bank(path)
    assert without.thumbnails is None
    assert without.pictures == with_them.pictures
    assert fapm("info", path, "--json").json["thumbnail_bytes"] == 0
