"""Memory is that of this process: all that it ever had, and nothing of whoever started it."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT

_PEAK = """
import subprocess, sys
held = bytearray({held}_000_000)
for i in range(0, len(held), 4096):
    held[i] = 1
del held
from fapm_cli.compute.resident import peak_resident_mb
print(peak_resident_mb())
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
