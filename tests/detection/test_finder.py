"""A large picture judged in bands: as one that is judged whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GOOD, ONE_BAD
from numpy.typing import NDArray
from PIL import Image

import fapm_cli.bank.arrays
import fapm_cli.detection.finder as finder
from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import load_bank, save_bank
from fapm_cli.bank.presets import configure
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection.detection import Detection
from fapm_cli.detection.detector import Detector
from fapm_cli.errors import OptionError
from fapm_cli.learning.build import build_from_files
from fapm_cli.network.loading import load_extractor
from fapm_cli.network.tiling import TILE_PX

SIDE = 256


def build_large() -> Bank:
    files = [(path, Path(path).name) for path in GOOD[:6]]
    config = configure(size=SIDE, metric="plain", turn=0)
    return build_from_files(files, config, load_extractor(config), 4)


@pytest.fixture(scope="module")
def whole() -> Bank:
    return build_large()


def picture(spot: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    pixels = np.array(Image.open(ONE_BAD).convert("RGB").resize((SIDE, SIDE)))
    if spot is not None:
        y, x = spot
        pixels[y - 4 : y + 4, x - 4 : x + 4] = 255 - pixels[y - 4 : y + 4, x - 4 : x + 4]
    return pixels


def judge(bank: Bank, pixels: NDArray[np.uint8], **query: int) -> Detection:
    asked = bank.config.with_query(**query).query
    detector = Detector(bank, plan=make_plan("cpu", "fp32"), query=asked)
    return detector.detect(torch.from_numpy(pixels)[None])


def test_a_build_by_tiles_is_the_same_bank(whole: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TILE_PX, "cpu", 160)
    tiled = build_large()
    for one, other in zip(whole.memories, tiled.memories, strict=True):
        assert torch.equal(one.key_counts, other.key_counts)
        torch.testing.assert_close(one.keys, other.keys, rtol=1e-4, atol=1e-4)
    assert tiled.thresholds.score == pytest.approx(whole.thresholds.score, rel=1e-4)


@pytest.mark.parametrize("kept_bytes", [0, 2**30])
@pytest.mark.parametrize("spot", [None, (64, 64), (128, 32), (127, 131), (96, 200)])
def test_scores_on_seams_are_those_elsewhere(
    whole: Bank,
    spot: tuple[int, int] | None,
    kept_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tiles of 64 px begin at multiples of 64: spots lie on the seams, and beside them."""
    wanted = judge(whole, picture(spot))
    monkeypatch.setitem(TILE_PX, "cpu", 160)
    monkeypatch.setattr(finder, "KEPT_BYTES", kept_bytes)
    detector = Detector(whole, plan=make_plan("cpu", "fp32"))
    assert len(detector.finder.bands) > 2
    found = detector.detect(torch.from_numpy(picture(spot))[None])
    torch.testing.assert_close(found.image_scores, wanted.image_scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.anomaly_maps, wanted.anomaly_maps, rtol=1e-3, atol=1e-4)
    assert torch.equal(found.peaks, wanted.peaks)
    assert (found.nearest_keys == wanted.nearest_keys).float().mean() > 0.99


def test_with_a_reach_patches_see_beyond_their_band(
    whole: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = judge(whole, picture(), reach=1)
    monkeypatch.setitem(TILE_PX, "cpu", 160)
    found = judge(whole, picture(), reach=1)
    torch.testing.assert_close(found.anomaly_maps, wanted.anomaly_maps, rtol=1e-3, atol=1e-4)


def test_a_bank_read_as_needed_judges_alike_after_its_file_was_replaced(
    whole: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = judge(whole, picture())
    path = tmp_path / "large.st"
    save_bank(whole, path)
    monkeypatch.setattr(fapm_cli.bank.arrays, "_LARGE_BYTES", 0)
    monkeypatch.setattr(fapm_cli.bank.arrays, "_MAPPED_BYTES", 0)
    bank = load_bank(path)
    before = path.stat().st_ino
    save_bank(replace(whole, pictures=whole.pictures[::-1]), path)
    assert path.stat().st_ino != before
    found = judge(bank, picture())
    assert torch.equal(found.anomaly_maps, wanted.anomaly_maps)
    assert list(bank.thumbnails or ()) == list(whole.thumbnails or ())


def test_of_many_patches_none_has_a_metric_of_its_own() -> None:
    few, many = configure(size=1024), configure(size=1056)
    assert (few.metric, few.turn_found) == ("own", True)
    assert (many.metric, many.turn_found) == ("plain", False)
    assert configure(size=1056, metric="own").metric == "own"


def test_patches_that_tiles_don_t_fit_are_searched_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not layer-wise: places of 8 px, and patches of three of them, of a network of 16."""
    config = configure(size=(240, 240), backbone="resnet18", variant="B", grid=(10, 10), turn=0)
    config = replace(config, layers=("layer2", "layer3"), metric="plain")
    scores = []
    for tile_px in (640, 160):
        monkeypatch.setitem(TILE_PX, "cpu", tile_px)
        files = [(path, Path(path).name) for path in GOOD[:3]]
        bank = build_from_files(files, config, load_extractor(config, "random"), 4)
        pixels = np.array(Image.open(ONE_BAD).convert("RGB").resize((240, 240)))
        scores.append(judge(bank, pixels).image_scores)
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-5)


def test_a_compiler_is_refused_for_tiles(whole: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TILE_PX, "cpu", 160)
    with pytest.raises(OptionError, match="this one has tiles"):
        Detector(whole, plan=make_plan("cpu", "fp32", compiled=True))
