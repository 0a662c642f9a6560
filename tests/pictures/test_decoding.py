"""What files say in their own ways, against a plain RGB copy of the same picture."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ONE_BAD, assert_fails, fapm
from numpy.typing import NDArray
from picture_files import EXTRA, PHOTOMETRIC, Array, Tags, bmp32, png16, ppm, saved, tiff
from PIL import Image

from fapm_cli.errors import PictureError
from fapm_cli.pictures.decoding import decode
from fapm_cli.pictures.masks import marked
from fapm_cli.pictures.picture import Picture, read_picture

ORIENTATION, NEW_SUBFILE_TYPE = 274, 254


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A sample picture, not square, so that turning it shows."""
    return Image.open(ONE_BAD).convert("RGB").crop((0, 0, 120, 90))


def read(data: bytes, folder: Path, bit_depth: int = 16) -> Picture:
    path = folder / "picture"
    path.write_bytes(data)
    return read_picture(path, bit_depth)


def pixels(data: bytes, folder: Path, bit_depth: int = 16) -> Array:
    return np.asarray(read(data, folder, bit_depth).image)


def wide(image: Image.Image, factor: int = 257) -> Array:
    return np.asarray(image).astype(np.uint16) * factor


# --- Orientation -------------------------------------------------------------------------------


TURNS: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_size_is_the_upright_pictures_in_every_format(
    kind: str, orientation: int, picture: Image.Image, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    found = read(saved(picture, kind, exif=exif, **options), tmp_path)
    plain = pixels(saved(picture, kind, **options), tmp_path)
    assert np.array_equal(np.asarray(found.image), TURNS[orientation](plain))
    assert found.size_px == found.image.size[::-1]


@pytest.mark.parametrize("orientation", TURNS)
def test_a_draft_knows_the_upright_pictures_own_size(
    orientation: int, picture: Image.Image, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = saved(picture.resize((1201, 803)), "JPEG", exif=exif)
    draft, whole = (decode(data, tmp_path, draft_px) for draft_px in (100, None))
    assert isinstance(draft.pixels, Image.Image)
    assert draft.pixels.size[0] < whole.size_px[1] / 3
    assert draft.size_px == whole.size_px == ((803, 1201) if orientation < 5 else (1201, 803))


def test_peak_and_heatmap_of_a_turned_tiff_lie_where_those_of_its_upright_copy_do(
    bank: Path, tmp_path: Path
) -> None:
    upright = Image.open(ONE_BAD).convert("RGB").crop((0, 0, 320, 200))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    upright.save(tmp_path / "upright.tif")
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.tif", exif=exif)
    paths = [tmp_path / f"{name}.tif" for name in ("upright", "turned")]
    first, second = fapm("score", bank, *paths, "--json").json
    assert first["peak"] == second["peak"]
    assert first["regions"] == second["regions"]
    assert fapm("heatmap", bank, paths[1], "-o", tmp_path / "out").code == 0
    assert Image.open(tmp_path / "out" / "turned_heatmap.png").size == (320, 200)


@pytest.mark.parametrize("orientation", TURNS)
def test_a_mask_is_turned_as_a_picture_is(orientation: int, tmp_path: Path) -> None:
    mask = np.zeros((30, 50), np.uint8)
    mask[3:9, 5:40] = 255
    path = tmp_path / "mask.tif"
    path.write_bytes(tiff((mask, {ORIENTATION: [orientation]})))
    assert np.array_equal(marked(path), TURNS[orientation](mask) > 0)


# --- Modes -------------------------------------------------------------------------------------


def invisible(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(0)
    return image


def opaque(grey: Image.Image) -> Array:
    return np.stack([np.asarray(grey), np.full(grey.size[::-1], 255, np.uint8)], axis=2)


def clear_palette(image: Image.Image) -> bytes:
    return saved(image.quantize(32), "PNG", transparency=bytes(32))


SAME: dict[str, tuple[Callable[[Image.Image], bytes], Callable[[Image.Image], Image.Image]]] = {
    "RGBA, alpha 0 everywhere": (lambda i: saved(invisible(i), "PNG"), lambda i: i),
    "BMP, alpha 0 everywhere": (lambda i: bmp32(np.asarray(invisible(i))), lambda i: i),
    "LA, alpha 0 everywhere": (
        lambda i: saved(invisible(i).convert("LA"), "PNG"),
        lambda i: i.convert("L"),
    ),
    "palette, transparent everywhere": (clear_palette, lambda i: i.quantize(32)),
    "MinIsWhite": (
        lambda i: tiff((255 - np.asarray(i.convert("L")), {PHOTOMETRIC: [0]})),
        lambda i: i.convert("L"),
    ),
    "MinIsWhite, 16 bits": (
        lambda i: tiff((65535 - wide(i.convert("L")), {PHOTOMETRIC: [0]})),
        lambda i: i.convert("L"),
    ),
    "MinIsWhite, 1 bit": (
        lambda i: saved(i.convert("1"), "TIFF", tiffinfo={PHOTOMETRIC: 0}),
        lambda i: i.convert("1"),
    ),
    "1-bit group 4": (
        lambda i: saved(i.convert("1"), "TIFF", compression="group4"),
        lambda i: i.convert("1"),
    ),
    "grey with associated alpha": (
        lambda i: tiff((opaque(i.convert("L")), {EXTRA: [1], PHOTOMETRIC: [1]})),
        lambda i: i.convert("L"),
    ),
    "16-bit RGB PNG": (lambda i: png16(wide(i)), lambda i: i),
    "16-bit RGBA PNG": (lambda i: png16(wide(i.convert("RGBA"))), lambda i: i),
    "16-bit LA PNG": (lambda i: png16(wide(i.convert("LA"))), lambda i: i.convert("L")),
    "16-bit RGB TIFF": (lambda i: tiff((wide(i), {})), lambda i: i),
    "16-bit RGB PPM": (lambda i: ppm(wide(i), b"P6", 65535), lambda i: i),
    "16-bit PGM": (lambda i: ppm(wide(i.convert("L")), b"P5", 65535), lambda i: i.convert("L")),
    "JPEG2000": (lambda i: saved(i, "JPEG2000"), lambda i: i),
    "GIF": (lambda i: saved(i.quantize(64), "GIF"), lambda i: i.quantize(64)),
}


@pytest.mark.parametrize("kind", SAME)
def test_pixels_are_those_of_a_plain_rgb_copy(
    kind: str, picture: Image.Image, tmp_path: Path
) -> None:
    write, same = SAME[kind]
    plain = np.asarray(same(picture).convert("RGB"))
    found = pixels(write(picture), tmp_path)
    assert np.abs(found.astype(int) - plain).max() <= 1


def test_cmyk_jpeg_is_its_plain_rgb_copy(picture: Image.Image, tmp_path: Path) -> None:
    data = saved(picture.convert("CMYK"), "JPEG", quality=98, subsampling=0)
    found = pixels(data, tmp_path)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(found, np.asarray(image.convert("RGB")))
    assert np.abs(found.astype(int) - np.asarray(picture)).mean() < 3  # its inks are 8 bits each


def test_premultiplied_alpha_is_laid_over_white(tmp_path: Path) -> None:
    samples = np.array([[[40, 20, 0, 128], [0, 0, 0, 0]]], np.uint8)
    found = pixels(tiff((samples, {EXTRA: [1]})), tmp_path)
    assert np.abs(found[0].astype(int) - [[167, 147, 127], [255, 255, 255]]).max() <= 2


def test_one_visible_pixel_gives_alpha_its_meaning(tmp_path: Path) -> None:
    image = invisible(Image.new("RGB", (4, 4), (10, 20, 30)))
    image.putpixel((1, 1), (10, 20, 30, 255))
    found = pixels(saved(image, "PNG"), tmp_path)
    assert found[1, 1].tolist() == [10, 20, 30]
    assert found[0, 0].tolist() == [255, 255, 255]


def test_16_bit_colour_that_the_decoders_read_differently_is_refused(tmp_path: Path) -> None:
    samples = np.arange(4 * 6 * 4, dtype=np.uint16).reshape(4, 6, 4) * 600
    with pytest.raises(PictureError, match="16-bit RGBA"):
        read(tiff((samples, {EXTRA: [1]})), tmp_path)  # premultiplied


# --- Formats -----------------------------------------------------------------------------------


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("name", ["a.eps", "a.png", "a.tif", "a"])
def test_what_would_start_another_program_is_refused_under_any_name(
    name: str, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*arguments: object, **options: object) -> None:
        raise AssertionError("a program was started")

    path = tmp_path / name
    path.write_bytes(EPS)
    monkeypatch.setattr(subprocess, "Popen", forbidden)
    (record,) = fapm("score", bank, path, "--json").json
    assert "not a picture" in record["error"]


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "DDS"])
def test_other_formats_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="not a picture"):
        read(saved(Image.new("RGB", (32, 32)), kind), tmp_path)


def test_cut_tiffs_are_a_line_each_in_a_process_of_its_own(
    picture: Image.Image, tmp_path: Path
) -> None:
    paths = []
    for compression in ("raw", "tiff_lzw"):
        data = saved(picture, "TIFF", compression=compression)
        for kept in (0.3, 0.7, 0.999):
            paths.append(tmp_path / f"{compression}_{kept}.tif")
            paths[-1].write_bytes(data[: int(len(data) * kept)])
    code = (
        "import sys; from pathlib import Path; from fapm_cli.pictures.picture import read_picture\n"
        "for path in sys.argv[1:]:\n"
        "    try: read_picture(Path(path)); print(path, 'was read')\n"
        "    except Exception as error: print(type(error).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True)
    assert done.stdout.split() == ["PictureError"] * 6
    assert done.stderr == ""


# --- Several pictures in a file ----------------------------------------------------------------


ANIMATED = {"PNG": "apng", "GIF": "gif", "WEBP": "webp", "TIFF": "tif"}


@pytest.mark.parametrize("kind", ANIMATED)
def test_several_pictures_in_a_file_are_an_error_that_counts_them(
    kind: str, bank: Path, picture: Image.Image, tmp_path: Path
) -> None:
    frames = [picture, picture.rotate(90), picture.rotate(180)]
    path = tmp_path / f"several.{ANIMATED[kind]}"
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    result = fapm("score", bank, path, ONE_BAD, "--json")
    several, one = result.json
    assert result.code == 2
    assert "holds 3 pictures" in several["error"]
    assert one["score"] > 0
    assert_fails(fapm("build", path, "-o", tmp_path / "bank.st"), "holds 3 pictures")


def test_a_netpbm_that_another_follows_holds_several(tmp_path: Path) -> None:
    one = b"P5 4 3 255\n" + bytes(12)
    assert read(one + b"\n", tmp_path).size_px == (3, 4)
    with pytest.raises(PictureError, match="2 pictures"):
        read(one + one, tmp_path)


def test_what_only_goes_with_a_picture_is_not_another(picture: Image.Image, tmp_path: Path) -> None:
    whole, small = np.asarray(picture), np.asarray(picture.resize((12, 9)))
    reduced, mask = {NEW_SUBFILE_TYPE: [1]}, {NEW_SUBFILE_TYPE: [4]}
    files: list[list[tuple[Array, Tags]]] = [
        [(whole, {}), (small, reduced)],
        [(small, reduced), (whole, {}), (small, mask)],
        [(whole, {}), (small, {255: [2]})],
    ]
    for pages in files:
        assert np.array_equal(pixels(tiff(*pages), tmp_path), whole)
    camera = saved(picture, "MPO", save_all=True, append_images=[picture.resize((12, 9))])
    found = read(camera, tmp_path)
    assert found.size_px == (90, 120)
    assert np.abs(np.asarray(found.image).astype(int) - whole).mean() < 5


# --- Masks -------------------------------------------------------------------------------------


def disc(side: int = 96) -> NDArray[np.bool_]:
    y, x = np.mgrid[:side, :side]
    return np.asarray((y - side / 2) ** 2 + (x - side / 2) ** 2 < (0.3 * side) ** 2)


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_mask_marks_what_it_was_painted_for(mode: str, quality: int, tmp_path: Path) -> None:
    path = tmp_path / "mask.jpg"
    Image.fromarray(disc()).convert("L").convert("RGB").convert(mode).save(path, quality=quality)
    for two_valued in (False, True):
        found = marked(path, two_valued=two_valued)
        assert (found != disc()).mean() < 0.002


def test_a_cmyk_mask_marks_what_is_not_black(tmp_path: Path) -> None:
    path = tmp_path / "mask.tif"
    ink = np.zeros((96, 96, 4), np.uint8)
    ink[..., 3] = np.where(disc(), 0, 255)
    path.write_bytes(tiff((ink, {PHOTOMETRIC: [5]})))
    assert np.array_equal(marked(path), disc())


@pytest.mark.parametrize("high", [1, 2, 128, 255, 65535])
def test_any_value_of_a_lossless_mask_marks(high: int, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    mask = np.where(disc(), high, 0).astype(np.uint16 if high > 255 else np.uint8)
    Image.fromarray(mask).save(path)
    assert np.array_equal(marked(path), disc())
    assert np.array_equal(marked(path, two_valued=True), disc())


def test_labels_mark_a_defect_but_are_no_region_of_interest(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    labels = disc().astype(np.uint8)
    labels[:40] *= 2
    Image.fromarray(labels).save(path)
    assert np.array_equal(marked(path), disc())
    with pytest.raises(PictureError, match="more than two values"):
        marked(path, two_valued=True)


def test_a_black_jpeg_marks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "black.jpg"
    noise = np.random.default_rng(0).integers(0, 4, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    assert not marked(path).any()


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_photograph_is_no_region_of_interest(suffix: str, bank: Path, tmp_path: Path) -> None:
    path = tmp_path / f"photograph.{suffix}"
    Image.open(ONE_BAD).save(path)
    assert_fails(fapm("score", bank, ONE_BAD, "--roi", path), str(path), "more than two values")
    assert_fails(
        fapm("build", ONE_BAD, "-o", tmp_path / "bank.st", "--roi", path), "more than two values"
    )
