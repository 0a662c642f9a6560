"""Large inputs by OpenVINO: tile by tile it finds what torch does in one, seams and rims too."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOOD, build
from hypothesis import given, settings
from hypothesis import strategies as st
from torchs import assert_as_torch

import fapm_cli.bank.arrays
from fapm_cli.arrays import host
from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import read_bank
from fapm_cli.compute.cores import use_threads
from fapm_cli.detection.detection import PARTS
from fapm_cli.engines import opening, openvino_large, openvino_tiles
from fapm_cli.engines.opening import is_large, open_judge, why_torch
from fapm_cli.engines.openvino_large import OpenVinoLargeJudge
from fapm_cli.engines.openvino_levels import Cuts
from fapm_cli.engines.openvino_tiles import Tiles
from fapm_cli.errors import OptionError
from fapm_cli.network.segments import Segment, segments


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_tiles, "_WORK_BYTES", 2**17)
    monkeypatch.setattr(openvino_tiles, "_LEAST_CORE", 1)


def picture(bank: Bank, channels: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Noise; a fourth channel that hides a third of it."""
    height, width = bank.config.preprocessing.crop_px
    pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, channels), np.uint8)
    if channels == 4:
        pixels[..., 3] = 1  # all above 0 shows
        pixels[0, :, : width // 3, 3] = 0
    return pixels


def region(bank: Bank) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """A part of its input, of which a picture of four channels shows some."""
    roi = np.zeros(bank.config.preprocessing.crop_px, bool)
    roi[48:112, 32:192] = True  # at the rims of places, of coarse maps too
    return roi


assert_same = functools.partial(assert_as_torch, OpenVinoLargeJudge)


@pytest.mark.usefixtures("small_tiles")
def test_tiles_find_what_torch_does_in_one(bank: Path) -> None:
    read = read_bank(bank)
    tiles = OpenVinoLargeJudge(read)._tiles
    assert [len(cuts.cores) for cuts in tiles._cuts] == [7, 7]
    assert all(len(level._down.cores) > 4 for level in tiles._levels)
    assert_same(read, picture(read))
    assert_same(read, picture(read).astype(np.float32) * 0.9)
    query = dataclasses.replace(read.config.query, num_neighbors=2, sigma=2.0, spot_px=0)
    assert_same(read, picture(read), roi=region(read), query=query)
    plainly: dict[str, Any] = {"image_score": "max", "calibration": "none"}
    plainly["placement"] = "nearest"
    assert_same(read, picture(read, 4), query=dataclasses.replace(query, **plainly))


@pytest.mark.usefixtures("small_tiles")
def test_tiles_of_two_strides_of_metrics_and_with_a_reach_find_what_torch_does(
    paper_bank: Path, bank_with_metric: Bank
) -> None:
    read = read_bank(paper_bank)
    query = dataclasses.replace(read.config.query, image_score="top", placement="bilinear")
    assert_same(read, picture(read, 4), query=query)
    assert_same(read, picture(read, 4), query=query, roi=region(read))
    strip = picture(read, 4)
    strip[0, :56, :, 3], strip[0, 73:, :, 3] = 0, 0  # of the coarser map no place is shown
    assert_same(read, strip, query=query, roi=region(read))
    assert bank_with_metric.memories[0].metrics is not None
    query = dataclasses.replace(bank_with_metric.config.query, reach=1, num_neighbors=2)
    assert_same(bank_with_metric, picture(bank_with_metric), query=query)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("size", ["64x224", "224x64"])
def test_tiles_of_an_input_that_is_no_square_find_what_torch_does(
    size: str, tmp_path: Path
) -> None:
    read = read_bank(build(tmp_path / "bank.st", GOOD[:4], "--size", size))
    cuts = OpenVinoLargeJudge(read)._tiles._cuts
    assert cuts[0].window_px != cuts[1].window_px
    query = dataclasses.replace(read.config.query, reach=1)
    assert_same(read, picture(read, 4), query=query)


@pytest.fixture(scope="module")
def bank_with_metric(bank: Path) -> Bank:
    """One whose patches have metrics that differ."""
    read, draw = read_bank(bank), np.random.default_rng(1)
    memories = []
    for one in read.memories:
        shape = len(one.key_counts), one.keys.shape[1], 32
        metrics = draw.normal(0, 0.05, shape).astype(np.float32)
        memories.append(dataclasses.replace(one, metrics=metrics))
    return dataclasses.replace(read, memories=tuple(memories))


@pytest.mark.usefixtures("small_tiles")
def test_a_patch_of_fewer_keys_than_are_asked_for_has_its_farthest_stand_for_the_rest(
    bank: Path,
) -> None:
    read = read_bank(bank)
    fewest = min(int(one.key_counts.min()) for one in read.memories)
    query = dataclasses.replace(read.config.query, num_neighbors=min(fewest + 3, 64))
    assert any(int(one.key_counts.min()) < query.num_neighbors for one in read.memories)
    assert_same(read, picture(read), query=dataclasses.replace(query, reach=2))
    less = tuple(0.01 * scale for scale in read.config.layer_scales)  # and all is nearer than 1
    memories = tuple(dataclasses.replace(m, keys=host(m.keys) * 0.01) for m in read.memories)
    config = dataclasses.replace(read.config, layer_scales=less)
    read = dataclasses.replace(read, config=config, memories=memories)
    assert_same(read, picture(read), query=query)


@pytest.mark.usefixtures("small_tiles")
def test_with_less_around_a_tile_it_finds_something_else(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So what lies around each segment's tiles is not only enough, but what it takes."""
    read = read_bank(bank)
    whole = OpenVinoLargeJudge(read)
    wanted, found = whole._tiles(picture(read)[0], each), segments(read.config)
    for number, segment in enumerate(found):
        side = ("before", "after")[number % 2]
        shorter = {side: getattr(segment, side) - segment.unit_px}
        few = [*found[:number], dataclasses.replace(segment, **shorter), *found[number + 1 :]]
        monkeypatch.setattr(openvino_tiles, "segments", lambda _, few=few: few)
        less, _ = Tiles(read, read.config.query, 1, 1)(picture(read)[0], each)
        assert any(np.abs(a / b - 1).max() > 1e-3 for a, b in zip(less, wanted[0], strict=True))


def each(work: Callable[[Any], None], things: Iterable[Any]) -> None:
    """Do something with one after another."""
    for one in things:
        work(one)


@pytest.mark.usefixtures("small_tiles")
def test_any_number_of_cores_finds_the_same_one_picture_after_another(bank: Path) -> None:
    read, pixels = read_bank(bank), picture(read_bank(bank))
    both, found = np.concatenate([pixels[:, ::-1], pixels]), []
    for number in (1, 3):
        use_threads(number)
        try:
            judge = OpenVinoLargeJudge(read)
            found.append(judge.detect_inputs(both).pick(1))
        finally:
            use_threads(None)
    found.append(judge.detect_inputs(pixels))
    for name in PARTS:
        one, *others = (getattr(each, name) for each in found)
        assert all(np.array_equal(one, other) for other in others), name
    with pytest.raises(ValueError, match="broadcast"):  # in one of the threads
        judge.detect_inputs(pixels[:, :, :200])


def test_it_judges_large_inputs_and_large_banks(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = read_bank(bank)
    assert not is_large(read)
    monkeypatch.setattr(opening, "_MOST_BYTES", 1)
    assert is_large(read)
    monkeypatch.undo()
    monkeypatch.setattr(opening, "MOST_PX", 192)
    monkeypatch.setattr(fapm_cli.bank.arrays, "_LARGE_BYTES", 0)
    judge = open_judge(read_bank(bank), "cpu")
    assert isinstance(judge, OpenVinoLargeJudge)
    assert judge.precision == "fp32"


def test_what_tiles_do_not_do_is_torchs(bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_bank(bank)
    query = read.config.query
    asked = {
        "a reach of 3": dataclasses.replace(query, reach=3),
        "image score paper": dataclasses.replace(query, image_score="paper", num_neighbors=4),
    }
    for one in asked.values():
        assert why_torch(read, "cpu", "auto", query=one) is None
    monkeypatch.setattr(opening, "MOST_PX", 192)
    for reason, one in asked.items():
        found = why_torch(read, "cpu", "auto", query=one)
        assert found == f"{reason} with a large input, 224×224 px"
        with pytest.raises(OptionError, match=reason):
            open_judge(read, "cpu", query=one, engine="openvino")
    assert "precision bf16" in str(why_torch(read, "cpu", "bf16"))
    monkeypatch.setattr(opening, "_MOST_KEYS", 1)
    assert "keys" in str(why_torch(read, "cpu", "auto"))
    monkeypatch.setattr(opening, "_MOST_PATCH_PX", 16)
    assert "patches of 32×32 px" in str(why_torch(read, "cpu", "auto"))


@settings(max_examples=60)
@given(
    length=st.integers(1, 200),
    most=st.integers(1, 80),
    before=st.integers(0, 5),
    after=st.integers(0, 5),
    unit=st.integers(1, 4),
)
def test_cores_cover_a_side_and_windows_what_lies_around(
    length: int, most: int, before: int, after: int, unit: int
) -> None:
    length, before, after = length * unit, before * unit, after * unit
    segment = Segment((), "", 3, 1, 3, 1, before, after, unit, 1.0)
    cuts = Cuts.of(length, most, segment, unit)
    cores = cuts.cores
    assert {px for core in cores for px in core} == set(range(length))
    assert cuts.core_px <= max(most, unit)
    starts = [core.start for core in cores]
    assert starts == sorted(starts)
    assert all(start % unit == 0 for start in starts)
    for core in cores:
        window = cuts.window(core)
        assert len(window) == cuts.window_px
        assert window.start % unit == 0
        assert window.start == 0 or window.start <= core.start - before
        assert window.stop == length or window.stop >= core.stop + after


def test_threads_share_the_work() -> None:
    from concurrent.futures import ThreadPoolExecutor

    done: list[int] = []
    with ThreadPoolExecutor(3) as threads:
        openvino_large._run(threads, 3, done.append, range(100))
        assert sorted(done) == list(range(100))
        with pytest.raises(ZeroDivisionError):
            openvino_large._run(threads, 3, lambda one: done.append(1 // one), range(100))
