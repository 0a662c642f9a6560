"""What is said of a category while it is evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fapm_cli.api.listener import Listener
from fapm_cli.commands.terminal import Advance, note
from fapm_cli.errors import PictureError

if TYPE_CHECKING:
    from fapm_cli.finding.folders import Unreadable


class CategoryNotes(Listener):
    """Says on stderr, once each, what is to be known of a category.

    Attributes:
        failed: whether something could not be read.
        advance: shows the progress.
    """

    def __init__(self, name: str):
        """Speak of the category of this name."""
        self.failed = False
        self.advance: Advance = lambda stage, done, total: None
        self._name = name
        self._said: set[str] = set()

    def on_stage(self, stage: str, done: int, total: int) -> None:
        """Show the progress."""
        self.advance(stage, done, total)

    def on_bad(self, bad: Unreadable) -> None:
        """Leave a picture out, and say so."""
        self.failure(bad.error)

    def failure(self, error: PictureError) -> None:
        """Say what could not be read."""
        self.failed = True
        self._say(f"fapm: {self._name}: {error}")

    def note(self, text: str) -> None:
        """Say something else."""
        self._say(f"note: {self._name}: {text}")

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            note(line)
