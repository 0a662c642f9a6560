"""GenICam cameras, against the simulator that the package genicam brings, and by plain-loop px."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import assert_fails, fapm

from fapm_cli.errors import DeviceError
from fapm_cli.pictures.picture import Frame
from fapm_cli.sources.genicam import GenicamCamera, bgr_of
from fapm_cli.sources.video import open_camera

genicam = pytest.importorskip("genicam", reason="the extra fapm[genicam] is not installed")
pytest.importorskip("harvesters", reason="the extra fapm[genicam] is not installed")
SIMULATOR = Path(genicam.__file__).with_name("viky.cti")
if not SIMULATOR.exists():
    pytest.skip("genicam has no simulator here", allow_module_level=True)
RED, BLUE = (f"genicam:{SIMULATOR}#{serial}" for serial in (0, 2))


def first(frames: Iterator[Any]) -> Frame:
    return next(one for one in frames if isinstance(one, Frame))


def test_two_cameras_of_one_producer_give_frames_in_their_colours() -> None:
    red, blue = open_camera(RED), open_camera(BLUE)
    frames = [first(red), first(blue)]
    assert [str(one.path) for one in frames] == ["genicam:0", "genicam:2"]
    assert [one.bgr.shape for one in frames] == [(400, 400, 3)] * 2
    least = [one.bgr.reshape(-1, 3).min(axis=0).tolist() for one in frames]
    assert [one.index(max(one)) for one in least] == [2, 0]  # of b, g, r
    assert first(red).moment.frame > 0
    with pytest.raises(DeviceError, match="is it free"):
        open_camera(RED)
    for one in (red, blue):
        one.close()  # type: ignore[attr-defined]
    again = open_camera(RED)
    assert first(again).moment.frame == 0
    again.close()  # type: ignore[attr-defined]


def test_a_camera_without_frames_for_a_while_is_waited_for() -> None:
    camera = GenicamCamera(f"genicam:{SIMULATOR}#VikyTL_DEV_green")
    rate = camera._acquirer.remote_device.node_map.AcquisitionFrameRate
    before, rate.value = rate.value, max(rate.min, 0.5)
    try:
        found = [camera.read()[1] is None for _ in range(3)]
        assert True in found
    finally:
        rate.value = before
        camera.release()


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        (f"genicam:{SIMULATOR}", "there are 0, 1, 2"),
        (f"genicam:{SIMULATOR}#9", "'9': name one by its serial number"),
        ("genicam:/nothing.cti#1", "/nothing.cti is not there"),
        (f"genicam:{__file__}", "finds no camera"),
        ("genicam:", "wanted a number, or genicam:PRODUCER"),
        ("-1", "wanted a number, or genicam:PRODUCER"),
    ],
)
def test_a_camera_that_can_not_be_had_is_told_in_one_line(
    camera: str, said: str, bank: Path
) -> None:
    assert_fails(fapm("score", bank, f"--camera={camera}"), said)


def test_score_judges_frames_of_a_camera_and_ctrl_c_stays_its_own(bank: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    done = fapm("score", bank, "--camera", RED, "--limit", 2, "--format", "jsonl", "--exit-zero")
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [one["path"] for one in records] == ["genicam:0"] * 2
    assert records[0]["frame"] < records[1]["frame"]
    assert signal.getsignal(signal.SIGINT) == before


def test_the_extra_is_named_where_it_is_missing(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.cti").touch()
    monkeypatch.setitem(sys.modules, "harvesters.core", None)
    done = fapm("score", bank, "--camera", f"genicam:{tmp_path / 'other.cti'}")
    assert_fails(done, "pip install 'fapm[genicam]'")


def component(kind: str, rows: Any) -> SimpleNamespace:
    data = np.asarray(rows, np.uint8)
    width = 8
    return SimpleNamespace(data_format=kind, width=width, height=len(data), data=data.reshape(-1))


@pytest.mark.parametrize(
    ("kind", "px", "bgr"),
    [
        ("Mono8", [7], [7, 7, 7]),
        ("RGB8", [1, 2, 3], [3, 2, 1]),
        ("BGR8", [1, 2, 3], [1, 2, 3]),
        ("RGBa8", [1, 2, 3, 9], [3, 2, 1]),
        ("BGRa8", [1, 2, 3, 9], [1, 2, 3]),
    ],
)
def test_px_of_every_format_become_bgr_whatever_pads_the_rows(
    kind: str, px: list[int], bgr: list[int]
) -> None:
    rows = [[*px * 8, 99, 99]] * 4
    assert np.array_equal(bgr_of(component(kind, rows)), np.full((4, 8, 3), bgr))


@pytest.mark.parametrize("order", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_a_mosaic_becomes_the_colour_that_it_is_of(order: str) -> None:
    level = {"R": 200, "G": 100, "B": 50}
    rows = [[level[order[2 * (y % 2) + x % 2]] for x in range(8)] for y in range(8)]
    found = bgr_of(component(f"Bayer{order[:2]}8", rows))
    assert np.array_equal(found[2:-2, 2:-2], np.full((4, 4, 3), [50, 100, 200]))


def test_another_format_is_none_that_is_read() -> None:
    with pytest.raises(DeviceError, match="Mono12"):
        bgr_of(component("Mono12", [[0] * 8]))
