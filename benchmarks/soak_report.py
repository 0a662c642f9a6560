"""For `benchmarks/soak.py`: the service's memory from start to end, and the table."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from soak import Soak


@dataclass
class Life:
    """From a start of the service to its end.

    Attributes:
        begun_at: after how many pictures.
        looks: at how many pictures of it the service held how much memory, in MB.
        over: whether it has come to its end.
    """

    begun_at: int
    looks: list[tuple[int, float]] = field(default_factory=list)
    over: bool = False

    @property
    def pictures(self) -> int:
        """How many it had."""
        return self.looks[-1][0] if self.looks else 0

    def usual_mb(self, begin: int, end: int) -> float:
        """The median between two numbers of pictures: while a bank is loaded it is more."""
        return statistics.median(mb for number, mb in self.looks if begin <= number <= end)


def report(soak: Soak, seconds: float, left_mb: float) -> str:
    """The table."""
    heard, total = soak.heard, soak.pace.total
    lost = [number for number in range(total) if str(number) not in heard.ids]
    if lost:
        soak.faults.append(f"{len(lost)} lost: {lost[:10]}")
    doubles = sum(heard.messages.values()) - len(heard.messages)
    again = sum((client.again for client in soak.clients), start=Counter[str]())
    twice = sum(len(ids) > 1 for ids in heard.ids.values())
    early, lives = soak.early, [life for life in soak.lives if life.pictures > 2 * soak.early]
    ends = [
        (
            life.usual_mb(early, int(1.5 * early)),
            life.usual_mb(life.pictures - early // 2, life.pictures),
        )
        for life in lives
    ]
    growth = [f"{last / first - 1:+.1%}" for first, last in ends]
    memory = ", ".join(f"{first:.0f} → {last:.0f}" for first, last in ends)
    counts = ", ".join(str(life.pictures) for life in lives)
    rates = f"{total} in {seconds / 60:.0f} minutes, {total / seconds:.0f} a second"
    in_place = f"{statistics.median(soak.swap_s):.1f} s, at most {max(soak.swap_s):.1f}"
    rows = [
        ("pictures answered", rates),
        ("asked again, as there was no answer", f"{again['no answer']} times; 503: {again['503']}"),
        ("longest wait for a record", f"{max(c.longest_s for c in soak.clients):.1f} s"),
        ("Mosquitto stopped and started", f"{soak.num_stops} times"),
        ("banks swapped", f"{len(soak.swap_s)} times, {soak.num_refused} of them broken: refused"),
        ("from the rename to the bank in place", in_place),
        (
            "killed and started",
            f"{len(soak.lives) - 1} times; ready after {max(soak.start_s):.1f} s at most",
        ),
        ("records lost", f"{len(lost)}"),
        ("records that came twice, by their id", f"{doubles}"),
        ("pictures judged twice, as the service was killed before the answer", f"{twice}"),
        (f"memory, MB, by life: after {early} pictures → at its end", memory),
        ("of so many pictures", counts),
        ("growth", ", ".join(growth)),
        ("left in the folder for temporary files", f"{left_mb:.1f} MB"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
