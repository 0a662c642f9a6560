"""Parity: what counts as the same, by an oracle of plain loops, and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import load_bank
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection.detection import Detection
from fapm_cli.detection.detector import Detector
from fapm_cli.errors import ModelError
from fapm_cli.exporting.parity import Parity, compare, parity_pictures

SAME = Parity("engine 1", 4, 0.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def judged(bank: Path) -> tuple[Bank, Any, Detection]:
    loaded = load_bank(bank)
    pictures = parity_pictures(loaded)[0][::6]
    detector = Detector(loaded, plan=make_plan("cpu", "fp32"))
    return loaded, pictures, detector.detect(torch.from_numpy(pictures))


def outputs(found: Detection) -> list[Any]:
    parts = (found.image_scores, found.layer_scores, found.anomaly_maps, found.peaks)
    return [one.numpy().copy() for one in (*parts, found.nearest_keys)]


def compared(judged: tuple[Bank, Any, Detection], theirs: list[Any], batch: int = 1) -> Parity:
    bank, pictures, wanted = judged
    asked: list[int] = []

    def run(pixels: Any) -> list[Any]:
        start = sum(asked)
        asked.append(len(pixels))
        padded = [np.concatenate([one, one[-1:], one[-1:], one[-1:]]) for one in theirs]
        return [one[start : start + batch] for one in padded]

    [one] = compare(bank, {"engine 1": run}, pictures, wanted, batch)
    assert set(asked) == {batch}
    return one


def test_the_same_is_the_same_in_any_batch(judged: tuple[Bank, Any, Detection]) -> None:
    for batch in (1, 3, 4):
        assert compared(judged, outputs(judged[2]), batch) == replace(SAME, pictures=4)


def test_differences_are_shares_by_a_plain_loop(judged: tuple[Bank, Any, Detection]) -> None:
    bank, _, wanted = judged
    generator = np.random.default_rng(0)
    theirs = outputs(wanted)
    for i in range(3):
        theirs[i] *= 1 + 1e-3 * generator.standard_normal(theirs[i].shape).astype(np.float32)
    theirs[3] = generator.integers(0, 224, theirs[3].shape)
    theirs[4][0, :2] = (theirs[4][0, :2] + 1) % len(bank.memories[0].keys)
    found = compared(judged, theirs)
    own = outputs(wanted)
    score = layers = maps = peak = 0.0
    for n in range(4):
        score = max(score, abs(theirs[0][n] - own[0][n]) / max(own[0][n], bank.thresholds.score))
        for j in range(2):
            unit = max(own[1][n, j], bank.thresholds.pixel)
            layers = max(layers, abs(theirs[1][n, j] - own[1][n, j]) / unit)
        unit = max(own[2][n].max(), bank.thresholds.pixel)
        maps = max(maps, np.abs(theirs[2][n] - own[2][n]).max() / unit)
        x, y = theirs[3][n]
        peak = max(peak, (own[2][n].max() - own[2][n, y, x]) / unit)
    wanted_figures = (score, layers, maps, peak, 1 - 2 * 28 / own[4].size)
    figures = (found.score, found.layer_scores, found.anomaly_map, found.peak, found.nearest)
    assert figures == pytest.approx(wanted_figures, rel=1e-5)


def test_a_key_that_a_bank_holds_twice_is_as_near_as_itself(
    judged: tuple[Bank, Any, Detection],
) -> None:
    bank, pictures, wanted = judged
    theirs = outputs(wanted)
    number = theirs[4][0, 9, 9]
    memory = bank.memories[0]
    keys = memory.keys.clone()
    keys[number - 1] = keys[number]
    twice = replace(bank, memories=(replace(memory, keys=keys), bank.memories[1]))
    theirs[4][0, 9, 9] -= 1
    assert compared((twice, pictures, wanted), theirs).nearest == 1
    assert compared(judged, theirs).nearest < 1


def test_peaks_and_keys_that_are_nowhere_differ(judged: tuple[Bank, Any, Detection]) -> None:
    theirs = outputs(judged[2])
    theirs[3][0] = (-1, 5)
    assert compared(judged, theirs).peak == 1
    theirs[4][0, 0, 0] = -1
    assert compared(judged, theirs).nearest == 0


def test_x_and_y_changed_differ(judged: tuple[Bank, Any, Detection]) -> None:
    theirs = outputs(judged[2])
    theirs[3] = theirs[3][:, ::-1]
    with pytest.raises(ModelError, match="its peak differs"):
        compared(judged, theirs).check(False)


@pytest.mark.parametrize("wrong", [lambda o: o[:4], lambda o: [o[0].astype(int), *o[1:]]])
def test_what_gives_something_else_is_no_exported_bank(
    wrong: Any, judged: tuple[Bank, Any, Detection]
) -> None:
    with pytest.raises(ModelError, match="no exported bank"):
        compared(judged, wrong(outputs(judged[2])))


@pytest.mark.parametrize(
    ("field", "fits", "differs"),
    [
        ("score", 9e-5, 1.1e-4),
        ("layer_scores", 9e-5, 1.1e-4),
        ("anomaly_map", 4.9e-3, 5.1e-3),
        ("peak", 4.9e-3, 5.1e-3),
        ("nearest", 0.991, 0.989),
    ],
)
def test_each_difference_has_a_limit_and_nan_is_beyond(
    field: str, fits: float, differs: float
) -> None:
    def with_(value: float) -> Parity:
        return Parity(**{**SAME.summary(), field: value})

    with_(fits).check(False)
    for value in (differs, float("nan")):
        with pytest.raises(ModelError, match="engine 1"):
            with_(value).check(False)
    with_(differs).check(True)
    with pytest.raises(ModelError):
        with_(float("nan")).check(True)


def test_pictures_are_the_banks_own_and_their_negatives(bank: Path) -> None:
    loaded = load_bank(bank)
    pictures, own = parity_pictures(loaded)
    assert own
    assert pictures.shape == (24, 224, 224, 3)
    assert (pictures[:12] + pictures[12:] == 255).all()
    drawn, own = parity_pictures(replace(loaded, thumbnails=None))
    assert not own
    assert drawn.shape == (8, 224, 224, 3)
    assert np.array_equal(drawn, parity_pictures(replace(loaded, thumbnails=None))[0])
    assert len({one.tobytes() for one in drawn}) == 8
