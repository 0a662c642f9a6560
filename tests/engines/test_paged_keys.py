"""Paged keys are a bank's own: each patch's on its page, and of those around that are there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import small_bank

from fapm_cli.arrays import host
from fapm_cli.engines.paged_keys import PagedKeys

GRID = (2, 3)


@pytest.mark.parametrize("with_metrics", [False, True])
@pytest.mark.parametrize(
    ("rows", "columns", "reach"),
    [
        (range(0, 1), range(1, 3), 0),
        (range(1, 2), range(0, 2), 1),
        (range(0, 2), range(0, 3), 1),
        (range(1, 2), range(2, 3), 2),
    ],
)
def test_pages_hold_the_keys_of_the_patches_and_of_those_in_reach(
    rows: range, columns: range, reach: int, with_metrics: bool
) -> None:
    bank = small_bank(with_metrics=with_metrics)
    if with_metrics:  # that keep fewer dimensions
        narrower = [None if m.metrics is None else m.metrics[..., :4] for m in bank.memories]
        both = zip(bank.memories, narrower, strict=True)
        bank = replace(bank, memories=tuple(replace(m, metrics=own) for m, own in both))
    for number, memory in enumerate(bank.memories):
        keys, counts = host(memory.keys), host(memory.key_counts)
        paged = PagedKeys(bank, number, 5)
        assert paged.width == 8  # of the patch that has most
        assert PagedKeys(bank, number, 30).width == 30
        h, w = bank.map_sizes[number]
        assert paged.bytes_of_patch == 4 * 8 * (keys.shape[1] + h * w // 6)
        channels = keys.shape[1]
        dimensions = 4 if with_metrics else channels
        p = (len(rows) + 2 * reach) * (len(columns) + 2 * reach)
        into: dict[str, np.ndarray[Any, Any]] = {
            "keys": np.zeros((p, 8, channels), np.float32),
            "norms_sq": np.zeros((p, 8, 1), np.float32),
            "centers": np.zeros((p, 1, dimensions), np.float32),
            "first": np.zeros((p, 1, 1), np.int64),
        }
        if with_metrics:
            into["metrics"] = np.zeros((p, channels, dimensions), np.float32)
        paged.bring(rows, columns, reach, into)
        places = [
            (row, column)
            for row in range(rows.start - reach, rows.stop + reach)
            for column in range(columns.start - reach, columns.stop + reach)
        ]
        assert len(places) == p
        for page, (row, column) in enumerate(places):
            if not (0 <= row < GRID[0] and 0 <= column < GRID[1]):
                assert np.isinf(into["norms_sq"][page]).all()
                continue
            patch = row * GRID[1] + column
            first, count = int(counts[:patch].sum()), int(counts[patch])
            own = keys[first : first + count]
            assert np.array_equal(into["keys"][page, :count], own)
            assert into["first"][page].tolist() == [[first]]
            if with_metrics and memory.metrics is not None:
                assert np.array_equal(into["metrics"][page], host(memory.metrics)[patch])
                own = own @ host(memory.metrics)[patch]
            center = own.mean(axis=0)
            np.testing.assert_allclose(into["centers"][page, 0], center, rtol=1e-4, atol=1e-5)
            apart = ((own - center) ** 2).sum(axis=1)
            np.testing.assert_allclose(into["norms_sq"][page, :count, 0], apart, rtol=1e-4)
            assert np.isinf(into["norms_sq"][page, count:]).all()
