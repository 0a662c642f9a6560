"""Memory is that of this process: all that it ever had, and nothing of whoever started it."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
from conftest import ROOT

GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim")
_PEAK = """
import subprocess, sys
held = bytearray({held}_000_000)
for i in range(0, len(held), 4096):
    held[i] = 1
del held
from fapm_cli.compute.resident import peak_resident_mb
print(peak_resident_mb())
"""

_FREED = """
import sys
from fapm_cli.compute.resident import _STATUS, give_back_freed
def resident_mb():
    return int(_STATUS.read_text().split("VmRSS:")[1].split()[0]) / 1000
before = resident_mb()
held = [bytes(2000) for _ in range(50_000)]
held = [held, held[::50]]  # a ring, so that only a look for rings frees it
held.append(held)
used = held[1]
del held
{give_back}
print(resident_mb() - before)
"""


def peak_mb(program: str) -> float:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_memory_that_was_given_back_counts() -> None:
    least = peak_mb(_PEAK.format(held=1))
    assert 200 < peak_mb(_PEAK.format(held=200)) < 200 + 2 * least


def test_memory_of_the_one_who_started_it_does_not_count() -> None:
    inner = _PEAK.format(held=1)
    outer = f"""
import subprocess, sys
held = b"1" * 300_000_000
print(subprocess.check_output([sys.executable, "-c", {inner!r}], text=True))
"""
    assert peak_mb(outer) < 100


@pytest.mark.skipif(not GLIBC, reason="pools of freed memory are given back by glibc's own call")
def test_what_is_freed_between_what_is_used_is_given_back() -> None:
    assert peak_mb(_FREED.format(give_back="pass")) > 80
    assert peak_mb(_FREED.format(give_back="give_back_freed()")) < 40
