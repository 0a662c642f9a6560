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
from fapm_cli.bank.tensors import tensor
from fapm_cli.detection.judge import Judge
from fapm_cli.detection.stream import Judged, judge
from fapm_cli.errors import PictureError
from fapm_cli.finding.folders import Unreadable
from fapm_cli.growing.anew import fresh_groups, known_digests, with_pixels
from fapm_cli.growing.named_parts import part_named
from fapm_cli.learning.nominal_response import spots_and_levels
from fapm_cli.learning.twins import Looks, look_at
from fapm_cli.pictures.reading import Item, PartOf
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
        part: what it shows; None where that is not known, or what the bank knows.
    """

    picture: NominalPicture
    spot: float
    level: float
    looks: Looks
    part: str | int | None


@dataclass(frozen=True)
class Judging:
    """How pictures are judged, and who is told.

    Attributes:
        detector: of the bank.
        batch_size: pictures at a time.
        listener: told how far it is, and of what is left out.
        differences: counts in what they differ from the bank's.
    """

    detector: Judge
    batch_size: int
    listener: Listener
    differences: Differences

    def __call__(self, files: Sequence[Item]) -> Iterator[Judged]:
        """Judge pictures.

        Raises:
            PictureError: one can't be read.
        """
        judged = judge(self.detector, files, self.batch_size)
        for done, one in enumerate(judged, start=1):
            if isinstance(one, Unreadable):
                raise one.error
            shown, bank = one.prepared, self.detector.bank
            self.differences.count(bank.differences(shown.like, shown.differs))
            yield one
            self.listener.on_stage("score", done, len(files))


def judge_bad(judging: Judging, files: Sequence[Item]) -> Scores:
    """Score defective pictures: each counts.

    Raises:
        PictureError: a picture can't be read.
    """
    scores, peaks = [], []
    for one in judging(files):
        scores.append(float(one.found.image_scores[0]))
        peaks.append(float(one.found.anomaly_maps.max()))
    return Scores(scores, peaks)


def judge_fresh(
    judging: Judging, files: Sequence[tuple[Item, str]], part_of: PartOf | None
) -> Scores:
    """Score the parts that good pictures show and the bank does not; find suspects among these.

    Raises:
        PictureError: a picture can't be read, or none is left.
        OptionError: ``part_of`` finds no part in a name.
    """
    bank, listener = judging.detector.bank, judging.listener
    fresh = _without_copies(judging, files, part_of)
    if part_of is None and fresh:
        groups = fresh_groups(bank, Looks.join([one.looks for one in fresh]))
        fresh = [replace(one, part=part) for one, part in zip(fresh, groups, strict=True)]
    elif part_of is not None:
        parts = {part_named(picture.name, part_of) for picture in bank.pictures} - {None}
        fresh = [
            replace(one, part=None) if part_named(one.picture.name, part_of) in parts else one
            for one in fresh
        ]
    unknown = [one for one in fresh if one.part is not None]
    if not unknown:
        raise PictureError(
            "every good picture is in the bank, or shows a part that is: give fresh ones"
        )
    listener.on_left_out(len(fresh) - len(unknown), _KNOWN)
    pictures = in_groups([one.picture for one in unknown], [one.part for one in unknown])
    names, numbers = [one.name for one in pictures], [one.group for one in pictures]
    listener.on_groups(names, numbers)
    suspects = find_suspects([one.spot for one in unknown], [one.level for one in unknown], numbers)
    return Scores(*scores_of_groups(pictures), [(names[i], z) for i, z in suspects])


def _without_copies(
    judging: Judging, files: Sequence[tuple[Item, str]], part_of: PartOf | None
) -> list[Fresh]:
    """Judge good pictures; leave out those that the bank holds, and copies of one another."""
    bank = judging.detector.bank
    known = known_digests(with_pixels(bank))
    fresh: list[Fresh] = []
    judged = judging([file for file, _ in files])
    for (_, name), one in zip(files, judged, strict=True):
        pixels, maps = tensor(one.prepared.pixels), tensor(one.found.anomaly_maps)
        score, peak = float(one.found.image_scores[0]), float(maps.amax())
        digests = one.prepared.picture.sha256, pixels_digest(pixels)
        picture = NominalPicture(name, *digests, score, peak, 0)
        if known.isdisjoint(picture.digests):
            (spot,), (level,) = spots_and_levels(maps, bank)
            part = None if part_of is None else part_of(one.prepared.picture.path, name)
            fresh.append(Fresh(picture, spot, level, look_at(pixels.unsqueeze(0)), part))
        known |= picture.digests
    if fresh:
        judging.listener.on_left_out(len(files) - len(fresh), _COPIES)
    return fresh
