"""For `benchmarks/soak.py`: clients that ask, and events that come after so many answers."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any


class Pace:
    """Hands out numbers of pictures, and holds them up where events would come too late for them.

    Attributes:
        total: how many there are.
        given: so far.
        answered: with a record.
    """

    def __init__(self, total: int):
        """Begin with none."""
        self.total, self.given, self.answered = total, 0, 0
        self._horizons: dict[str, int] = {}
        self._news = threading.Condition()

    def next(self) -> int | None:
        """The next picture's number; None after the last."""
        with self._news:
            self._news.wait_for(lambda: self.given < self._horizon())
            if self.given >= self.total:
                return None
            self.given += 1
            return self.given - 1

    def _horizon(self) -> int:
        return min([*self._horizons.values(), self.total + 1])

    def done(self) -> None:
        """Count an answer."""
        with self._news:
            self.answered += 1
            self._news.notify_all()

    def stop(self) -> None:
        """Hand out no more; events that would have come later don't."""
        with self._news:
            self.total = self.given
            self._news.notify_all()

    def events(self, kind: str, times: Sequence[int], work: Callable[[int], None]) -> None:
        """Do some work once so many pictures are answered; what is due is done before the next."""
        for number, due in enumerate(times):
            following = times[number + 1] if number + 1 < len(times) else self.total + 1
            with self._news:
                self._horizons[kind] = following
                self._news.notify_all()
                while self.answered < due <= self.total:
                    self._news.wait()
            if due > self.total:
                break
            work(number)
        with self._news:
            self._horizons[kind] = self.total + 1
            self._news.notify_all()


class Client:
    """Asks for pictures to be judged, as a station of a line: again where there is no answer."""

    def __init__(self, port: int):
        """Connect with the first picture."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.again: Counter[str] = Counter()
        self.longest_s = 0.0

    def judge(self, bank: str, name: str, data: bytes) -> dict[str, Any]:
        """Send a picture until there is a record."""
        begun = time.monotonic()
        while True:
            try:
                where = f"/banks/{bank}/score?name={name}"
                self._connection.request("POST", where, data, {"Content-Type": "image/jpeg"})
                answer = self._connection.getresponse()
                said = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError):
                self._connection.close()
                self.again["no answer"] += 1
                time.sleep(0.2)
                continue
            if answer.status == 200:
                self.longest_s = max(self.longest_s, time.monotonic() - begun)
                return dict(said)
            self.again[str(answer.status)] += 1
            if answer.status != 503:
                raise RuntimeError(f"{name}: {answer.status} {said}")
            time.sleep(float(answer.headers.get("Retry-After", "1")))
