"""Ids are unique, and in the order of time; shares say none and all of these alone."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from fapm_cli.plain_values import new_id, percent

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


@given(st.floats(0, 1))
def test_none_and_all_are_said_of_none_and_all_alone(share: float) -> None:
    assert (percent(share) == "0%") == (share == 0)
    assert (percent(share) == "100%") == (share == 1)
    number = int(re.findall(r"\d+", percent(share))[0])
    assert abs(100 * share - number) <= (1 if " " in percent(share) else 0.5 + 1e-9)
