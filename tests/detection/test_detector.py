"""The Python API: what it takes, and that it does as the commands do where nothing else is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GOOD, ONE_BAD, fapm
from PIL import Image

from fapm_cli.bank.file import load_bank, save_bank
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.stream import Judged, _stacked, judge
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.learning.build import build_from_files
from fapm_cli.network.loading import load_extractor
from fapm_cli.pictures.reading import read_roi


@pytest.fixture(scope="module")
def detector(bank: Path) -> Detector:
    return Detector(load_bank(str(bank)))


def judge_one(detector: Detector, picture: str | Path | np.ndarray) -> Judged:
    """Judge a picture, which must be readable."""
    [one] = judge(detector, [picture])
    assert isinstance(one, Judged)
    return one


def test_a_detector_scores_as_the_command_does(bank: Path, detector: Detector) -> None:
    [record] = fapm("score", bank, ONE_BAD, "--json", "--engine", "torch").json
    assert detector.plan.precision == record["precision"]
    assert float(judge_one(detector, ONE_BAD).found.image_scores[0]) == record["score"]


def test_a_path_a_string_and_an_array_are_the_same_picture(detector: Detector) -> None:
    array = np.asarray(Image.open(ONE_BAD).convert("RGB"))
    found = [judge_one(detector, picture) for picture in (ONE_BAD, str(ONE_BAD), array)]
    for one in found[1:]:
        assert one.prepared.picture.size_px == found[0].prepared.picture.size_px == array.shape[:2]
        assert torch.equal(one.found.anomaly_maps, found[0].found.anomaly_maps)


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 4), (0, 9, 3), (1, 8, 9, 3)])
def test_an_array_of_another_shape_is_refused(detector: Detector, shape: tuple[int, ...]) -> None:
    with pytest.raises(PictureError, match="wanted \\(height, width, 3\\)"):
        list(judge(detector, [np.zeros(shape, np.uint8)]))


def test_an_array_of_floats_is_refused(detector: Detector) -> None:
    with pytest.raises(PictureError, match="float32"):
        list(judge(detector, [np.zeros((8, 9, 3), np.float32)]))


def test_a_detector_takes_prepared_arrays_and_refuses_what_is_not_prepared(
    detector: Detector,
) -> None:
    pixels = judge_one(detector, ONE_BAD).prepared.pixels
    ours, theirs = (detector.detect(one) for one in (pixels[None], torch.from_numpy(pixels[None])))
    assert torch.equal(ours.anomaly_maps, theirs.anomaly_maps)
    for wrong in (pixels, pixels[None, :-1], pixels[None].astype(np.float32)):
        with pytest.raises(OptionError, match=r"wanted uint8 \(B, 224, 224, 3\)"):
            detector.detect(wrong)


def test_a_peak_is_x_y_where_the_map_is_highest(detector: Detector) -> None:
    found = judge_one(detector, ONE_BAD).found
    x, y = found.peaks[0].tolist()
    assert x != y
    assert found.anomaly_maps[0, y, x] == found.anomaly_maps.max()


def test_what_is_nearest_lies_at_the_centre_of_its_keys_place(detector: Detector) -> None:
    found = judge_one(detector, ONE_BAD).found
    memory = detector.bank.memories[0]  # the finest: 28 by 28 places of 8 px
    key = int((memory.key_cells // 28 != memory.key_cells % 28).nonzero()[0])
    row, column = divmod(int(memory.key_cells[key]), 28)
    of_key = replace(found, nearest_keys=torch.full_like(found.nearest_keys, key))
    nearest = detector.locator.locate(of_key, (900, 700))["nearest"]
    assert (nearest["input_x"], nearest["input_y"]) == (8 * column + 4, 8 * row + 4)
    assert nearest["picture"] == int(memory.key_pictures[key])


def test_a_bank_of_arrays_is_that_of_their_files_but_for_digests(detector: Detector) -> None:
    bank = detector.bank
    arrays = [(np.asarray(Image.open(path)), path.name) for path in GOOD[:4]]
    files = [(str(path), path.name) for path in GOOD[:4]]
    extractor = load_extractor(bank.config)
    ours, theirs = (build_from_files(x, bank.config, extractor, 2) for x in (arrays, files))
    assert [p.name for p in ours.pictures] == [path.name for path in GOOD[:4]]
    for one, other in zip(ours.memories, theirs.memories, strict=True):
        assert torch.equal(one.keys, other.keys)
    assert ours.thresholds == theirs.thresholds


def test_files_are_strings_or_paths(bank: Path, tmp_path: Path) -> None:
    loaded = load_bank(str(bank))
    size = save_bank(loaded, str(tmp_path / "copy.st"))
    assert (tmp_path / "copy.st").read_bytes() == bank.read_bytes()
    assert size == bank.stat().st_size
    mask = Image.new("L", (20, 20))
    mask.paste(255, (0, 0, 10, 20))
    mask.save(tmp_path / "mask.png")
    roi = read_roi(str(tmp_path / "mask.png"), loaded.config.preprocessing)
    assert roi is not None
    assert roi.mean() == 0.5


def test_inputs_of_either_type_give_the_same_scores(bank: Path) -> None:
    detector = Detector(load_bank(bank))
    shape = (3, *detector.bank.config.preprocessing.crop_px, 3)
    inputs = torch.randint(256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    wanted, found = (detector.detect_inputs(one) for one in (inputs, inputs.float()))
    assert torch.equal(found.image_scores, wanted.image_scores)
    assert torch.equal(found.anomaly_maps, wanted.anomaly_maps)


def test_inputs_of_both_types_make_one_batch() -> None:
    one = np.full((4, 4, 3), 7, np.uint8)
    other = np.full((4, 4, 3), 7.5, np.float32)
    assert _stacked([one, one]).dtype == np.uint8
    both = _stacked([one, other])
    assert both.dtype == np.float32
    assert both[:, 0, 0, 0].tolist() == [7, 7.5]
