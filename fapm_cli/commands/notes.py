"""Notes that several commands have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fapm_cli.commands.terminal import note
from fapm_cli.files import escaped, name_first

if TYPE_CHECKING:
    from fapm_cli.scores.thresholds import Thresholds

_SHOWN = 8  # suspects by name


def note_groups(names: Sequence[str], groups: Sequence[int], told: bool) -> None:
    """Say which pictures are further shots of a part, unless ``--group`` told so.

    Args:
        names: of pictures.
        groups: the part that each shows.
        told: by ``--group``.
    """
    firsts = {group: i for i, group in reversed(list(enumerate(groups)))}
    twins = [name for i, name in enumerate(names) if firsts[groups[i]] != i]
    if twins and not told:
        note(
            f"note: {len(twins)} of {len(names)} pictures are nearly the same as another "
            f"({name_first(twins)}): N counts as {len(firsts)}; say by --group which show one part"
        )


class Differences:
    """Counts in what a run's pictures differ from the bank's, for one note at its end."""

    def __init__(self) -> None:
        """Begin with no picture."""
        self._pictures = self._differing = 0
        self._counts: Counter[str] = Counter()

    def count(self, differs: Sequence[str]) -> None:
        """Count a picture, and in what it differs."""
        self._pictures += 1
        self._differing += bool(differs)
        self._counts.update(differs)

    def tell(self) -> None:
        """Note what was counted, if any differs."""
        from fapm_cli.pictures.seen import DIFFERENCES

        if self._differing:
            kinds = [kind for kind in DIFFERENCES if self._counts[kind]]
            counts = ", ".join(f"{self._counts[kind]} {DIFFERENCES[kind]}" for kind in kinds)
            of_all = f"{self._differing} of {self._pictures} pictures"
            note(f"note: {of_all} are of another kind than the bank's: {counts}")


def note_few(thresholds: Thresholds) -> None:
    """Say what to expect where so few pictures are behind thresholds, and how many it takes."""
    from fapm_cli.scores.thresholds import CONFIDENCE, pictures_needed

    goal = thresholds.falls_short
    if goal is not None:
        note(
            f"note: {thresholds.num_pictures} good pictures can't promise {goal:.2%} false alarms: "
            f"expect {thresholds.expected:.1%}, at most {thresholds.at_most:.1%} "
            f"({CONFIDENCE:.0%} sure); for {goal:.2%} it takes {pictures_needed(goal)} or more: "
            "fapm add, or fapm calibrate with fresh ones"
        )


def name_suspects(suspects: Sequence[tuple[str, float]]) -> str:
    """Name the first of the pictures that look unlike the rest, with how many σ each is off."""
    return name_first([f"{escaped(name)} ({z:.1f})" for name, z in suspects], _SHOWN)
