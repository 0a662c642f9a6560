"""Measure `fapm serve`: latency and throughput beside the engine's own, and malformed requests.

Usage: python benchmarks/serve.py BANK [--pictures N] [--malformed N] [--clients N]

The service is a process of its own, and so are its clients, on the same machine and cores. All are
taken in turns: the engine alone (in a third process, which has a file's bytes, judges them and
writes the record down; in one thread for latency, and in one a core for throughput), then the same
pictures through HTTP by one client, and by eight. Beside times, which others on the machine
lengthen, stands what each process took of the CPU. Then malformed requests are sent, by so many
clients as are asked for, and those that never come to their end 64 at a time, beside good ones that
come as on a line, each on a connection of its own.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from malformed import is_slow, malformed

from fapm_cli.api.bank import load
from fapm_cli.compute.cores import usable_cores
from fapm_cli.pictures.picture import Encoded
from fapm_cli.serving.served_bank import Loaded

SAMPLES = Path(__file__).parents[1] / "samples"
ROUNDS, CLIENTS = 5, 8
KIND = {"Content-Type": "image/jpeg"}


def engine(bank: str, number: int, asked: Any, told: Any) -> None:
    """Judge without a service, whenever that is asked for."""
    loaded = Loaded(load(bank).detector(), "", 0, None)
    parts = [Encoded(path, path.read_bytes()) for path in pictures()]

    def one(at: int) -> float:
        begun = time.perf_counter()
        json.dumps(loaded.judge(parts[at % len(parts)]).record)
        return (time.perf_counter() - begun) * 1000

    with ThreadPoolExecutor(usable_cores()) as threads:
        list(threads.map(one, range(len(parts))))
        told.put(None)
        while (what := asked.get()) is not None:
            begun = time.perf_counter()
            times = (
                [*map(one, range(number))] if what == "one" else [*threads.map(one, range(number))]
            )
            told.put((times, number / (time.perf_counter() - begun), cpu_ms(os.getpid())))


def clients(port: int, number: int, asked: Any, told: Any) -> None:
    """Ask the service, by so many clients as are asked for."""
    parts = [path.read_bytes() for path in pictures()]

    def ask(share: range) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = []
        for at in share:
            begun = time.perf_counter()
            connection.request("POST", "/banks/bank/score", parts[at % len(parts)], KIND)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            times.append((time.perf_counter() - begun) * 1000)
        return times

    while (many := asked.get()) is not None:
        with ThreadPoolExecutor(many) as threads:
            begun = time.perf_counter()
            found = list(threads.map(ask, (range(n, number, many) for n in range(many))))
            rate = number / (time.perf_counter() - begun)
            told.put(([*chain(*found)], rate, cpu_ms(os.getpid())))


def cpu_ms(pid: int) -> float:
    """What a process took of the CPU so far (Linux)."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def pictures() -> list[Path]:
    """Those that are judged."""
    return sorted((SAMPLES / "test").rglob("*.jpg"))


def p95(times: list[float]) -> float:
    """The time that 95 % of them stay below."""
    return statistics.quantiles(times, n=20)[-1]


def in_process(work: Callable[..., None], *arguments: Any) -> Callable[[Any], Any]:
    """Start a process that does some work whenever it is asked to."""
    context = multiprocessing.get_context("spawn")
    asked, told = context.Queue(), context.Queue()
    context.Process(target=work, args=(*arguments, asked, told), daemon=True).start()

    def ask(what: Any) -> Any:
        asked.put(what)
        return told.get()

    ask.ready = told.get  # type: ignore[attr-defined]
    return ask


def compare(bank: str, served: int, port: int, number: int) -> None:
    """Latency and throughput, in turns."""
    own, through = in_process(engine, bank, number), in_process(clients, port, number)
    own.ready()  # type: ignore[attr-defined]
    rows: dict[str, list[float]] = {}
    cpu = {"own": own("one")[2], "client": through(1)[2], "service": cpu_ms(served)}
    for _ in range(ROUNDS):
        for name, ask, what in (
            ("own", own, "one"),
            ("http", through, 1),
            ("own, all cores", own, "all"),
            (f"http, {CLIENTS} clients", through, CLIENTS),
        ):
            times, rate, spent = ask(what)
            rows.setdefault(f"{name}: p95 ms", []).append(p95(times))
            rows.setdefault(f"{name}: median ms", []).append(statistics.median(times))
            rows.setdefault(f"{name}: pictures/s", []).append(rate)
            process = "own" if ask is own else "client"
            now = {process: spent} | ({} if ask is own else {"service": cpu_ms(served)})
            for who, total in now.items():
                rows.setdefault(f"{name}: {who}'s CPU ms", []).append((total - cpu[who]) / number)
            cpu |= now
    for name, found in rows.items():
        print(f"{name:34} {statistics.median(found):8.2f}   {[round(one, 2) for one in found]}")
    late = [a - 1.3 * b for a, b in zip(rows["http: p95 ms"], rows["own: p95 ms"], strict=True)]
    rates = rows[f"http, {CLIENTS} clients: pictures/s"], rows["own, all cores: pictures/s"]
    share = statistics.median(a / b for a, b in zip(*rates, strict=True))
    print(f"p95 beyond 1.3 x own: {statistics.median(late):.2f} ms (wanted: at most 3)")
    print(f"share of own pictures/s: {share:.3f} (wanted: at least 0.9)")


def send(port: int, data: bytes) -> str:
    """The status that comes back; ``closed`` where none does."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            connection.sendall(data)
            while part := connection.recv(1 << 16):
                got += part
        except ConnectionError:
            pass
    return got.split(b" ", 2)[1].decode() if got.startswith(b"HTTP/1.1 ") else "closed"


def paced(port: int, number: int, gap_s: float) -> list[float]:
    """Latencies of good requests at a fixed rate, as a line has it."""
    times, good = [], pictures()[0].read_bytes()
    for _ in range(number):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        begun = time.perf_counter()
        connection.request("POST", "/banks/bank/score", good, KIND)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        times.append((time.perf_counter() - begun) * 1000)
        connection.close()
        time.sleep(gap_s)
    return times


def attack(port: int, number: int, many: int) -> None:
    """Good requests alone, then beside malformed ones."""
    alone = paced(port, 200, 0.05)
    chance, good = random.Random(0), pictures()[0].read_bytes()
    requests = [malformed(chance, good) for _ in range(number)]
    statuses: Counter[str] = Counter()
    over = threading.Event()
    beside: list[float] = []

    def line() -> None:
        while not over.is_set():
            beside.extend(paced(port, 5, 0.05))

    working = threading.Thread(target=line)
    working.start()
    with ThreadPoolExecutor(many) as hasty, ThreadPoolExecutor(64) as patient:
        waiting = patient.map(lambda data: send(port, data), filter(is_slow, requests))
        others = [one for one in requests if not is_slow(one)]
        statuses.update(hasty.map(lambda data: send(port, data), others))
        statuses.update(waiting)
    over.set()
    working.join()
    print(f"{number} malformed requests: {dict(sorted(statuses.items()))}")
    print(
        f"good requests, p95 ms: alone {p95(alone):.1f}, beside them {p95(beside):.1f} "
        f"({len(beside)}): {p95(beside) / p95(alone):.2f} x (wanted: at most 2)"
    )
    assert not [status for status in statuses if status.startswith("5") and status != "503"]


def main() -> None:
    """Start the service, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bank")
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--malformed", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=2, help="that send malformed requests")
    parser.add_argument("--only-malformed", action="store_true")
    asked = parser.parse_args()
    command = [sys.executable, "-m", "fapm_cli", "serve", f"bank={asked.bank}", "--port", "0"]
    command += ["--root", str(SAMPLES), "--body-timeout", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as served:
        assert served.stdout is not None
        assert served.stderr is not None
        port = int(served.stdout.readline().rpartition(":")[2])
        print(f"{usable_cores()} cores, load {os.getloadavg()[0]:.1f}")
        if not asked.only_malformed:
            compare(asked.bank, served.pid, port, asked.pictures)
        attack(port, asked.malformed, asked.clients)
        served.terminate()
        said = served.stderr.read()
        print(f"stderr: {said!r}")


if __name__ == "__main__":
    main()
