from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ONE_BAD, ONE_GOOD, SAMPLES, Result, fapm
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.drawing.heatmap import Caption, draw_heatmap

Array = NDArray[Any]


@pytest.fixture(scope="module")
def drawn(bank: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """All test samples drawn, with raw maps: the folder, and what the command said."""
    out = tmp_path_factory.mktemp("drawn") / "made" / "here"
    return out, fapm("heatmap", bank, SAMPLES / "test", "-o", out, "--map", "npy")


def _read(path: Path) -> Array:
    with Image.open(path) as image:
        return np.asarray(image)


def _draw(bank: Path, out: Path, *arguments: object) -> list[Path]:
    result = fapm("heatmap", bank, *arguments, "-o", out)
    assert result.code == 0
    assert all("of another kind than the bank's" in line for line in result.err.splitlines())
    return [Path(line) for line in result.out.splitlines()]


def test_heatmap_prints_the_path_of_each_file_and_keeps_the_folders(
    drawn: tuple[Path, Result],
) -> None:
    out, result = drawn
    assert (result.code, result.err) == (0, "")
    inputs = sorted((SAMPLES / "test").rglob("*.jpg"))
    wanted = [
        out / path.relative_to(SAMPLES / "test").with_name(f"{path.stem}_heatmap.png")
        for path in inputs
    ]
    assert result.out.splitlines() == [str(path) for path in wanted]
    maps = [path.with_name(path.name.replace("heatmap.png", "map.npy")) for path in wanted]
    assert sorted(path for path in out.rglob("*") if path.is_file()) == sorted([*wanted, *maps])


@pytest.mark.parametrize("size", [(320, 320), (500, 211), (97, 130), (40, 900)])
def test_heatmap_and_map_have_the_pictures_own_size(
    size: tuple[int, int], bank: Path, tmp_path: Path
) -> None:
    source = tmp_path / "own.png"
    Image.open(ONE_BAD).resize(size).save(source)
    options = ("--map", "npy", "--mask", "--pixel-threshold", 1)
    result = fapm("heatmap", bank, source, "-o", tmp_path, *options)
    assert result.code == 0
    target = Path(result.out.strip())
    assert Image.open(target).size == size
    assert Image.open(target).mode == "RGB"
    assert Image.open(tmp_path / "own_mask.png").size == size
    scores = np.load(tmp_path / "own_map.npy")
    assert scores.shape == size[::-1]
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def test_map_peaks_where_score_says_and_with_its_score(
    drawn: tuple[Path, Result], bank: Path
) -> None:
    out, _ = drawn
    for record in fapm("score", bank, SAMPLES / "test", "--json").json:
        path = Path(record["path"]).relative_to(SAMPLES / "test")
        scores = np.load(out / path.with_name(f"{path.stem}_map.npy"))
        top = np.sort(scores.ravel())[-round(0.005 * scores.size) :]
        if record["extent"] == "spot":
            assert top.mean() == pytest.approx(record["score"], rel=0.01)
        y, x = np.unravel_index(scores.argmax(), scores.shape)
        assert np.hypot(x - record["peak"]["x"], y - record["peak"]["y"]) <= 3


def test_same_stem_in_one_folder_and_in_two_never_collides(bank: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    inputs = [first / "a.jpg", first / "a.png", first / "a_2.png", second / "a.png"]
    for path in inputs:
        path.parent.mkdir(exist_ok=True)
        Image.open(ONE_GOOD).save(path)
    options = ("--map", "npy", "--mask", "--pixel-threshold", 1)
    targets = _draw(bank, tmp_path / "out", first, second, first / "a.jpg", *options)
    assert len(set(targets)) == 5
    files = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert len(files) == 15
    assert set(targets) <= set(files)


def test_no_input_is_ever_overwritten(bank: Path, tmp_path: Path) -> None:
    names = ("x.jpg", "x_heatmap.png", "x_mask.png", "x_map.tiff", "x_2_heatmap.png")
    for name in names:
        Image.open(ONE_GOOD).save(tmp_path / name)
    before = {name: (tmp_path / name).read_bytes() for name in names}
    options = ("--map", "tiff", "--mask", "--pixel-threshold", 1)
    targets = fapm("heatmap", bank, tmp_path, "-o", tmp_path, *options).out.splitlines()
    assert {name: (tmp_path / name).read_bytes() for name in names} == before
    assert len(set(targets)) == 3  # the two that are named as heatmaps are left out


def test_input_behind_a_link_is_not_overwritten(bank: Path, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    for name in ("x.jpg", "x_heatmap.png"):
        Image.open(ONE_GOOD).save(real / name)
    before = (real / "x_heatmap.png").read_bytes()
    _draw(bank, link, real / "x.jpg", real / "x_heatmap.png")
    assert (real / "x_heatmap.png").read_bytes() == before


def test_second_run_writes_the_same_bytes_to_the_same_names(bank: Path, tmp_path: Path) -> None:
    (target,) = _draw(bank, tmp_path, ONE_BAD)
    first = target.read_bytes()
    assert _draw(bank, tmp_path, ONE_BAD) == [target]
    assert target.read_bytes() == first
    assert list(tmp_path.iterdir()) == [target]


def test_tiff_map_equals_npy_map(bank: Path, tmp_path: Path) -> None:
    _draw(bank, tmp_path, ONE_BAD, "--map", "npy")
    _draw(bank, tmp_path, ONE_BAD, "--map", "tiff")
    tiff = _read(tmp_path / "000_map.tiff")
    assert tiff.dtype == np.float32
    assert np.array_equal(tiff, np.load(tmp_path / "000_map.npy"))


def test_mask_is_where_the_map_exceeds_the_threshold(bank: Path, tmp_path: Path) -> None:
    score = fapm("score", bank, ONE_BAD, "--json").json[0]["score"]
    threshold = 0.7 * score
    options = ("--map", "npy", "--mask", "--pixel-threshold", threshold)
    _draw(bank, tmp_path, ONE_BAD, *options)
    mask = _read(tmp_path / "000_mask.png")
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 255}
    assert np.array_equal(mask == 255, np.load(tmp_path / "000_map.npy") > threshold)


def test_mask_of_a_defect_overlaps_its_truth(bank: Path, tmp_path: Path) -> None:
    score = fapm("score", bank, ONE_BAD, "--json").json[0]["score"]
    _draw(bank, tmp_path, ONE_BAD, "--mask", "--pixel-threshold", 0.7 * score)
    truth = _read(SAMPLES / "ground_truth" / "stain" / "000_mask.png") > 0
    found = _read(tmp_path / "000_mask.png") > 0
    assert (found & truth).sum() > 0.3 * truth.sum()
    assert found.mean() < 0.2


def test_good_part_stays_as_it_is_but_for_the_caption(drawn: tuple[Path, Result]) -> None:
    out, _ = drawn
    for path in sorted((SAMPLES / "test" / "good").iterdir()):
        heatmap = _read(out / "good" / f"{path.stem}_heatmap.png")
        changed = (heatmap != _read(path)).any(axis=-1)
        rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
        assert np.ptp(rows) < 48, path
        assert np.ptp(columns) < 110, path


def test_defect_is_coloured(drawn: tuple[Path, Result]) -> None:
    out, _ = drawn
    for kind in ("displaced", "missing", "scratch", "stain"):
        for path in sorted((SAMPLES / "test" / kind).iterdir()):
            truth = _read(SAMPLES / "ground_truth" / kind / f"{path.stem}_mask.png") > 0
            heatmap = _read(out / kind / f"{path.stem}_heatmap.png")
            changed = (heatmap != _read(path)).any(axis=-1)
            assert changed[truth].mean() > 0.05, path


def test_picture_is_drawn_the_same_alone_and_beside_a_worse_one(
    drawn: tuple[Path, Result], bank: Path, tmp_path: Path
) -> None:
    out, _ = drawn
    path = SAMPLES / "test" / "scratch" / "001.jpg"
    (target,) = _draw(bank, tmp_path, path)
    together = _read(out / "scratch" / "001_heatmap.png").astype(int)
    assert np.abs(_read(target).astype(int) - together).max() <= 1


def test_same_score_has_the_same_colour_in_every_picture_of_a_bank() -> None:
    picture = np.full((200, 200, 3), 128, np.uint8)
    colours = []
    for worst in (1.6, 9.0):
        scores = np.full((200, 200), 0.5, np.float32)
        scores[95:105, 95:105] = 1.5
        scores[20, 180] = worst
        image = Image.fromarray(picture)
        draw_heatmap(image, [(0, scores)], 1.0, (180, 20), Caption(worst))
        colours.append(image.getpixel((100, 100)))
    assert colours[0] == colours[1] != (128, 128, 128)


RED, GREEN = (200, 30, 30), (30, 120, 60)


def _is_drawn_in(picture: Array, colour: tuple[int, int, int]) -> bool:
    """Whether a caption's first line has a colour."""
    return bool((picture == colour).all(axis=-1).sum() > 300)


def test_caption_says_score_threshold_and_verdict(drawn: tuple[Path, Result], bank: Path) -> None:
    out, _ = drawn
    for record in fapm("score", bank, SAMPLES / "test", "--json").json:
        path = Path(record["path"]).relative_to(SAMPLES / "test")
        picture = _read(out / path.with_name(f"{path.stem}_heatmap.png"))
        anomalous = record["verdict"] == "anomalous"
        assert _is_drawn_in(picture, RED) == anomalous
        assert _is_drawn_in(picture, GREEN) == (not anomalous)
    assert Caption(1.23456, 1.01554, "anomalous").lines == ("anomalous 1.235", "threshold 1.016")
    assert Caption(1.23456).lines == ("score 1.235", "no verdict")


def test_caption_follows_the_threshold_given_and_claims_none_that_does_not_hold(
    bank: Path, tmp_path: Path
) -> None:
    (high,) = _draw(bank, tmp_path / "1", ONE_BAD, "--threshold", 99)
    assert _is_drawn_in(_read(high), GREEN)
    other = fapm("heatmap", bank, ONE_BAD, "--sigma", 1, "-o", tmp_path / "2")
    assert "no verdicts" in other.err
    unjudged = _read(Path(other.out.strip()))
    assert not _is_drawn_in(unjudged, RED)
    assert not _is_drawn_in(unjudged, GREEN)


@pytest.mark.parametrize("side", [224, 5000])
def test_caption_can_be_read_in_small_and_large_pictures(side: int) -> None:
    image = Image.new("RGB", (side, side))
    strips = [(0, np.zeros((side, side), np.float32))]
    draw_heatmap(image, strips, 1.0, (0, 0), Caption(1.5, 1.2, "anomalous"), strong=False)
    chip = np.asarray(image)
    rows = np.flatnonzero((chip == RED).all(axis=-1).any(axis=1))
    chip = chip[rows[0] : rows[-1] + 1]
    letters = np.flatnonzero((chip.min(axis=-1) > 200).any(axis=1))
    # 7 px where it is seen px by px, and where a large one is fitted to a screen of 1,200.
    assert np.ptp(letters) + 1 >= max(7, 7 * side / 1200)


@pytest.mark.parametrize("strong", [True, False])
def test_peak_is_ringed_only_where_it_exceeds_the_threshold(strong: bool) -> None:
    image = Image.new("RGB", (320, 320), (90, 90, 90))
    scores = [(0, np.zeros((320, 320), np.float32))]
    draw_heatmap(image, scores, 1.0, (60, 50), Caption(0.5, 1.0, "ok"), strong=strong)
    near = np.asarray(image)[:160, :160]
    assert (near != 90).any() == strong


def test_picture_drawn_in_strips_is_the_one_drawn_at_once() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (331, 400, 3), np.uint8)
    scores = rng.random((331, 400), np.float32) * 3
    scores[:30, :50] = np.nan
    drawn = []
    for rows in (331, 7):
        image = Image.fromarray(picture)
        strips = ((top, scores[top : top + rows]) for top in range(0, 331, rows))
        draw_heatmap(image, strips, 1.0, (350, 90), Caption(2.9), [(40, 100, 90, 120)])
        drawn.append(np.asarray(image).astype(int))
    whole, by_strips = drawn
    assert (whole != picture).any(axis=2).mean() > 0.5
    # Where a smooth line is cut, its shading may be rounded otherwise.
    assert (whole != by_strips).any(axis=2).mean() < 0.002


def test_regions_are_framed_unless_that_is_not_wanted(bank: Path, tmp_path: Path) -> None:
    (region,) = fapm("score", bank, ONE_BAD, "--json").json[0]["regions"]
    framed = _read(_draw(bank, tmp_path / "1", ONE_BAD)[0])
    plain = _read(_draw(bank, tmp_path / "2", ONE_BAD, "--no-boxes")[0])
    differs = (framed != plain).any(axis=-1)
    rows, columns = np.nonzero(differs)
    x, y, width, height = (region[key] for key in ("x", "y", "width", "height"))
    assert abs(rows.min() - y) <= 3
    assert abs(columns.min() - x) <= 3
    assert abs(rows.max() + 1 - y - height) <= 3
    assert abs(columns.max() + 1 - x - width) <= 3
    assert not differs[y + 2 : y + height - 2, x + 2 : x + width - 2].any()
    high = "--pixel-threshold", 99
    none = _draw(bank, tmp_path / "3", ONE_BAD, *high)[0]
    assert np.array_equal(
        _read(none), _read(_draw(bank, tmp_path / "4", ONE_BAD, *high, "--no-boxes")[0])
    )


@pytest.mark.parametrize("size", [(320, 320), (301, 211), (1000, 64)])
def test_map_of_a_cropping_bank_is_nan_exactly_outside_the_inspected_centre(
    size: tuple[int, int], paper_bank: Path, tmp_path: Path
) -> None:
    source = tmp_path / "own.png"
    Image.open(ONE_BAD).resize(size).save(source)
    options = ("--map", "npy", "--mask", "--pixel-threshold", 0)
    result = fapm("heatmap", paper_bank, source, "-o", tmp_path, *options)
    assert result.code == 0
    assert "not inspected" in result.err
    columns, rows = ((np.arange(side) + 0.5) * 256 / side for side in size)
    inside = ((rows >= 16) & (rows <= 240))[:, None] & ((columns >= 16) & (columns <= 240))
    scores = np.load(tmp_path / "own_map.npy")
    assert np.array_equal(np.isfinite(scores), inside)
    assert np.array_equal(np.isnan(scores), ~inside)
    mask = _read(tmp_path / "own_mask.png")
    assert not mask[~inside].any()


def test_uninspected_rim_is_hatched_and_a_whole_inspection_is_not(
    paper_bank: Path, bank: Path, tmp_path: Path
) -> None:
    def changed(which: Path) -> Array:
        result = fapm("heatmap", which, ONE_GOOD, "-o", tmp_path)
        assert result.code == 0
        differs: Array = (_read(Path(result.out.strip())) != _read(ONE_GOOD)).any(axis=-1)
        return differs

    corner = np.s_[:12, 120:200]
    assert changed(paper_bank)[corner].mean() > 0.9
    assert changed(bank)[corner].mean() < 0.1


def test_heatmaps_of_a_folder_leave_its_pictures_alone(bank: Path, tmp_path: Path) -> None:
    shutil.copy(ONE_BAD, tmp_path / "a.jpg")
    before = (tmp_path / "a.jpg").read_bytes()
    _draw(bank, tmp_path, tmp_path)
    assert (tmp_path / "a.jpg").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "a_heatmap.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is counted otherwise")
def test_heatmap_of_a_large_picture_takes_no_more_than_three_times_its_bytes(
    bank: Path, tmp_path: Path
) -> None:
    """Above what a small picture's takes, with its map and mask."""
    draw = (
        "import resource, sys; from fapm_cli.cli import run\n"
        "for picture in sys.argv[3:]:\n"
        "    options = ['-o', sys.argv[2], '--map', 'tiff', '--mask']\n"
        "    assert run(['heatmap', sys.argv[1], picture, *options]) == 0\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    pictures = [tmp_path / "small.png", tmp_path / "large.png"]
    for path, side in zip(pictures, (400, 2500), strict=True):
        Image.open(ONE_BAD).resize((side, side)).save(path, compress_level=1)
    command = [sys.executable, "-c", draw, *map(str, (bank, tmp_path, *pictures))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    small, large = (1024 * int(line) for line in done.stdout.splitlines()[1::2])
    assert large - small <= 3 * 3 * 2500**2
