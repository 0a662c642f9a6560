"""The queue on disk keeps what it is given, in order, through kills; what it drops is counted."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fapm_cli.errors import OutputError
from fapm_cli.sinks.queue import FILE, DiskQueue
from fapm_cli.sinks.sink import Message

A, B, BOUND = "sink a", "sink b", 400
SINKS = st.sampled_from([A, B])


class QueueOfAnyUse(RuleBasedStateMachine):
    """Against a plain model: of each sink, what was put and is neither taken nor dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.queue = DiskQueue(self.folder, BOUND)
        self.number = 0
        self.waiting: dict[str, list[str]] = {A: [], B: []}
        self.sizes: dict[str, int] = {}
        self.dropped = defaultdict[str, int](int)
        self.batch: dict[str, list[Message]] = {A: [], B: []}

    @rule(sinks=st.sampled_from([(A,), (B,), (A, B)]), size=st.integers(1, 150))
    def put(self, sinks: tuple[str, ...], size: int) -> None:
        self.number += 1
        id = str(self.number)
        self.sizes[id] = size
        for sink in sinks:
            self.waiting[sink].append(id)
        count = self.queue.put(sinks, id, b"x" * size)
        for _ in range(count):
            assert self.held_bytes() > BOUND
            self.drop_oldest()
        assert self.held_bytes() <= BOUND or not self.held() - self.being_sent()

    def held_bytes(self) -> int:
        return sum(self.sizes[id] for id in self.held())

    def held(self) -> set[str]:
        return {*self.waiting[A], *self.waiting[B]}

    def being_sent(self) -> set[str]:
        return {message.id for batch in self.batch.values() for message in batch}

    def drop_oldest(self) -> None:
        oldest = min(self.held() - self.being_sent(), key=int)
        for sink in (A, B):
            if oldest in self.waiting[sink]:
                self.waiting[sink].remove(oldest)
                self.dropped[sink] += 1

    @rule(sink=SINKS, most=st.integers(1, 4))
    def next(self, sink: str, most: int) -> None:
        self.batch[sink] = self.queue.next(sink, most)
        ids = [message.id for message in self.batch[sink]]
        assert ids == self.waiting[sink][:most]
        assert [len(message.body) for message in self.batch[sink]] == [self.sizes[id] for id in ids]

    @rule(sink=SINKS, taken=st.booleans())
    def settle(self, sink: str, taken: bool) -> None:
        self.queue.settle(sink, taken=taken)
        if taken:
            self.waiting[sink] = self.waiting[sink][len(self.batch[sink]) :]
        self.batch[sink] = []

    @rule()
    def open_again(self) -> None:
        self.queue.sync()
        self.queue.close()
        self.queue = DiskQueue(self.folder, BOUND)
        self.batch = {A: [], B: []}

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        for sink in (A, B):
            assert self.queue.counts(sink) == (len(self.waiting[sink]), self.dropped[sink])

    def teardown(self) -> None:
        self.queue.close()
        shutil.rmtree(self.folder)


QueueOfAnyUse.TestCase.settings = settings(
    max_examples=20, stateful_step_count=25, phases=[Phase.explicit, Phase.generate]
)
TestQueueOfAnyUse = QueueOfAnyUse.TestCase


def test_a_second_process_or_a_second_opening_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path / "new" / "queue", BOUND)
    queue.put([A], "1", b"x")
    with pytest.raises(OutputError, match="in use by another fapm: give each a --queue"):
        DiskQueue(tmp_path / "new" / "queue", BOUND)
    script = (
        "import sys; from pathlib import Path; from fapm_cli.sinks.queue import DiskQueue;"
        f"DiskQueue(Path({str(tmp_path / 'new' / 'queue')!r}), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "OutputError" in done.stderr
    queue.put([A], "2", b"y")
    assert [message.id for message in queue.next(A, 9)] == ["1", "2"]


WRITER = """
import os, sys
from pathlib import Path
from fapm_cli.sinks.queue import DiskQueue
queue = DiskQueue(Path(sys.argv[1]), 10**9)
number = int(sys.argv[2])
while True:
    number += 1
    queue.put(["a"], str(number), b"x" * 2000)
    os.write(1, b"%d\\n" % number)
"""


def test_a_process_killed_while_it_writes_loses_nothing_that_it_had_put(tmp_path: Path) -> None:
    said = 0
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(said)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(300):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            last = writer.stdout.read().split()
        queue = DiskQueue(tmp_path, 10**9)
        rows = queue._db.execute("SELECT id FROM waiting JOIN messages USING (seq) ORDER BY seq")
        found = [int(id) for (id,) in rows]
        assert found == list(range(1, len(found) + 1))
        assert len(found) >= int(last[-1] if last else said + 300)  # the last may be unsaid
        said = len(found)
        assert queue._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        queue.close()


def test_what_is_no_queue_is_told_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, " * 100)
    with pytest.raises(OutputError, match="can't be used"):
        DiskQueue(tmp_path, BOUND)
    assert (tmp_path / FILE).read_bytes().startswith(b"no database")
    later = tmp_path / "later"
    DiskQueue(later, BOUND).close()
    with sqlite3.connect(later / FILE) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(OutputError, match="its version is 9"):
        DiskQueue(later, BOUND)
    with pytest.raises(OutputError, match="can't be made"):
        DiskQueue(tmp_path / FILE / "below", BOUND)


@pytest.mark.skipif(os.name != "posix", reason="a POSIX system's limit")
def test_a_full_disk_is_told_and_what_was_queued_stays(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path, 100_020)
    queue.put([A], "1", b"x")
    pages = queue._db.execute("PRAGMA page_count").fetchone()[0]
    queue._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(OutputError, match="full"):
        queue.put([A], "2", b"x" * 100_000)
    queue.put([A], "3", b"x" * 30)
    assert [message.id for message in queue.next(A, 9)] == ["1", "3"]
    assert queue.counts(A) == (2, 1)
