"""What a sink does: it takes batches of messages, or raises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fapm_cli.version import __version__

TIMEOUT_S = 10.0
"""How long a sink waits for the other side before it says that nothing arrived."""


@dataclass(frozen=True)
class Message:
    """A record on its way.

    Attributes:
        seq: its place in the queue, rising.
        id: unique, and the same however often it is sent.
        body: the record, ``id`` in it, as JSON.
    """

    seq: int
    id: str
    body: bytes

    @property
    def record(self) -> dict[str, Any]:
        """The record itself."""
        record: dict[str, Any] = json.loads(self.body)
        return record


@dataclass(frozen=True)
class Status:
    """How delivery to a sink is going.

    Attributes:
        state: ``online``, or ``offline`` as the last word.
        queued: records that wait on disk.
        dropped: records lost since the queue was made, because it was full.
        sent: records delivered in this run.
    """

    state: str
    queued: int
    dropped: int
    sent: int

    def to_json(self) -> bytes:
        """As the status that receivers see."""
        return json.dumps({**asdict(self), "version": __version__}).encode()


class Sink:
    """Where records go. One thread uses it, and opens it again by sending after it was closed.

    Attributes:
        most: messages that it takes at a time; all of them come again where one fails.
    """

    most = 100

    def send(self, batch: Sequence[Message]) -> None:
        """Deliver messages, in order; when this returns, the other side has them all.

        Raises:
            Exception: it can't be told that all arrived. They will come again, as a batch.
        """
        raise NotImplementedError

    def tell(self, status: Status) -> None:
        """Tell how it is going, where the other side has a place for that.

        Raises:
            Exception: the other side can't be reached.
        """

    def reach(self, *, ask: bool) -> None:
        """Check that the other side would take records, and leave nothing there.

        Args:
            ask: whether to connect over a network; else only what is on this machine is looked at.

        Raises:
            Exception: it would not, or can't be reached.
        """

    def close(self) -> None:
        """Let go of the other side, whatever state it is in."""
