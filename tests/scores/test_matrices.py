"""The matrices of graphs are those of the scorer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fapm_cli.scores import geometry, matrices


@given(
    st.integers(1, 40),
    st.integers(1, 60),
    st.sampled_from([0.0, 0.4, 1.5, 4.0]),
    st.sampled_from(["bilinear", "nearest"]),
)
def test_spreading_is_the_scorers(num_in: int, more: int, sigma: float, placement: str) -> None:
    out = num_in + more
    found = matrices.spreading_matrix(out, num_in, sigma, placement)  # type: ignore[arg-type]
    wanted = geometry.make_spreader(
        (num_in, 1),
        (out, 1),
        sigma,
        placement,
        torch.device("cpu"),  # type: ignore[arg-type]
    )
    np.testing.assert_allclose(found, wanted.rows.numpy(), atol=1e-6)


@pytest.mark.parametrize(("num", "block"), [(8, 4), (9, 4), (3, 4), (1, 1)])
def test_means_of_blocks_are_means_of_what_is_there(num: int, block: int) -> None:
    line = np.random.default_rng(0).random(num)
    wanted = [line[first : first + block].mean() for first in range(0, num, block)]
    np.testing.assert_allclose(matrices.mean_matrix(num, block) @ line, wanted)


def test_a_place_is_covered_where_any_px_is() -> None:
    roi = np.random.default_rng(0).random((8, 12)) > 0.8
    wanted = geometry.covered(torch.from_numpy(roi), (4, 3)).numpy()
    assert np.array_equal(matrices.covered(roi, (4, 3)), wanted)
