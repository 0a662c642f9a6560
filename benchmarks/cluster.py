"""What a build on a cluster takes beside one without: time, and bytes between its machines.

A cluster is played on this machine: a head without workers, and machines of one worker each, which
share nothing but the network of this machine. All that goes over its loopback is counted, so
nothing else may use that: begin it in a network of its own.

    sudo unshare -n python benchmarks/cluster.py FOLDER [--machines 0,1,2] [--options ...]

0 machines are a plain build. It needs ``pip install 'fapm[ray]'`` and ``ip``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HERE = "127.0.0.1"
_RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def main() -> None:
    """Print a row for each number of machines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machines", default="0,1,2", help="how many, each with one worker")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="of fapm build")
    asked = parser.parse_args()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print("| machines | seconds | MB moved | SHA-256 of the bank |\n|---:|---:|---:|---|")
    for number in map(int, asked.machines.split(",")):
        with cluster(number) as on:
            print("| {} | {:.1f} | {:.1f} | {} |".format(number, *built(asked, on)), flush=True)


@contextmanager
def cluster(machines: int) -> Iterator[list[str]]:
    """Play a cluster; gives the options that a build needs for it."""
    if not machines:
        yield []
        return
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = [*_RAY, "start", f"--node-ip-address={_HERE}", "--disable-usage-stats"]
    head = ["--head", "--num-cpus=0", "--include-dashboard=false", "--ray-client-server-port=10001"]
    head += ["--runtime-env-agent-port=6380"]  # the client server asks for it where it was told
    try:
        subprocess.run([*start, *head], **quiet)  # type: ignore[call-overload]
        for _ in range(machines):
            join = [f"--address={_HERE}:6379", "--num-cpus=1"]
            subprocess.run([*start, *join], **quiet)  # type: ignore[call-overload]
        yield ["--on", f"ray://{_HERE}:10001"]
    finally:
        subprocess.run([*_RAY, "stop", "--force"], **quiet)  # type: ignore[call-overload]


def built(asked: argparse.Namespace, on: list[str]) -> tuple[float, float, str]:
    """Seconds, MB, and the bank, of a build."""
    with tempfile.TemporaryDirectory() as folder:
        bank = Path(folder) / "bank.st"
        command = [sys.executable, "-m", "fapm_cli", "build", str(asked.folder), "-o", str(bank)]
        before, start = moved(), time.perf_counter()
        subprocess.run([*command, "--threads", "1", *on, *asked.options], check=True)
        seconds = time.perf_counter() - start
        return seconds, (moved() - before) / 1e6, hashlib.sha256(bank.read_bytes()).hexdigest()[:16]


def moved() -> int:
    """Bytes that came over the loopback."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, values = line.partition(":")
        if name.strip() == "lo":
            return int(values.split()[0])
    raise SystemExit("no loopback")


if __name__ == "__main__":
    main()
