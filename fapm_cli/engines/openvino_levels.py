"""Levels: a large input gone through by OpenVINO, a band of rows at a time.

What each segment of the network gives is a level, of which some rows are there at a time. A level
that is asked for rows asks the one below for those that it takes to make them, and so on down to
the px: each is made once, and what lies above is let go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fapm_cli.engines.openvino_requests import Requests
from fapm_cli.graph.tiles import FED, GIVEN
from fapm_cli.network.segments import Segment

Size = tuple[int, int]
Run = Callable[[Callable[[Any], None], Iterable[Any]], None]
"""Does something with each of several things, in threads."""


@dataclass(frozen=True)
class Cuts:
    """How a side of an input is cut into what a segment is run for at a time.

    Attributes:
        length_px: of the side.
        core_px: that it is run for.
        window_px: that it is fed, with what lies around: as many of each.
        before_px: how many of these lie before, inside of the input.
    """

    length_px: int
    core_px: int
    window_px: int
    before_px: int
    unit_px: int

    @classmethod
    def of(cls, length_px: int, most_px: int, segment: Segment, unit_px: int) -> Cuts:
        """Cut a side into cores of nearly ``most_px``, multiples of ``unit_px``."""
        number = -(-length_px // max(most_px // unit_px * unit_px, unit_px))
        core = -(-length_px // (number * unit_px)) * unit_px
        window = min(core + segment.before + segment.after, length_px)
        return cls(length_px, core, window, segment.before, unit_px)

    @property
    def cores(self) -> list[range]:
        """Of one length, from one end to the other; neighbours may have px in common."""
        rest = self.length_px - self.core_px
        last = -(-self.length_px // self.core_px) - 1
        firsts = [i * rest // max(last, 1) // self.unit_px * self.unit_px for i in range(last + 1)]
        return [range(first, first + self.core_px) for first in firsts]

    def window(self, core: range) -> range:
        """What is fed for a core: at an end of the side there is nothing around."""
        most = self.length_px - self.window_px
        first = min(max(core.start - self.before_px, 0), most)
        return range(first, first + self.window_px)


class Level(Protocol):
    """Rows of something that channels lie last of."""

    def rows(self, px: range) -> NDArray[Any]:
        """(n, w, C) of the rows of so many px; none may lie above those that were asked before."""


class Pixels:
    """The input itself."""

    def __init__(self, pixels: NDArray[Any]):
        """Take (H, W, 3) of them."""
        self._pixels = pixels

    def rows(self, px: range) -> NDArray[Any]:
        """Those rows."""
        return self._pixels[px.start : px.stop]


class Made:
    """What a segment gives, made as it is asked for."""

    def __init__(
        self, segment: Segment, down: Cuts, across: Cuts, asked_px: int, requests: Requests
    ):
        """Have room for what there is at a time.

        Args:
            segment: before the last one.
            down: how the input's height is cut for it.
            across: likewise its width.
            asked_px: rows that are asked for at a time, at most.
            requests: of its graph.
        """
        self._segment, self._down, self._across = segment, down, across
        self._requests = requests
        height = min(asked_px + down.core_px + down.unit_px, down.length_px) // segment.stride
        shape = height, across.length_px // segment.stride, segment.channels
        self._held = np.empty(shape, np.float32)

    def begin(self, below: Level, run: Run) -> None:
        """Begin another input, with what lies below; tiles that lie side by side are ``run`` at a
        time.
        """
        self._below, self._run, self._first_px, self._end_px = below, run, 0, 0
        self._left = iter(self._down.cores)

    def rows(self, px: range) -> NDArray[np.float32]:
        """Those rows, made if they are not there."""
        while self._end_px < px.stop:
            self._make(next(self._left), px.start)
        first, end = (at - self._first_px for at in (px.start, px.stop))
        return self._held[first // self._segment.stride : end // self._segment.stride]

    def _make(self, core: range, kept_from_px: int) -> None:
        """Make the rows of a core, and let go what lies above those that are to be kept."""
        stride, window = self._segment.stride, self._down.window(core)
        fed = self._below.rows(window)
        going = max(min(kept_from_px, core.start) - self._first_px, 0) // stride
        if going:
            count = (self._end_px - self._first_px) // stride - going
            if count > 0:
                self._held[:count] = self._held[going : going + count].copy()
            self._first_px += going * stride
        into = self._held[(core.start - self._first_px) // stride :]
        offset, count = (core.start - window.start) // stride, len(core) // stride

        def make(across: range) -> None:
            seen = self._across.window(across)
            first, end = (at // self._segment.fed_stride for at in (seen.start, seen.stop))
            left, width = (across.start - seen.start) // stride, len(across) // stride
            with self._requests.one() as request:
                np.copyto(request.inputs[FED][0], fed[:, first:end], casting="unsafe")
                request.infer()
                given = request.outputs[GIVEN][0, offset : offset + count, left : left + width]
                at = across.start // stride
                into[:count, at : at + width] = given

        self._run(make, self._across.cores)
        self._end_px = core.stop
