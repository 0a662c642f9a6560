"""What is said while pictures are judged to calibrate a bank by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fapm_cli.api.listener import Listener
from fapm_cli.commands.notes import note_differences, note_groups
from fapm_cli.commands.terminal import Advance, note
from fapm_cli.files import name_suspects

if TYPE_CHECKING:
    from fapm_cli.pictures.seen import Differences
    from fapm_cli.scores.thresholds import Thresholds


class CalibrationNotes(Listener):
    """Shows how far the judging is, and notes what is left out and what is odd.

    Attributes:
        misses: how many defective pictures would pass, and of how many; None without such.
    """

    def __init__(self, advance: Advance, grouped: bool):
        """Show progress by ``advance``; ``grouped`` tells of ``--group``."""
        self._advance, self._grouped = advance, grouped
        self.misses: dict[str, int] | None = None

    def on_stage(self, stage: str, done: int, total: int) -> None:
        """Show it."""
        self._advance(stage, done, total)

    def on_left_out(self, count: int, why: str) -> None:
        """Say it, if any are."""
        if count:
            note(f"note: {count} pictures {why}: left out")

    def on_differences(self, differences: Differences) -> None:
        """Say in what the pictures differ from the bank's."""
        note_differences(differences)

    def on_groups(self, names: Sequence[str], groups: Sequence[int]) -> None:
        """Say which are shots of one part."""
        note_groups(names, groups, told=self._grouped)

    def on_suspects(self, suspects: Sequence[tuple[str, float]], dropped: bool) -> None:
        """Name them."""
        if suspects:
            note(f"note: suspects: {name_suspects(suspects)}: unlike the rest by so many σ")

    def on_misses(self, missed: int, defective: int) -> None:
        """Remember them."""
        self.misses = {"missed": missed, "bad": defective}

    def note_misses(self, chosen: Thresholds) -> None:
        """Say how many defective pictures would pass, if some were given."""
        if self.misses is None:
            return
        missed, bad = self.misses["missed"], self.misses["bad"]
        note(f"note: misses {missed} of {bad} bad pictures")
        if missed / bad + chosen.num_above / chosen.num_pictures >= 1:
            note("note: that is no better than chance: are good and bad pictures swapped?")
