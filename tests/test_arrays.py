"""What is read of a mapped file is given back, and read again."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from fapm_cli.arrays import let_go


def resident_kb(path: Path) -> int:
    """Kilobytes of a mapped file that this process has resident."""
    maps = re.split(r"\n(?=[0-9a-f]+-)", Path("/proc/self/smaps").read_text())
    own = [one for one in maps if str(path) in one.splitlines()[0]]
    return sum(int(found[1]) for one in own if (found := re.search(r"^Rss: +(\d+)", one, re.M)))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is resident")
def test_a_part_of_a_mapped_file_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    np.arange(2**20, dtype=np.float32).tofile(path)
    mapped = np.memmap(path, np.float32, "c", 4000, (1000, 1000))
    for first in range(0, 1000, 10):  # the system reads ahead: all of it is touched
        mapped[first : first + 10].sum()
    there = resident_kb(path)
    assert there >= 3900
    let_go(mapped[200:800])
    assert resident_kb(path) <= there - 2300
    assert mapped[200, 0] == 1000 + 200_000


def test_other_arrays_stay_as_they_are() -> None:
    for values in (np.arange(9999), np.arange(9999)[::2], np.frombuffer(b"abcd" * 5000, np.uint8)):
        before = values.copy()
        let_go(values)
        assert np.array_equal(values, before)
