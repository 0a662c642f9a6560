"""What a cluster takes beside one machine, to build or to judge: time, and bytes between machines.

A cluster is played on this machine: a head without workers, and machines of one worker each, which
share nothing but the network of this machine. All that goes over its loopback is counted, so
nothing else may use that: begin it in a network of its own.

    sudo unshare -n python benchmarks/cluster.py FOLDER [--score BANK] [--machines 0,1,2]
        [--options ...]

With --score the folder's pictures are judged by a bank, else one is built of them. 0 machines are
this process alone. It needs ``pip install 'fapm[ray]'`` and ``ip``.
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
    parser.add_argument("--score", type=Path, help="a bank that judges the folder's pictures")
    parser.add_argument("--machines", default="0,1,2", help="how many, each with one worker")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="of fapm")
    asked = parser.parse_args()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print("| machines | seconds | MB moved | SHA-256 of what came of it |\n|---:|---:|---:|---|")
    for number in map(int, asked.machines.split(",")):
        with cluster(number) as on:
            print("| {} | {:.1f} | {:.1f} | {} |".format(number, *done(asked, on)), flush=True)


@contextmanager
def cluster(machines: int) -> Iterator[list[str]]:
    """Play a cluster; gives the options that fapm needs for it."""
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


def done(asked: argparse.Namespace, on: list[str]) -> tuple[float, float, str]:
    """Seconds, MB, and the hash of the bank or of the records."""
    fapm = [sys.executable, "-m", "fapm_cli"]
    with tempfile.TemporaryDirectory() as folder:
        bank = Path(folder) / "bank.st"
        command = [*fapm, "build", str(asked.folder), "-o", str(bank)]
        if asked.score is not None:
            judging = [str(asked.score), str(asked.folder), "--exit-zero", "--format", "jsonl"]
            command = [*fapm, "score", *judging]
        before, start = moved(), time.perf_counter()
        command += ["--threads", "1", *on, *asked.options]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        seconds = time.perf_counter() - start
        made = told if asked.score is not None else bank.read_bytes()
        return seconds, (moved() - before) / 1e6, hashlib.sha256(made).hexdigest()[:16]


def moved() -> int:
    """Bytes that came over the loopback."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, values = line.partition(":")
        if name.strip() == "lo":
            return int(values.split()[0])
    raise SystemExit("no loopback")


if __name__ == "__main__":
    main()
