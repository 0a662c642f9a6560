"""What is held of all pictures lies in memory that is taken once."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fapm_cli.learning.twins import Looking, Looks, look_at


@settings(max_examples=25)
@given(st.lists(st.integers(1, 4), max_size=5), st.integers(0, 3), st.integers(0, 2**16))
def test_looks_that_come_in_batches_are_those_of_all_in_memory_of_their_own(
    batches: list[int], spare: int, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    shape = sum(batches), 40, 56, 3
    pixels = torch.randint(256, shape, generator=draw, dtype=torch.uint8)
    looking = Looking(len(pixels) + spare)
    kept: set[int] = set()
    for batch in torch.split(pixels, batches) if batches else ():
        looking.add(batch)
        found = looking.finish()
        assert found is not None
        kept.add(found.details.untyped_storage().data_ptr())
    assert len(kept) <= 1
    found = looking.finish()
    if found is None:
        assert not batches
        return
    wanted = look_at(pixels)
    for name in ("means", "details"):
        assert torch.equal(getattr(found, name), getattr(wanted, name))
    assert isinstance(found, Looks)
    assert found.block_px == wanted.block_px
