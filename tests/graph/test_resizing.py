"""A picture of any size comes to the input's px as Pillow brings it there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from fapm_cli.graph.resizing import resized
from fapm_cli.graph.writer import Graph

runtime: Any = pytest.importorskip("onnxruntime", reason="the extra fapm[export] is not installed")


@pytest.mark.parametrize("size", [(48, 64), (33, 7)])
def test_pixels_are_those_of_pillow_to_the_last(size: tuple[int, int]) -> None:
    graph = Graph()
    pixels = graph.input("pixels", np.uint8, (1, "height", "width", 3)).cast(np.float32)
    graph.output("resized", resized(graph, pixels, size), np.float32, (1, *size, 3))
    session = runtime.InferenceSession(
        graph.model(18).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    draw = np.random.default_rng(0)
    sizes = [
        size,
        (96, 128),
        (144, 192),
        (1, 1),
        (17, 200),
        (1000, 5),
        *draw.integers(1, 400, (30, 2)),
    ]
    for height, width in sizes:
        given = draw.integers(0, 256, (height, width, 3), np.uint8)
        image = Image.fromarray(given).resize(size[::-1], Image.Resampling.BILINEAR)
        [found] = session.run(None, {"pixels": given[None]})
        assert np.array_equal(found[0], np.asarray(image)), (height, width)


def test_an_older_pillow_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that makes every picture narrower first."""
    monkeypatch.setattr("fapm_cli.graph.resizing.shrinks_down_first", lambda: False)
    graph = Graph()
    pixels = graph.input("pixels", np.uint8, (1, "height", "width", 3)).cast(np.float32)
    graph.output("resized", resized(graph, pixels, (16, 24)), np.float32, (1, 16, 24, 3))
    session = runtime.InferenceSession(
        graph.model(18).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    given = np.random.default_rng(0).integers(0, 256, (90, 40, 3), np.uint8)
    across = Image.fromarray(given).resize((24, 90), Image.Resampling.BILINEAR)
    [found] = session.run(None, {"pixels": given[None]})
    assert np.array_equal(found[0], np.asarray(across.resize((24, 16), Image.Resampling.BILINEAR)))
