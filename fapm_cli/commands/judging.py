"""How ``fapm score`` goes through its pictures: progress, a gentle stop, word to systemd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from fapm_cli.commands.terminal import gentle_stop, progress_bar
from fapm_cli.commands.watchdog import Watchdog

if TYPE_CHECKING:
    from fapm_cli.api.detector import Detector
    from fapm_cli.compute.cluster import Cluster
    from fapm_cli.detection.record import Record
    from fapm_cli.sources.source import Source


def score_records(
    detector: Detector, source: Source, batch_size: int, cluster: Cluster | None = None
) -> Iterator[Record]:
    """Score pictures, one record each in order; an unreadable one is a record with its error.

    Args:
        detector: that judges.
        source: of pictures.
        batch_size: pictures at a time.
        cluster: that judges in place of this process.

    Raises:
        KeyboardInterrupt: stopped by a signal, after the records in hand.
    """
    watchdog = Watchdog()
    with progress_bar(beside_rows=True) as advance, gentle_stop() as stopped:

        def go_on(_: object) -> bool:
            watchdog.alive()  # also where nothing comes: each look at a watched folder asks
            return not stopped()

        items = takewhile(go_on, source.items)
        watchdog.ready()
        try:
            source = replace(source, items=items)
            records = detector.records(source, batch_size, cluster=cluster)
            for done, record in enumerate(records, start=1):
                yield record
                advance("score", done, source.total)
        finally:
            watchdog.stopping()
        if stopped():
            raise KeyboardInterrupt
