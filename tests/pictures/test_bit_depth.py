"""Cameras of 10, 12 and 14 bits in 16: white is what the whole set, or its files, say it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import GOOD, ONE_BAD, assert_fails, build, fapm
from hypothesis import given
from hypothesis import strategies as st
from picture_files import MAX_SAMPLE, Array, png16, ppm, tiff
from PIL import Image

from fapm_cli.errors import PictureError
from fapm_cli.pictures import decoding
from fapm_cli.pictures.decoding import Decoded
from fapm_cli.pictures.picture import read_picture, to_rgb
from fapm_cli.pictures.whole_set import find_bit_depth

SIX = GOOD[:6]


def grey(path: Path) -> Array:
    return np.asarray(Image.open(path).convert("L"))


def as_12_bits(pixels: Array) -> Array:
    return np.rint(pixels * (4095 / 255)).astype(np.uint16)


def written(folder: Path, files: dict[str, bytes]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return sorted(folder / name for name in files)


def of_camera(folder: Path, pictures: list[Path], bits: int) -> list[Path]:
    """Grey copies, as 8 bits or as 12 in 16."""

    def store(pixels: Array) -> bytes:
        return ppm(pixels, b"P5", 255) if bits == 8 else png16(as_12_bits(pixels))

    return written(
        folder,
        {path.stem + (".pgm" if bits == 8 else ".png"): store(grey(path)) for path in pictures},
    )


@pytest.fixture(scope="module")
def dim_bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of a 12-bit camera's pictures."""
    folder = tmp_path_factory.mktemp("dim")
    return build(folder / "bank.st", of_camera(folder / "good", SIX, 12))


def test_12_bits_in_16_score_as_their_8_bit_copies(dim_bank: Path, tmp_path: Path) -> None:
    plain = build(tmp_path / "bank.st", of_camera(tmp_path / "good", SIX, 8))
    scores = []
    for bank, bits in ((plain, 8), (dim_bank, 12)):
        info = fapm("info", bank, "--json").json
        scores.append([one["score"] for one in info["pictures"]])
        (bad,) = of_camera(tmp_path / "bad", [ONE_BAD], bits)
        (record,) = fapm("score", bank, bad, "--json").json
        scores[-1].append(record["score"])
    assert info["config"]["preprocessing"]["bit_depth"] == 12
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


def test_build_says_what_depth_it_found_or_was_told(tmp_path: Path) -> None:
    files = of_camera(tmp_path / "good", SIX[:3], 12)
    found = fapm("build", *files, "-o", tmp_path / "bank.st")
    assert "depth     12 bits of 16\n" in found.out
    told = fapm("build", *files, "-o", tmp_path / "bank.st", "--bit-depth", 14, "--json")
    assert told.json["bit_depth"] == 14
    assert "\ndepth" not in fapm("build", *GOOD[:2], "-o", tmp_path / "bank.st").out


def test_a_picture_beyond_the_banks_range_is_an_error_and_never_clipped(
    dim_bank: Path, tmp_path: Path
) -> None:
    pixels = as_12_bits(grey(ONE_BAD))
    pixels[5, 7] = 4096
    (path,) = written(tmp_path, {"bright.png": png16(pixels)})
    result = fapm("score", dim_bank, path, "--json")
    assert result.code == 2
    assert "4096" in result.json[0]["error"]
    assert "4095 of 12 bits" in result.json[0]["error"]
    assert_fails(fapm("heatmap", dim_bank, path, "-o", tmp_path / "out"), "4096")
    assert_fails(fapm("add", dim_bank, path, "-o", tmp_path / "grown.st"), "4096")


def test_heatmap_decodes_as_the_bank_was_built(dim_bank: Path, tmp_path: Path) -> None:
    (bad,) = of_camera(tmp_path / "bad", [ONE_BAD], 12)
    assert fapm("heatmap", dim_bank, bad, "-o", tmp_path / "out", "--no-boxes").code == 0
    drawn = np.asarray(Image.open(tmp_path / "out" / f"{ONE_BAD.stem}_heatmap.png"))
    assert drawn.mean() > 0.7 * grey(ONE_BAD).mean()


def test_eval_scores_and_draws_12_bits_as_their_8_bit_copies(tmp_path: Path) -> None:
    galleries, figures = [], []
    for bits in (8, 12):
        part = tmp_path / str(bits) / "part"
        for folder in ("train/good", "test/good", "test/stain"):
            (part / folder).parent.mkdir(parents=True, exist_ok=True)
        of_camera(part / "train/good", SIX[:4], bits)
        of_camera(part / "test/good", SIX[4:], bits)
        of_camera(part / "test/stain", [ONE_BAD], bits)
        out = tmp_path / f"plots{bits}"
        result = fapm("eval", part, "--plots", out, "--json")
        assert result.code == 0, result
        figures.append(result.json[0]["image_auroc"])
        galleries.append(np.asarray(Image.open(out / "part_E_worst.png").convert("L")).astype(int))
    assert figures[0] == figures[1]
    assert np.abs(galleries[0] - galleries[1]).mean() < 1


# --- What the set and its files say ------------------------------------------------------------


def ramp(largest: int) -> Array:
    return np.linspace(0, largest, 24).astype(np.uint16).reshape(4, 6)


SETS: dict[str, tuple[list[bytes], int]] = {
    "8 bits alone": ([ppm(ramp(255), b"P5", 255)], 16),
    "nothing said": ([png16(ramp(3000))], 12),
    "the brightest of the set": ([png16(ramp(900)), png16(ramp(9000)), png16(ramp(90))], 14),
    "all bits": ([png16(ramp(65535)), png16(ramp(12))], 16),
    "dark, and the PNG says so": ([png16(ramp(900), b"\x0c")], 12),
    "scaled up, as PNG wants it": ([png16(ramp(65535), b"\x0c")], 16),
    "colour": ([png16(np.stack([ramp(900)] * 3, axis=2), bytes([10, 12, 11]))], 12),
    "alpha does not count": ([png16(np.stack([ramp(900), ramp(65535)], axis=2))], 10),
    "TIFF says so": ([tiff((ramp(12), {MAX_SAMPLE: [1023]}))], 10),
    "PGM says so": ([ppm(ramp(12), b"P5", 4095)], 12),
    "some say, some don't": ([png16(ramp(12), b"\x0e"), png16(ramp(3000))], 14),
    "an odd number": ([png16(ramp(12), b"\x0b")], 11),
    "no more than 8 are used": ([png16(ramp(200))], 8),
    "one that can't be read": ([png16(ramp(3000)), png16(ramp(60000))[:70], b"text"], 12),
}


@pytest.mark.parametrize("kind", SETS)
def test_depth_is_the_least_that_the_set_and_its_files_allow(kind: str, tmp_path: Path) -> None:
    files, wanted = SETS[kind]
    paths = written(tmp_path, {f"{i}.png": data for i, data in enumerate(files)})
    for order in (paths, paths[::-1]):
        assert find_bit_depth(order) == wanted


def test_files_that_say_different_depths_are_told_apart_unless_the_user_decides(
    tmp_path: Path,
) -> None:
    ten, twelve = (
        png16(as_12_bits(grey(p)) >> s, bytes([b]))
        for p, s, b in zip(GOOD[:2], (2, 0), (10, 12), strict=True)
    )
    paths = written(tmp_path, {"a.png": ten, "b.png": twelve})
    target = tmp_path / "bank.st"
    result = fapm("build", *paths, "-o", target)
    assert_fails(result, f"10 bits ({paths[0]})", f"12 bits ({paths[1]})", "--bit-depth")
    assert not target.exists()
    assert fapm("build", *paths, "-o", target, "--bit-depth", 12).code == 0


def test_8_bit_pictures_are_not_decoded_to_find_the_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*arguments: object) -> Decoded:
        raise AssertionError("decoded")

    monkeypatch.setattr(decoding, "decode", decoded)
    assert find_bit_depth(GOOD) == 16


@given(st.integers(8, 16), st.data())
def test_every_value_is_scaled_to_its_nearest_level(bits: int, data: st.DataObject) -> None:
    top = (1 << bits) - 1
    values = np.array([[data.draw(st.integers(0, top)), 0, top]], np.uint16)
    image = to_rgb(Decoded(values, bits, (1, 3), False), bits, Path("any"))
    wanted = [int(np.floor(v * 255 / top + 0.5)) for v in values[0].tolist()]
    assert np.asarray(image)[0].tolist() == [[level] * 3 for level in wanted]


def test_16_bit_colour_keeps_all_its_bits(tmp_path: Path) -> None:
    colours = as_12_bits(np.asarray(Image.open(ONE_BAD).convert("RGB")))
    (path,) = written(tmp_path, {"colour.png": png16(colours)})
    found = np.asarray(read_picture(path, 12).image)
    assert np.array_equal(found, np.asarray(Image.open(ONE_BAD).convert("RGB")))
    with pytest.raises(PictureError, match="10 bits"):
        read_picture(path, 10)
