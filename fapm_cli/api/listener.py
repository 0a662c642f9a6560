"""What a program is told while a bank is made or calibrated."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fapm_cli.finding.folders import Unreadable
from fapm_cli.pictures.seen import Differences

if TYPE_CHECKING:
    from fapm_cli.learning.scratch.workspace import Where
    from fapm_cli.network.extraction import FeatureExtractor


class Listener:
    """Told of what goes on while a bank is made or calibrated; override what is of interest.

    As it is, it raises where a picture can't be read, and lets all else pass.
    """

    def on_begin(
        self,
        num_pictures: int,
        needed_bytes: Callable[[], int],
        free_bytes: Callable[[], int | None],
    ) -> None:
        """The work begins.

        Args:
            num_pictures: how many the bank will hold at most.
            needed_bytes: says how much memory it takes at most, by a look at the files' heads.
            free_bytes: says how much is free; None where that can't be said.
        """

    def on_scratch(self, num_pictures: int, folder: Path, most_bytes: int, stays: bool) -> None:
        """The work begins, and what it has of all pictures goes to scratch files.

        Args:
            num_pictures: how many the bank will hold at most.
            folder: that holds the files.
            most_bytes: how large they are at most.
            stays: whether they stay where the work is stopped, to be gone on from.
        """

    def on_budget(self, num_keys: int, milliseconds: float) -> None:
        """So many keys a patch keep to the time that was asked for: a picture takes so long."""

    def on_stage(self, stage: str, done: int, total: int) -> None:
        """Of a stage's ``total`` steps, ``done`` are done."""

    def on_bad(self, bad: Unreadable) -> None:
        """A picture can't be read: it is left out if this returns.

        Raises:
            PictureError: it is not to be left out.
        """
        raise bad.error

    def on_known(self, name: str) -> None:
        """A picture is left out: the bank has it, as this file or another."""

    def on_shared(self, count: int) -> None:
        """So many pictures are in several banks that are merged, and count once."""

    def on_aims(self, differ: bool) -> None:
        """Whether the verdicts of banks that are merged aim at different things: the first's
        hold.
        """

    def on_no_thumbnails(self, bank: str) -> None:
        """A bank that grows holds no thumbnails: what it says of its pictures stays."""

    def on_added(self, count: int) -> None:
        """So many new pictures are in the bank that grows."""

    def on_differences(self, differences: Differences) -> None:
        """In what the new pictures differ from the bank's."""

    def on_left_out(self, count: int, why: str) -> None:
        """So many pictures tell nothing new to calibrate by, and are left out."""

    def on_groups(self, names: Sequence[str], groups: Sequence[int]) -> None:
        """The pictures show these parts, several of them maybe one."""

    def on_suspects(self, suspects: Sequence[tuple[str, float]], dropped: bool) -> None:
        """Pictures look unlike the rest, by so many σ; whether they are left out for it."""

    def on_misses(self, missed: int, defective: int) -> None:
        """So many of the defective pictures would pass."""


def tell_begin(
    listener: Listener,
    extractor: FeatureExtractor,
    num_pictures: int,
    needed_bytes: Callable[[], int],
    scratch: Where | None = None,
) -> None:
    """Tell how much memory the work takes, and how much there is; or where scratch files go."""
    if scratch is not None:
        listener.on_scratch(num_pictures, scratch.folder, scratch.most_bytes, scratch.stays)
        return
    from fapm_cli.compute.device import free_bytes

    free = functools.partial(free_bytes, extractor.mean.device)
    listener.on_begin(num_pictures, needed_bytes, free)
