"""Regions in a picture's own px: each side by itself, wherever the part lies in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ONE_BAD

from fapm_cli.bank.file import load_bank
from fapm_cli.detection.detection import Detection
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.stream import Judged, judge
from fapm_cli.pictures.fitting.pose import UPRIGHT, Pose

TOP, BOTTOM, LEFT, RIGHT = 150, 200, 20, 64  # of a region, in 224 px


@pytest.fixture(scope="module")
def detector(bank: Path) -> Detector:
    return Detector(load_bank(str(bank)))


@pytest.fixture(scope="module")
def found(detector: Detector) -> Detection:
    """One region, with its peak in the first row and the last column."""
    [one] = judge(detector, [ONE_BAD])
    assert isinstance(one, Judged)
    anomaly_map = torch.zeros(1, 224, 224)
    anomaly_map[:, TOP:BOTTOM, LEFT:RIGHT] = 50
    anomaly_map[:, TOP, RIGHT - 1] = 60
    return replace(one.found, anomaly_maps=anomaly_map, peaks=torch.tensor([[RIGHT - 1, TOP]]))


@pytest.mark.parametrize("size_px", [(224, 224), (896, 224), (224, 896), (448, 672)])
@pytest.mark.parametrize("shift_px", [(0, 0), (9, -5), (-6, 12)])
def test_a_box_is_shifted_down_by_rows_and_right_by_columns(
    detector: Detector, found: Detection, size_px: tuple[int, int], shift_px: tuple[int, int]
) -> None:
    (y_scale, x_scale), (down, right) = (side // 224 for side in size_px), shift_px
    [region] = detector.locator.locate(found, size_px, Pose(shift_px))["regions"]
    assert region["y"] == TOP * y_scale + down
    assert region["height"] == (BOTTOM - TOP) * y_scale
    assert region["x"] == LEFT * x_scale + right
    assert region["width"] == (RIGHT - LEFT) * x_scale
    assert region["area_px"] == (BOTTOM - TOP) * (RIGHT - LEFT) * y_scale * x_scale


@pytest.mark.parametrize("size_px", [(224, 224), (896, 224), (224, 896)])
def test_a_turned_box_and_peak_lie_on_the_turned_map(
    detector: Detector, found: Detection, size_px: tuple[int, int]
) -> None:
    pose = Pose((4, -3), 4.0)
    located = detector.locator.locate(found, size_px, pose)
    [region] = located["regions"]
    drawn = detector.locator.picture_map(found.anomaly_maps[0], size_px, pose)
    rows, columns = np.nonzero(np.nan_to_num(drawn) > 25)
    assert abs(region["y"] - rows.min()) <= 2
    assert abs(region["x"] - columns.min()) <= 2
    assert abs(region["y"] + region["height"] - 1 - rows.max()) <= 2
    assert abs(region["x"] + region["width"] - 1 - columns.max()) <= 2
    y, x = np.unravel_index(np.nanargmax(drawn), drawn.shape)
    assert (located["peak"]["x"], located["peak"]["y"]) == pytest.approx((x, y), abs=4)
    upright = detector.locator.locate(found, size_px, UPRIGHT)
    assert located["peak"] != upright["peak"]
