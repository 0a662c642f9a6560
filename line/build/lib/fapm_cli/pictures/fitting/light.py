"""Light: pictures in a light that no good one had, brought back to that of the good ones.

Beyond the paper. A lamp that ages, or another exposure, moves every px at once and every distance
with them. How much brighter a picture is than the good ones is told by its *tones*, the quantiles
of its grey levels, which don't ask where the part lies. Two changes are known: every level times a
gain, and every level to a power (the camera's gamma). What lies within what good pictures differ by
stays as it is, so that nothing changes where the light holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.pictures.preparing import Pixels

TONES = 32
PLACES = 5  # what lights are told apart by: log red, green, blue, red to green, blue to green
_STEP = 2  # every second px of every second row tells the tones as well as all
_WHITE, _DARK = 254, 8  # levels from which on, and up to which, a px says little of the light
_ROUNDING = 0.02  # of a level's logarithm
_PALE = 240  # usual levels from which on none tells a power
_WITHIN, _SLACK = 2.5, 0.01  # standard deviations, and in a logarithm
_SPREAD, _AS_MANY = 0.03, 3  # what lights usually differ by, as much as so many pictures say
_MOST = np.log(3)  # what differs by more can't be told from another picture
_MOST_POWER = np.log(2.5)  # linear levels for sRGB's are 2.2
_HIDDEN = 0.5  # nor what white hides in more of the picture than usual
_TOLD = np.log(1.1)
_SHAPES = {"levels": (TONES, 3), "spreads": (TONES, 3), "gains": (2, PLACES), "gammas": (2, PLACES)}

Values = NDArray[np.float64]
Exact = NDArray[np.float32]


@dataclass(frozen=True)
class Lit:
    """A picture in the light of the good ones, as far as it can be brought there.

    Attributes:
        pixels: (H, W, 3) uint8; float32 where they were changed, since to round them would move
            scores.
        gains: how many times as bright as good pictures usually its red, green and blue were.
        beyond: how far that is, in a logarithm, beyond what any good picture had; 0 for not at all.
    """

    pixels: Pixels | Exact
    gains: tuple[float, ...]
    beyond: float = 0.0

    @property
    def differs(self) -> bool:
        """Whether that is worth a word: a tenth beyond any good picture, in brightness or tint."""
        return bool(self.beyond > _TOLD)


@dataclass(frozen=True)
class Light:
    """The light that good pictures were taken in.

    Attributes:
        levels: (32, 3) float64, the mean logarithm of each tone's grey level, by channel.
        spreads: (32, 3) float64, its standard deviation over the pictures.
        gains: (2, 5) float64, least and greatest of what tells their gains apart.
        gammas: (2, 5) float64, the same of their powers.
        usual: (H, W, 3) uint8, their mean: what may lie behind white.
    """

    levels: Values
    spreads: Values
    gains: Values
    gammas: Values
    usual: Pixels

    @classmethod
    def of(cls, pictures: Pixels, inspected: NDArray[np.bool_] | None = None) -> Light:
        """Learn it.

        Args:
            pictures: (N, H, W, 3) uint8, at least one.
            inspected: (H, W) bool, or (N, H, W) for each its own, what counts; None for all.
        """
        where = [None] * len(pictures)
        if inspected is not None:
            where = [*np.broadcast_to(inspected, pictures.shape[:3])]
        tones = np.stack([tones_of(*both) for both in zip(pictures, where, strict=True)])
        logs = np.log(np.maximum(tones, _DARK))
        usual = np.rint(pictures.mean(axis=0, dtype=np.float64)).astype(np.uint8)
        nothing = np.zeros((2, PLACES))
        light = cls(logs.mean(axis=0), logs.std(axis=0), nothing, nothing, usual)
        fits = [light._fit(one) for one in tones]
        grey = bool((tones == tones[..., :1]).all())
        gains, gammas = (_span(np.stack([fit[i] for fit in fits]), grey) for i in (0, 1))
        return replace(light, gains=gains, gammas=gammas)

    def summary(self) -> dict[str, list[float]]:
        """How bright red, green and blue may be, in times of the usual, to be left as they are."""
        low, high = np.exp(self.gains[:, :3]).round(3).tolist()
        return {"from": low, "to": high}

    def to_json(self) -> dict[str, Any]:
        """All but ``usual`` as plain JSON values."""
        return {name: getattr(self, name).tolist() for name in _SHAPES}

    @classmethod
    def from_json(cls, plain: dict[str, Any], usual: Pixels) -> Light:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: a value is missing, of another shape or out of range.
        """
        read = {name: np.array(plain[name], dtype=np.float64) for name in _SHAPES}
        for name, shape in _SHAPES.items():
            numbers = all(type(one) in (int, float) for one in np.ravel(plain[name]).tolist())
            if not numbers or read[name].shape != shape or not (np.abs(read[name]) < 10).all():
                raise ValueError(f"the light's {name} are out of range")
        low, high = (np.stack([read[name][i] for name in ("gains", "gammas")]) for i in (0, 1))
        if (read["spreads"] < 0).any() or (read["levels"] < 0).any() or (low > high).any():
            raise ValueError("the light is out of range")
        return cls(**read, usual=usual)

    def widened(self, others: Sequence[Light]) -> Light:
        """The same light, in which what is usual of others is usual, too."""
        gains, gammas = [self.gains], [self.gammas]
        for other in others:
            gain, gamma, _ = self._fit(np.exp(other.levels))
            gains.append(other.gains + _by_place(gain))
            gammas.append(other.gammas + _by_place(gamma))
        return replace(self, gains=_around(gains), gammas=_around(gammas))

    def correct(self, pixels: Pixels, inspected: NDArray[np.bool_] | None = None) -> Lit:
        """Bring a picture back to the usual light, if it was taken in none that is usual.

        Args:
            pixels: (H, W, 3) uint8.
            inspected: as for :meth:`of`.
        """
        tones = tones_of(pixels, inspected)
        gains, gammas, is_gamma = self._fit(tones)
        span, logs = (self.gammas, gammas) if is_gamma else (self.gains, gains)
        places = _by_place(logs)
        outside = np.maximum(np.maximum(span[0] - places, places - span[1]), 0)
        if not outside[:3].any():  # as bright as others were, but of another tint
            logs = logs - logs.mean()
        hidden = ((tones >= _WHITE) & (self.levels < np.log(_WHITE))).mean()
        told, beyond = tuple(float(one) for one in np.exp(gains)), float(outside.max())
        if beyond and np.abs(gains).max() <= _MOST and hidden <= _HIDDEN:
            return Lit(self._undo(pixels, logs, is_gamma), told, beyond)
        return Lit(pixels, told, beyond)

    def _fit(self, tones: Values) -> tuple[Values, Values, bool]:
        """Find what makes the usual tones these: logarithms of gain and of power by channel, and
        whether the power explains them better.
        """
        apart = np.log(np.maximum(tones, _DARK)) - self.levels
        white = tones >= _WHITE
        seen_both = (tones > _DARK) & (self.levels > np.log(_DARK))
        weights = np.where(seen_both, 1 / (self.spreads + _ROUNDING), 0)
        # Behind white anything brighter may lie: it speaks against a darker light alone.
        seen = _medians(apart, weights * ~white)
        gains = _medians(np.where(white, np.maximum(apart, seen), apart), weights)
        rest = apart - gains
        unlike_gain = (weights * np.abs(np.where(white, np.maximum(rest, 0), rest))).sum()
        below_white = np.minimum(self.levels - np.log(255), -_ROUNDING)
        tell = np.where(self.levels < np.log(_PALE), weights * -below_white, 0)
        powers = _medians(apart / below_white, tell)
        unlike_power = (weights * np.abs(apart - powers * below_white)).sum()
        gammas = np.log(np.maximum(1 + powers, 0.1))
        is_gamma = unlike_power < unlike_gain and np.abs(gammas).max() <= _MOST_POWER
        return gains, gammas, bool(is_gamma)

    def _undo(self, pixels: Pixels, logs: Values, is_gamma: bool) -> Exact:
        """Take a gain or a power back; where white hides what there was, take what is usual."""
        factors, levels = np.exp(logs), np.arange(256)[:, None]
        were = 255 * (levels / 255) ** (1 / factors) if is_gamma else levels / factors
        table = np.clip(were, 0, 255).astype(np.float32)
        undone = np.stack([table[:, i].take(pixels[..., i]) for i in range(3)], axis=2)
        darker = factors > 1
        if not is_gamma and darker.any():
            hidden = (pixels >= _WHITE) & darker
            undone[hidden] = np.maximum(undone, self.usual)[hidden]
        return undone


def tones_of(pixels: Pixels, inspected: NDArray[np.bool_] | None = None) -> Values:
    """The (32, 3) grey levels of (H, W, 3) px at evenly spaced quantiles, by channel: of what is
    inspected, if anything is.
    """
    sample = pixels[::_STEP, ::_STEP].reshape(-1, 3)
    if inspected is not None and inspected.any():
        sample = sample[inspected[::_STEP, ::_STEP].ravel()]
        if not len(sample):  # it lies between them
            sample = pixels[inspected]
    ranks = ((np.arange(TONES) + 0.5) / TONES * len(sample)).astype(int)
    counts = [np.bincount(channel, minlength=256).cumsum() for channel in sample.T]
    return np.stack([np.searchsorted(c, ranks, side="right") for c in counts], axis=1).astype(float)


def _medians(values: Values, weights: Values) -> Values:
    """The weighted median of each column of (n, 3); 0 where nothing has weight."""
    order = values.argsort(axis=0, kind="stable")
    reached = np.take_along_axis(weights, order, axis=0).cumsum(axis=0)
    half = (reached < reached[-1:] / 2).sum(axis=0, keepdims=True)
    half = np.minimum(half, len(values) - 1)
    middle = np.take_along_axis(np.take_along_axis(values, order, axis=0), half, axis=0)[0]
    # Rounded, so that processors that differ in a logarithm's last digit see the same light.
    found: Values = np.where(reached[-1] > 0, middle, 0.0).round(4)
    return found


def _by_place(logs: Values) -> Values:
    """(…, 5) of (…, 3) logarithms: each channel's, red's to green's and blue's to green's."""
    red, green, blue = np.moveaxis(logs, -1, 0)
    return np.stack([red, green, blue, red - green, blue - green], axis=-1)


def _span(logs: Values, grey: bool) -> Values:
    """(2, 5) what is usual, of (N, 3) logarithms: what was seen, but for what is odd in it, and
    what more pictures would show beyond it: the less is known, the more.
    """
    places = _by_place(logs)
    number, mean = len(places), places.mean(axis=0)
    usual = np.array([_SPREAD] * 3 + [0 if grey else _SPREAD] * 2)
    squares = ((places - mean) ** 2).sum(axis=0) + _AS_MANY * usual**2
    spread = np.sqrt(squares / (number - 1 + _AS_MANY))
    more, reach = (_WITHIN * spread * share for share in (number**-0.5, (1 + 1 / number) ** 0.5))
    low = np.maximum(places.min(axis=0) - more, mean - reach) - _SLACK
    return np.stack([low, np.minimum(places.max(axis=0) + more, mean + reach) + _SLACK])


def _around(spans: Sequence[Values]) -> Values:
    """(2, 5) the span that holds all of several."""
    return np.stack([np.min(spans, axis=0)[0], np.max(spans, axis=0)[1]])
