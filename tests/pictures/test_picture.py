from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, fapm
from PIL import Image

from fapm_cli.errors import PictureError
from fapm_cli.finding.folders import find_pictures
from fapm_cli.finding.kinds import SUFFIXES
from fapm_cli.pictures.picture import read_picture


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A sample picture, not square, so that turning it shows."""
    return Image.open(ONE_BAD).convert("RGB").crop((0, 0, 320, 240))


def _score(bank: Path, *pictures: Path) -> list[float]:
    result = fapm("score", bank, *pictures, "--json", "--exit-zero")
    assert result.code == 0
    assert all("of another kind than the bank's" in line for line in result.err.splitlines())
    return [record["score"] for record in result.json]


def _save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def _pixels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(read_picture(path).image)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 3), (17, 31)])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "RGBA"])
def test_tiny_and_thin_pictures_are_scored_and_drawn(
    size: tuple[int, int], mode: str, bank: Path, picture: Image.Image, tmp_path: Path
) -> None:
    path = _save(picture.resize(size).convert(mode), tmp_path / "small.png")
    (record,) = fapm("score", bank, path, "--json").json
    assert 0 < record["score"] < 100
    assert 0 <= record["peak"]["x"] < size[0]
    assert 0 <= record["peak"]["y"] < size[1]
    assert fapm("heatmap", bank, path, "-o", tmp_path / "out").code == 0
    assert Image.open(tmp_path / "out" / "small_heatmap.png").size == size


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_scores_as_its_8_bit_version(
    suffix: str, bank: Path, picture: Image.Image, tmp_path: Path
) -> None:
    grey = np.asarray(picture.convert("L"))
    narrow = _save(Image.fromarray(grey), tmp_path / "narrow.png")
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    assert wide.mode == "I;16"
    first, second = _score(bank, narrow, _save(wide, tmp_path / f"wide.{suffix}"))
    assert second == pytest.approx(first, rel=0.01)


def test_16_bit_grey_is_scaled_and_never_clipped(tmp_path: Path) -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    read = _pixels(_save(Image.fromarray(ramp), tmp_path / "ramp.png"))
    wanted = np.rint(ramp / 257).astype(np.uint8)
    assert np.array_equal(read, np.stack([wanted] * 3, axis=-1))


CONVERSIONS: dict[str, tuple[str, Callable[[Image.Image], Image.Image]]] = {
    "grey": ("grey.png", lambda image: image.convert("L")),
    "1-bit": ("bits.png", lambda image: image.convert("1")),
    "palette": ("palette.png", lambda image: image.quantize(64)),
    "opaque RGBA": ("rgba.png", lambda image: image.convert("RGBA")),
    "opaque LA": ("la.png", lambda image: image.convert("LA")),
    "RGBA tiff": ("rgba.tif", lambda image: image.convert("RGBA")),
    "lossless webp": ("own.webp", lambda image: image),
    "bmp": ("own.bmp", lambda image: image),
}


@pytest.mark.parametrize("kind", CONVERSIONS)
def test_every_mode_scores_as_the_same_colours_in_rgb(
    kind: str, bank: Path, picture: Image.Image, tmp_path: Path
) -> None:
    name, convert = CONVERSIONS[kind]
    image = convert(picture)
    options = {"lossless": True} if name.endswith(".webp") else {}
    own = _save(image, tmp_path / name, **options)
    plain = _save(image.convert("RGB"), tmp_path / "plain.png")
    first, second = _score(bank, own, plain)
    assert first == pytest.approx(second, rel=1e-5)


def test_cmyk_jpeg_scores_nearly_as_rgb(bank: Path, picture: Image.Image, tmp_path: Path) -> None:
    options = {"quality": 98, "subsampling": 0}
    cmyk = _save(picture.convert("CMYK"), tmp_path / "cmyk.jpg", **options)
    plain = _save(picture, tmp_path / "plain.jpg", **options)
    assert Image.open(cmyk).mode == "CMYK"
    first, second = _score(bank, cmyk, plain)
    assert first == pytest.approx(second, rel=0.05)


def test_transparent_pixels_are_laid_over_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 128))
    clear, half = _pixels(_save(image, tmp_path / "clear.png"))[0]
    assert clear.tolist() == [255, 255, 255]
    assert np.abs(half.astype(int) - 127).max() <= 1


def test_transparent_palette_entry_is_laid_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 255, 10, 20, 30])
    image.putpixel((1, 0), 1)
    read = _pixels(_save(image, tmp_path / "palette.png", transparency=0))
    assert read[0].tolist() == [[255, 255, 255], [10, 20, 30]]


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("orientation", TURNS)
def test_jpeg_turned_by_exif_equals_the_upright_picture(
    orientation: int, bank: Path, picture: Image.Image, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = _save(picture, tmp_path / "turned.jpg", exif=exif, quality=95)
    with Image.open(turned) as stored:
        upright = _save(stored.transpose(TURNS[orientation]), tmp_path / "upright.png")
    assert np.array_equal(_pixels(turned), _pixels(upright))
    first, second = fapm("score", bank, turned, upright, "--json").json
    assert first["score"] == pytest.approx(second["score"], rel=1e-5)
    assert first["peak"] == second["peak"]
    assert fapm("heatmap", bank, turned, "-o", tmp_path / "out").code == 0
    size = Image.open(tmp_path / "out" / "turned_heatmap.png").size
    assert size == Image.open(upright).size


def test_suffix_may_have_any_case(bank: Path, picture: Image.Image, tmp_path: Path) -> None:
    lower = _save(picture, tmp_path / "a.png")
    (tmp_path / "upper").mkdir()
    upper = tmp_path / "upper" / "A.PNG"
    shutil.copy(lower, upper)
    first, second, third = _score(bank, lower, upper, tmp_path / "upper")
    assert first == pytest.approx(second, rel=1e-5) == pytest.approx(third, rel=1e-5)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_folder_search_finds_every_suffix_in_any_case(suffix: str, tmp_path: Path) -> None:
    names = [f"a{suffix}", f"b{suffix.upper()}", f"c{suffix.title()}"]
    for name in [*names, f"d{suffix}.txt"]:
        (tmp_path / name).touch()
    assert [path.name for path in find_pictures(tmp_path)] == names


def test_named_file_is_read_by_its_content_whatever_its_suffix(
    bank: Path, picture: Image.Image, tmp_path: Path
) -> None:
    plain = _save(picture, tmp_path / "plain.png")
    for name in ("plain", "plain.data", "plain.jpg"):
        shutil.copy(plain, tmp_path / name)
    scores = _score(
        bank, plain, tmp_path / "plain", tmp_path / "plain.data", tmp_path / "plain.jpg"
    )
    assert scores == pytest.approx([scores[0]] * 4, rel=1e-5)


def test_peak_is_in_the_pictures_own_pixels(bank: Path, tmp_path: Path) -> None:
    image = Image.open(ONE_BAD)
    twice = _save(image.resize((640, 960)), tmp_path / "twice.png")
    own, larger = (r["peak"] for r in fapm("score", bank, ONE_BAD, twice, "--json").json)
    assert larger["x"] == pytest.approx(2 * own["x"], abs=12)
    assert larger["y"] == pytest.approx(3 * own["y"], abs=18)


def test_float_picture_of_no_fixed_range_is_refused(tmp_path: Path) -> None:
    path = _save(Image.new("F", (8, 8)), tmp_path / "float.tif")
    with pytest.raises(PictureError, match="float"):
        read_picture(path)


def test_reading_a_picture_raises_no_warning(recwarn: pytest.WarningsRecorder, bank: Path) -> None:
    assert fapm("score", bank, ONE_GOOD, *GOOD[:3]).code == 0
    assert [str(warning.message) for warning in recwarn] == []
