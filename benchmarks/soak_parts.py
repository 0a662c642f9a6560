"""For `benchmarks/soak.py`: a broker and a service that come and go, and somebody who hears."""

from __future__ import annotations

import atexit
import getpass
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
TOPIC = "soak"


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


def wait_for(found: Callable[[], bool], what: str, seconds: float = 120) -> float:
    """Wait until something is so, and say how long it took, in seconds."""
    begun = time.monotonic()
    while not found():
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
    return time.monotonic() - begun


class Broker:
    """Mosquitto, which keeps on disk what subscribers have yet to hear."""

    def __init__(self, folder: Path):
        """Write its configuration; it does not run yet."""
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._process: subprocess.Popen[bytes] | None = None
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "persistence true"]
        lines += [f"user {getpass.getuser()}"]
        lines += [f"persistence_location {folder}/", "max_queued_messages 0", "log_type error"]
        self._config.write_text("\n".join([*lines, ""]))

    def start(self) -> None:
        """Run it."""
        assert MOSQUITTO is not None
        self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)])
        atexit.register(self._process.kill)

    def stop(self) -> None:
        """Have it end."""
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(30) == 0


class Subscriber:
    """Hears every record, also those that came while it or the broker was away."""

    def __init__(self, port: int):
        """Connect to a broker that runs."""
        self.messages: Counter[str] = Counter()
        self.ids: defaultdict[str, set[str]] = defaultdict(set)
        self.scores: defaultdict[str, set[float]] = defaultdict(set)
        self.status: dict[str, Any] = {}
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="soak", clean_session=False
        )
        self.client.reconnect_delay_set(1, 1)
        self.client.on_message = self._on_message
        self.client.on_connect = self._on_connect
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _on_connect(self, *_: Any) -> None:
        self.client.subscribe(f"{TOPIC}/#", 1)

    def _on_message(self, client: Any, data: Any, message: Any) -> None:
        told = json.loads(message.payload)
        if message.topic.endswith("/status"):
            self.status = told
            return
        self.messages[told["id"]] += 1
        self.ids[told["path"]].add(told["id"])
        self.scores[told["path"]].add(told["score"])


class Served:
    """``fapm serve``, which may be killed, and started again with what is left on disk."""

    def __init__(self, folder: Path, banks: dict[str, Path], options: Sequence[str]):
        """Choose a port; it does not run yet."""
        self.port, self._errors = free_port(), folder / "stderr.txt"
        names = [f"{name}={path}" for name, path in banks.items()]
        self._command = [sys.executable, "-m", "fapm_cli", "serve", *names]
        self._command += ["--port", str(self.port), *options]
        self._environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
        (folder / "tmp").mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Run it, and wait until it takes pictures; say how long that took."""
        begun = time.monotonic()
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=errors, env=self._environment
            )
        atexit.register(self._process.kill)
        assert self._process.stdout is not None
        if not self._process.stdout.readline().startswith(b"http"):
            raise RuntimeError(f"fapm serve did not start: {self.said()[-500:]}")
        return time.monotonic() - begun

    def kill(self) -> None:
        """End it at once, as a power switch would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """Have it end; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(60)

    def said(self) -> str:
        """All that it said on stderr so far."""
        return self._errors.read_text()

    def memory_mb(self) -> float:
        """What it holds of memory, resident (Linux); 0 where it is gone."""
        assert self._process is not None
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return 0.0
        found = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(found[0]) / 1000 if found else 0.0

    def health(self) -> dict[str, Any]:
        """What it says of itself; nothing where it is away."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/healthz")
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException):
            return {}
        finally:
            connection.close()
        return answer
