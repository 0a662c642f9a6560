"""Ids: unique, and in the order of time."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from fapm_cli.plain_values import new_id

MOMENTS = st.integers(0, 4 * 10**15)


@given(st.lists(MOMENTS, min_size=2, max_size=9))
def test_ids_sort_as_their_moments_and_are_never_the_same(moments: list[int]) -> None:
    ids = [new_id(moment / 1e6) for moment in moments]
    assert len({*ids}) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    apart = sorted({moment // 2 * 2 for moment in moments})  # floats may be a microsecond off
    assert [new_id(one / 1e6)[:12] for one in apart] == sorted(
        new_id(one / 1e6)[:12] for one in apart
    )
