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

_POOLS = """
import ctypes, sys, tempfile, threading
from fapm_cli.compute.resident import share_pools
{share}
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fclose.argtypes = [ctypes.c_void_p]
ready = threading.Barrier(8)
def work():
    ready.wait()
    libc.malloc(2000)
    ready.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for one in threads:
    one.start()
for one in threads:
    one.join()
with tempfile.NamedTemporaryFile() as told:
    file = libc.fopen(told.name.encode(), b"w")
    libc.malloc_info(0, file)
    libc.fclose(file)
    print(told.read().count(b"<heap"))
"""


def told(program: str) -> float:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_memory_that_was_given_back_counts() -> None:
    least = told(_PEAK.format(held=1))
    assert 200 < told(_PEAK.format(held=200)) < 200 + 2 * least


def test_memory_of_the_one_who_started_it_does_not_count() -> None:
    inner = _PEAK.format(held=1)
    outer = f"""
import subprocess, sys
held = b"1" * 300_000_000
print(subprocess.check_output([sys.executable, "-c", {inner!r}], text=True))
"""
    assert told(outer) < 100


@pytest.mark.skipif(not GLIBC, reason="pools of freed memory are given back by glibc's own call")
def test_what_is_freed_between_what_is_used_is_given_back() -> None:
    assert told(_FREED.format(give_back="pass")) > 80
    assert told(_FREED.format(give_back="give_back_freed()")) < 40


@pytest.mark.skipif(not GLIBC, reason="pools of memory are glibc's")
def test_threads_share_as_many_pools_as_are_asked_for() -> None:
    assert told(_POOLS.format(share="pass")) > 2
    assert told(_POOLS.format(share="share_pools(2)")) == 2
