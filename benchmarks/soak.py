"""Soak `fapm serve`: very many pictures, while all around it breaks, and no record may be lost.

Usage: python benchmarks/soak.py [--pictures 100000] [--clients 6] [-- OPTION OF fapm serve...]

Two banks of the sample part (224 and 160 px) judge its pictures, asked by several clients; records
go to Mosquitto, where somebody hears them. Meanwhile

* Mosquitto is stopped ten times, for 2 to 10 s, and started;
* a bank is swapped for another fifty times; five of these files are broken (empty, cut off, a head
  that claims too much, noise, zeros);
* the service is killed (`kill -9`) five times, twice of these while Mosquitto is away, and started.

Pictures without an answer, of which there are some at each kill, are sent again. Each answer's
score has to be that of one of the bank's files, to the last digit, and each record has to arrive.
Memory is compared by life: from one start of the service to its end. Prints a table, and what went
wrong; exit code 1 where something did. Ctrl-C ends it early, with a table. Needs Mosquitto, and
`fapm[serve,mqtt]`; Linux.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from soak_asking import Client, Pace
from soak_banks import SAMPLES, broken, put, variants
from soak_parts import TOPIC, Broker, Served, Subscriber, wait_for
from soak_report import Life, report

STOPS, SWAPS, KILLS, EARLY = 10, 50, 5, 1000
BROKEN = (6, 17, 26, 37, 46)


class Soak:
    """All of it, and what is known of it so far."""

    def __init__(self, folder: Path, number: int, options: list[str]):
        """Build banks, and begin everything."""
        self.chance, self.pace = random.Random(0), Pace(number)
        self.parts = [path.read_bytes() for path in sorted((SAMPLES / "test").rglob("*.jpg"))]
        self.banks = {
            "part": variants(folder / "part.st", self.parts, 224),
            "cap": variants(folder / "cap.st", self.parts, 160),
        }
        self.num_stops = 0
        self.early = min(EARLY, number // 20)
        self.faults: list[str] = []
        self.swap_s: list[float] = []
        self.num_refused = 0
        self.start_s: list[float] = []
        self.lives: list[Life] = []
        self.clients: list[Client] = []
        self.calm = threading.Lock()  # held while a broken bank lies there, and while it is killed
        self.broker = Broker(folder)
        self.broker.start()
        time.sleep(1)
        self.heard = Subscriber(self.broker.port)
        to = ["--to", f"mqtt://127.0.0.1:{self.broker.port}/{TOPIC}", "--queue", str(folder / "q")]
        paths = {name: bank.path for name, bank in self.banks.items()}
        self.served = Served(folder, paths, [*to, *options])
        self.start()

    def start(self) -> None:
        """Start the service: a new life."""
        self.start_s.append(self.served.start())
        self.lives.append(Life(self.pace.answered))

    def end_life(self) -> None:
        """Look at the service for the last time."""
        self.look()
        self.lives[-1].over = True

    def look(self) -> None:
        """Note how much memory the service has."""
        life, held = self.lives[-1], self.served.memory_mb()
        if held and not life.over:
            life.looks.append((self.pace.answered - life.begun_at, held))

    def ask(self) -> None:
        """Be a client."""
        client = Client(self.served.port)
        self.clients.append(client)
        while (number := self.pace.next()) is not None:
            bank, at = ("part", "cap")[number % 2], number // 2 % len(self.parts)
            try:
                record = client.judge(bank, f"{number}", self.parts[at])
                if record["score"] not in self.banks[bank].scores[at]:
                    self.faults.append(f"{number}: {record['score']} is of no file of {bank}")
            except RuntimeError as error:
                self.faults.append(str(error))
            self.pace.done()

    def stop_broker(self, number: int) -> None:
        """Have the broker go away for a while."""
        self.broker.stop()
        self.num_stops += 1
        if number in (3, 7):
            self.kill(number)
        time.sleep(self.chance.uniform(2, 10))
        self.broker.start()

    def kill(self, number: int) -> None:
        """Kill the service, and start it again."""
        with self.calm:
            self.end_life()
            self.served.kill()
            self.start()

    def swap(self, number: int) -> None:
        """Put another file in a bank's place; after a broken one, a good one."""
        name, turn = ("part", "cap")[number % 2], number // 2
        bank = self.banks[name]
        if number in BROKEN:
            with self.calm:
                put(bank.path, broken(number // 10, bank.files[0]))
                took = wait_for(lambda: self.fault(name) is not None, f"swap {number}: a fault")
                self.num_refused += 1
                self.swap_s.append(took)
                # good again before anyone kills it: a service can't start with a broken bank
                put(bank.path, bank.files[turn % 2])
                wait_for(lambda: self.fault(name) is None, f"swap {number}: no fault any more")
            return
        data = bank.files[(turn + 1) % 2]
        digest = hashlib.sha256(data).hexdigest()
        put(bank.path, data)
        took = wait_for(lambda: self.digest(name) == digest, f"swap {number}: the new bank")
        self.swap_s.append(took)

    def fault(self, name: str) -> str | None:
        """What is wrong with a bank's file; nothing where the service is away."""
        health = self.served.health()
        return health["banks"][name]["fault"] if health else None

    def digest(self, name: str) -> str | None:
        """Which file judges."""
        health = self.served.health()
        return health["banks"][name]["digest"] if health else None

    def run(self, clients: int) -> float:
        """Do all of it; seconds."""
        begun, pace = time.monotonic(), self.pace
        events = [
            ("stops", spread(pace.total, STOPS, 0.95), self.stop_broker),
            ("swaps", spread(pace.total, SWAPS, 0.98), self.swap),
            ("kills", spread(pace.total // 2, KILLS - 2, 0.9), self.kill),
        ]
        works = [threading.Thread(target=pace.events, args=event, daemon=True) for event in events]
        works += [threading.Thread(target=self.ask, daemon=True) for _ in range(clients)]
        for work in works:
            work.start()
        told = begun
        while any(work.is_alive() for work in works):
            time.sleep(0.2)
            self.look()
            if time.monotonic() - told > 15:
                told = time.monotonic()
                print(self.so_far(told - begun), file=sys.stderr, flush=True)
        return time.monotonic() - begun

    def so_far(self, seconds: float) -> str:
        """A line that says how far it is."""
        return (
            f"{seconds:6.0f} s  {self.pace.answered} answered, {len(self.heard.ids)} heard, "
            f"{len(self.swap_s)} swaps, life {len(self.lives)}, {self.served.memory_mb():.1f} MB, "
            f"{len(self.faults)} faults"
        )

    def finish(self) -> None:
        """Wait for the last records, and have the service end."""
        try:
            wait_for(lambda: len(self.heard.ids) >= self.pace.total, "the last records")
        except TimeoutError as error:
            self.faults.append(str(error))
        self.end_life()
        if (code := self.served.stop()) != 0:
            self.faults.append(f"the service ended with {code}")
        wait_for(lambda: self.heard.status.get("state") == "offline", "the last status")
        if self.heard.status["dropped"] or self.heard.status["queued"]:
            self.faults.append(f"status: {self.heard.status}")
        if "Traceback" in self.served.said():
            self.faults.append("there is a traceback on stderr")
        self.broker.stop()


def spread(total: int, number: int, until: float) -> list[int]:
    """After how many pictures events come, evenly."""
    return [int(total * until * (at + 1) / number) for at in range(number)]


def main() -> None:
    """Soak, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("options", nargs="*", help="of fapm serve")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        soak = Soak(folder, asked.pictures, asked.options)
        signal.signal(signal.SIGINT, lambda *_: threading.Thread(target=soak.pace.stop).start())
        seconds = soak.run(asked.clients)
        soak.finish()
        left = sum(p.stat().st_size for p in (folder / "tmp").rglob("*") if p.is_file()) / 1e6
        print(report(soak, seconds, left))
        said = soak.served.said()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(said, file=sys.stderr)
    for fault in soak.faults:
        print(f"FAULT: {fault}")
    sys.exit(bool(soak.faults))


if __name__ == "__main__":
    main()
