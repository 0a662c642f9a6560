"""Pictures that a bank was not built from, judged to calibrate it by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fapm_cli.api.listener import Listener
from fapm_cli.bank.nominal_pictures import (
    NominalPicture,
    in_groups,
    pixels_digest,
    scores_of_groups,
)
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.stream import Judged, judge
from fapm_cli.errors import PictureError
from fapm_cli.finding.search import Unreadable
from fapm_cli.growing.anew import fresh_groups, known_digests, with_pixels
from fapm_cli.learning.batches import PartOf
from fapm_cli.learning.nominal_response import spots_and_levels
from fapm_cli.learning.twins import Looks, look_at
from fapm_cli.pictures.reading import Item
from fapm_cli.pictures.seen import Differences
from fapm_cli.scores.suspects import find_suspects

_KNOWN = "show parts that are in the bank, which knows them"
_COPIES = "are in the bank, which knows them, or copies"


@dataclass(frozen=True)
class Scores:
    """What a bank says of pictures.

    Attributes:
        scores: image scores; of good pictures, one per part.
        peaks: maxima of anomaly maps.
        suspects: names and robust z-scores of those unlike the rest, the most suspicious first.
    """

    scores: Sequence[float]
    peaks: Sequence[float]
    suspects: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Fresh:
    """A good picture that the bank does not hold, as the bank judges it.

    Attributes:
        picture: what is known of it.
        spot: its score away from the rim, what suspects are found by.
        level: likewise.
        looks: what tells near twins.
        part: what it shows, as the user says; None where that is not known.
    """

    picture: NominalPicture
    spot: float
    level: float
    looks: Looks
    part: str | int | None


def judge_bad(
    detector: Detector,
    files: Sequence[Item],
    batch_size: int,
    listener: Listener,
    differences: Differences,
) -> Scores:
    """Score defective pictures: each counts.

    Raises:
        PictureError: a picture can't be read.
    """
    found = [one.found for one in _judge(detector, files, batch_size, listener, differences)]
    scores = [float(one.image_scores[0]) for one in found]
    return Scores(scores, [float(one.anomaly_maps.amax()) for one in found])


def judge_fresh(
    detector: Detector,
    files: Sequence[tuple[Item, str]],
    batch_size: int,
    part_of: PartOf | None,
    listener: Listener,
    differences: Differences,
) -> Scores:
    """Score the parts that good pictures show and the bank does not; find suspects among these.

    Raises:
        PictureError: a picture can't be read, or none is left.
        OptionError: ``part_of`` finds no part in a name.
    """
    fresh = _without_copies(detector, files, batch_size, part_of, listener, differences)
    if part_of is None and fresh:
        groups = fresh_groups(detector.bank, Looks.join([one.looks for one in fresh]))
        fresh = [replace(one, part=part) for one, part in zip(fresh, groups, strict=True)]
    unknown = [one for one in fresh if one.part is not None]
    if not unknown:
        raise PictureError("every good picture is in the bank, which knows it: give fresh ones")
    listener.on_left_out(len(fresh) - len(unknown), _KNOWN)
    pictures = in_groups([one.picture for one in unknown], [one.part for one in unknown])
    names, numbers = [one.name for one in pictures], [one.group for one in pictures]
    listener.on_groups(names, numbers)
    suspects = find_suspects([one.spot for one in unknown], [one.level for one in unknown], numbers)
    return Scores(*scores_of_groups(pictures), [(names[i], z) for i, z in suspects])


def _judge(
    detector: Detector,
    files: Sequence[Item],
    batch_size: int,
    listener: Listener,
    differences: Differences,
) -> Iterator[Judged]:
    for done, one in enumerate(judge(detector, files, batch_size), start=1):
        if isinstance(one, Unreadable):
            raise one.error
        differences.count(detector.bank.differences(one.prepared.like))
        yield one
        listener.on_stage("score", done, len(files))


def _without_copies(
    detector: Detector,
    files: Sequence[tuple[Item, str]],
    batch_size: int,
    part_of: PartOf | None,
    listener: Listener,
    differences: Differences,
) -> list[Fresh]:
    """Judge good pictures; leave out those that the bank holds, and copies of one another."""
    known = known_digests(with_pixels(detector.bank))
    fresh: list[Fresh] = []
    judged = _judge(detector, [file for file, _ in files], batch_size, listener, differences)
    for (_, name), one in zip(files, judged, strict=True):
        pixels, maps = one.prepared.pixels, one.found.anomaly_maps
        score, peak = float(one.found.image_scores[0]), float(maps.amax())
        digests = one.prepared.picture.sha256, pixels_digest(pixels)
        picture = NominalPicture(name, *digests, score, peak, 0)
        if known.isdisjoint(picture.digests):
            (spot,), (level,) = spots_and_levels(maps, detector.bank)
            part = None if part_of is None else part_of(one.prepared.picture.path, name)
            fresh.append(Fresh(picture, spot, level, look_at(pixels.unsqueeze(0)), part))
        known |= picture.digests
    if fresh:
        listener.on_left_out(len(files) - len(fresh), _COPIES)
    return fresh
