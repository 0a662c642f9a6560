r"""Time of a build from a folder, a tar file, the web and S3, in turns; and whether banks agree.

python benchmarks/elsewhere.py FOLDER --rounds 3 --delay-ms 20 [--options --metric plain]

The servers are on this machine, in processes of their own (moto's for S3: pip install
'moto[server]'), so they take part of it. The web's waits before each answer, as a network would.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Slow(SimpleHTTPRequestHandler):
    """Gives files, after a while."""

    protocol_version = "HTTP/1.1"
    delay_s = 0.0

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Give a file."""
        time.sleep(self.delay_s)
        super().do_GET()


def serve(folder: Path, port: int, delay_ms: float) -> None:
    """Give a folder to the web, for ever."""
    _Slow.delay_s = delay_ms / 1000
    ThreadingHTTPServer(("127.0.0.1", port), partial(_Slow, directory=str(folder))).serve_forever()


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def started(port: int, *command: str) -> subprocess.Popen[bytes]:
    """Start a server, and wait until it answers."""
    null = subprocess.DEVNULL
    process = subprocess.Popen([sys.executable, *command], stdout=null, stderr=null)
    for _ in range(1200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"no answer from {command}")


def to_bucket(pictures: list[Path]) -> str:
    """Put pictures into a bucket; gives its address."""
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket="pictures")
    for path in pictures:
        client.put_object(Bucket="pictures", Key=path.name, Body=path.read_bytes())
    return "s3://pictures"


def seconds(where: str, bank: Path, options: list[str]) -> float:
    """Build a bank in a process of its own; how long that takes."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "fapm_cli", "build", where, "-o", str(bank), *options]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    """Measure, and print one line of JSON a place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, help="take so many of the first (default: all)")
    parser.add_argument("--delay-ms", type=float, default=20)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[])
    given = parser.parse_args()
    if given.serve:
        serve(given.folder, given.serve, given.delay_ms)
    pictures = sorted(path for path in given.folder.iterdir() if path.is_file())
    pictures = pictures[: given.pictures]
    web, s3 = free_port(), free_port()
    os.environ |= {
        **{"AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3}", "AWS_DEFAULT_REGION": "us-east-1"},
        **{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"},
    }
    with tempfile.TemporaryDirectory() as scratch:
        shared = Path(scratch) / "shared"
        shared.mkdir()
        for path in pictures:
            (shared / path.name).symlink_to(path.resolve())
        here = Path(shutil.copytree(shared, Path(scratch) / "here"))
        (shared / "list.txt").write_text("\n".join(path.name for path in pictures))
        with tarfile.open(Path(scratch) / "pictures.tar", "w") as archive:
            for path in pictures:
                archive.add(path, path.name)
        delay = str(given.delay_ms)
        servers = [
            started(web, __file__, str(shared), "--serve", str(web), "--delay-ms", delay),
            started(s3, "-m", "moto.server", "-p", str(s3)),
        ]
        try:
            places = {
                "folder": str(here),
                "tar": f"{scratch}/pictures.tar",
                "web": f"http://127.0.0.1:{web}/list.txt",
                "s3": to_bucket(pictures),
            }
            times: dict[str, list[float]] = {name: [] for name in places}
            banks = {name: Path(scratch) / f"{name}.st" for name in places}
            for _ in range(given.rounds):
                for name, where in places.items():
                    times[name].append(seconds(where, banks[name], given.options))
            for name, all_s in times.items():
                same = banks[name].read_bytes() == banks["folder"].read_bytes()
                found = [round(one, 1) for one in all_s]
                median_s = round(statistics.median(all_s), 1)
                print(json.dumps({"from": name, "median_s": median_s, "all": found, "same": same}))
        finally:
            for server in servers:
                server.kill()


if __name__ == "__main__":
    main()
