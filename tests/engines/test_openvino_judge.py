"""OpenVINO finds what torch does, asks for no torch, and says what it can't do."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, build, fapm
from torchs import assert_as_torch

import fapm_cli
from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import load_bank, read_bank, save_bank
from fapm_cli.compute.precision import cpu_has_bf16
from fapm_cli.detection.detection import PARTS
from fapm_cli.detection.detector import Detector
from fapm_cli.engines.opening import open_judge, why_torch
from fapm_cli.engines.openvino_judge import OpenVinoJudge, first_rounded
from fapm_cli.errors import BankError, OptionError
from fapm_cli.network.segments import MOST_PX
from fapm_cli.pictures.fitting.registration import Registration


def inputs(bank: Bank, channels: int = 3, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Noise that has its spots, 3 pictures of it; a fourth channel that hides a half."""
    draw = np.random.default_rng(seed)
    height, width = bank.config.preprocessing.crop_px
    pixels = draw.integers(0, 256, (3, height, width, channels), np.uint8)
    if channels == 4:
        pixels[..., 3] = 1  # all above 0 shows
        pixels[1, :, : width // 2, 3] = 0
    return pixels


assert_same = functools.partial(assert_as_torch, OpenVinoJudge)


def test_it_finds_what_torch_does(bank: Path) -> None:
    read = read_bank(bank)
    pixels = inputs(read)
    assert_same(read, pixels)
    assert_same(read, pixels.astype(np.float32) * 0.9)
    roi = np.zeros(read.config.preprocessing.crop_px, bool)
    roi[40:120, 30:200] = True
    assert_same(read, pixels, roi=roi)
    query = dataclasses.replace(read.config.query, num_neighbors=2, reach=1, sigma=2.0)
    assert_same(read, pixels, query=query)


def test_it_finds_what_torch_does_in_a_papers_bank(paper_bank: Path) -> None:
    read = read_bank(paper_bank)
    assert_same(read, inputs(read))


def test_an_aligned_bank_leaves_out_what_is_not_shown(tmp_path: Path) -> None:
    aligned = build(tmp_path / "aligned.st", GOOD[:8], "--align", "shift")
    read = read_bank(aligned)
    assert_same(read, inputs(read, 4))
    judge = OpenVinoJudge(read)
    wanted = judge.detect_inputs(np.pad(inputs(read), ((0, 0),) * 3 + ((0, 1),), constant_values=9))
    found = judge.detect_inputs(inputs(read))
    assert np.array_equal(found.anomaly_maps, wanted.anomaly_maps)


def test_scores_depend_on_no_batch_mates_and_no_threads(bank: Path) -> None:
    judge = OpenVinoJudge(read_bank(bank))
    pixels = inputs(judge.bank)
    together = judge.detect(pixels)
    with judge.side_by_side():
        apart = judge.detect(pixels[2:])
    np.testing.assert_allclose(apart.image_scores, together.image_scores[2:], rtol=1e-5)
    one, two = judge.detect(pixels[2:]), judge.detect(torch.from_numpy(pixels[2:]))
    assert np.array_equal(one.anomaly_maps, two.anomaly_maps)
    assert np.array_equal(one.image_scores, together.image_scores[2:])


def test_records_are_those_of_torch(bank: Path) -> None:
    """But for the last digits, and ties of keys."""
    ours = fapm("score", bank, SAMPLES / "test", "--json").json
    theirs = fapm(
        "score", bank, SAMPLES / "test", "--json", "--engine", "torch", "--precision", "fp32"
    ).json
    assert len(ours) == len(theirs) > 10
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        assert one["score"] == pytest.approx(other["score"], rel=1e-4)
        same = ("path", "verdict", "peak", "extent", "differs", "precision", "threshold")
        assert [one[key] for key in same] == [other[key] for key in same]
        assert [r["x"] for r in one["regions"]] == [r["x"] for r in other["regions"]]


def test_heatmaps_are_those_of_torch_to_one_grey_level(bank: Path, tmp_path: Path) -> None:
    from PIL import Image

    pictures = []
    for engine in ("openvino", "torch"):
        options = ("--engine", engine, "--precision", "fp32", "-o", tmp_path / engine)
        [path] = fapm("heatmap", bank, ONE_BAD, *options).out.splitlines()
        pictures.append(np.asarray(Image.open(path)).astype(int))
    assert (np.abs(pictures[0] - pictures[1]) > 1).mean() < 1e-3


def test_why_it_takes_torch(bank: Path) -> None:
    read = read_bank(bank)
    assert why_torch(read, "cpu", "auto") is None
    assert why_torch(read, "auto", "fp32") is None or torch.cuda.is_available()
    assert why_torch(read, "cuda:1", "auto") == "device cuda:1"
    assert why_torch(read, "cpu", "bf16") is None
    assert why_torch(read, "cpu", "fp16") == "precision fp16"
    assert why_torch(read, "cpu", "auto", compiled=True) == "--compile"
    assert why_torch(read, "cpu", "auto", weights="w.pth") == "--weights"
    bare = dataclasses.replace(read, backbone=None)
    assert why_torch(bare, "cpu", "auto") == "the bank holds no backbone"
    large = dataclasses.replace(read.config.preprocessing, resize_px=(1824, 64), crop_px=(1824, 64))
    config = dataclasses.replace(read.config, preprocessing=large)
    assert MOST_PX == 1792
    assert "64×1824 px" in str(why_torch(dataclasses.replace(read, config=config), "cpu", "auto"))


def test_without_openvino_torch_judges(bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fapm_cli.engines.opening.is_there", lambda name: name != "openvino")
    read = read_bank(bank)
    assert isinstance(open_judge(read), Detector)
    with pytest.raises(OptionError, match="OpenVINO is not installed"):
        open_judge(read, engine="openvino")


def test_an_engine_that_can_not_or_is_none_is_refused(bank: Path) -> None:
    result = fapm("score", bank, ONE_GOOD, "--engine", "openvino", "--precision", "fp16")
    assert (result.code, result.out) == (2, "")
    assert "precision fp16" in result.err
    assert "auto, openvino, torch" in fapm("score", bank, ONE_GOOD, "--engine", "onnx").err


def test_another_backbone_than_the_banks_is_refused(bank: Path, tmp_path: Path) -> None:
    loaded = load_bank(bank)
    backbone = {name: one.clone() for name, one in (loaded.backbone or {}).items()}
    next(iter(backbone.values())).mul_(1.001)
    save_bank(dataclasses.replace(loaded, backbone=backbone), tmp_path / "other.st")
    with pytest.raises(BankError, match="was built with"):
        fapm_cli.load(tmp_path / "other.st").detector()


def test_openvino_tells_nobody_that_it_was_imported(bank: Path, tmp_path: Path) -> None:
    """It would write who this is into the home folder, and send it."""
    program = "import sys, fapm_cli; fapm_cli.load(sys.argv[1]).detector()"
    subprocess.run(
        [sys.executable, "-c", program, bank],
        check=True,
        env={"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        timeout=120,
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU would emulate bfloat16")
def test_bfloat16_rounds_the_network_behind_its_first_stages(bank: Path, paper_bank: Path) -> None:
    for path in (bank, paper_bank):
        read = read_bank(path)
        pixels = inputs(read)
        exact, rounded = (
            OpenVinoJudge(read, name).detect_inputs(pixels) for name in ("auto", "bf16")
        )
        off = np.abs(rounded.layer_scores / exact.layer_scores - 1)
        assert 0 < off.max() < 0.01
        # Distances are float32's: what is rounded to 8 bits would differ by more in most places.
        assert (rounded.nearest_keys == exact.nearest_keys).mean() > 0.9


def test_a_rounded_model_in_parts_is_the_whole_one(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the parts need what is shown of the input."""
    monkeypatch.setattr("fapm_cli.compute.precision.cpu_has_bf16", lambda: True)
    monkeypatch.setattr("fapm_cli.engines.openvino_parts.ROUNDED", "f32")
    read = read_bank(bank)
    assert read.light is not None
    read = dataclasses.replace(read, registration=Registration(read.light.usual, 0.5))
    pixels = inputs(read, 4)
    wanted, found = (OpenVinoJudge(read, name).detect_inputs(pixels) for name in ("fp32", "bf16"))
    for name in PARTS:
        np.testing.assert_allclose(
            getattr(found, name), getattr(wanted, name), rtol=1e-5, atol=1e-6
        )


def test_bfloat16_is_refused_where_it_is_emulated_or_begins_too_late(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = read_bank(bank)
    early = dataclasses.replace(read.config, layers=("block2_expand", "block5_expand"))
    with pytest.raises(OptionError, match="block2_expand"):
        first_rounded(early, "bf16")
    assert first_rounded(early, "fp32") is None
    monkeypatch.setattr("fapm_cli.compute.precision.cpu_has_bf16", lambda: False)
    with pytest.raises(OptionError, match="emulated"):
        open_judge(read, "cpu", "bf16")
