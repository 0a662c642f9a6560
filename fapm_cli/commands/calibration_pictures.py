"""Good and bad pictures to calibrate by, judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fapm_cli.commands.notes import name_suspects, note_differences, note_groups
from fapm_cli.commands.paths import find_named
from fapm_cli.commands.terminal import note, progress_bar
from fapm_cli.errors import PictureError

if TYPE_CHECKING:
    from fapm_cli.bank.bank import Bank
    from fapm_cli.bank.nominal_pictures import NominalPicture
    from fapm_cli.detection.detector import Detector
    from fapm_cli.detection.stream import Judged
    from fapm_cli.learning.batches import PartOf
    from fapm_cli.learning.twins import Looks
    from fapm_cli.pictures.seen import Differences


@dataclass(frozen=True)
class Fresh:
    """A good picture that the bank does not hold, as the bank judges it.

    Attributes:
        picture: what is known of it.
        spot: its score away from the rim, what suspects are found by.
        level: likewise.
        looks: what tells near twins.
        part: what it shows, as ``--group`` says; None where that is not known.
    """

    picture: NominalPicture
    spot: float
    level: float
    looks: Looks
    part: str | int | None


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


def gather(
    path: Path,
    good: list[Path],
    bad: list[Path],
    batch_size: int,
    part_of: PartOf | None,
    open_bank: Callable[[], Detector],
) -> tuple[Bank, Scores, Scores | None]:
    """Load the bank, and score the pictures; its own stand in for good ones that are not given."""
    from fapm_cli.bank.file import load_bank
    from fapm_cli.learning.nominal_response import own_scores
    from fapm_cli.pictures.seen import Differences

    differences = Differences()
    detector = open_bank() if good or bad else None
    bank = load_bank(path) if detector is None else detector.bank
    of_good = Scores(*own_scores(bank))
    if detector is not None and good:
        of_good = _judge_fresh(detector, good, batch_size, part_of, differences)
    of_bad = None
    if detector is not None and bad:
        of_bad = _judge_bad(detector, bad, batch_size, differences)
    note_differences(differences)
    return bank, of_good, of_bad


def _judge(
    detector: Detector,
    paths: list[Path],
    batch_size: int,
    differences: Differences,
    *,
    to_learn: bool,
) -> Iterator[tuple[str, Path, Judged]]:
    """Judge pictures, each with its name below the folder that was given and its path.

    Raises:
        PictureError: a picture can't be read.
    """
    from fapm_cli.detection.stream import judge
    from fapm_cli.finding.search import Unreadable

    named = find_named(paths, to_learn=to_learn)
    with progress_bar() as advance:
        judged = judge(detector, (file for file, _ in named), batch_size)
        for done, ((_, name), one) in enumerate(zip(named, judged, strict=True), start=1):
            if isinstance(one, Unreadable):
                raise one.error
            differences.count(detector.bank.differences(one.prepared.like))
            yield name, one.prepared.picture.path, one
            advance("score", done, len(named))


def _judge_bad(
    detector: Detector, paths: list[Path], batch_size: int, differences: Differences
) -> Scores:
    """Score defective pictures: each counts."""
    judged = _judge(detector, paths, batch_size, differences, to_learn=False)
    found = [one.found for _, _, one in judged]
    scores = [float(one.image_scores[0]) for one in found]
    return Scores(scores, [float(one.anomaly_maps.amax()) for one in found])


def _judge_fresh(
    detector: Detector,
    paths: list[Path],
    batch_size: int,
    part_of: PartOf | None,
    differences: Differences,
) -> Scores:
    """Score the parts that good pictures show and the bank does not; find suspects among these.

    Raises:
        PictureError: a picture can't be read, or none is left.
        OptionError: ``--group`` finds no part in a name.
    """
    from fapm_cli.bank.nominal_pictures import in_groups, scores_of_groups
    from fapm_cli.learning.anew import fresh_groups
    from fapm_cli.learning.twins import Looks
    from fapm_cli.scores.suspects import find_suspects

    fresh = _without_copies(detector, paths, batch_size, part_of, differences)
    if part_of is None and fresh:
        groups = fresh_groups(detector.bank, Looks.join([one.looks for one in fresh]))
        fresh = [replace(one, part=part) for one, part in zip(fresh, groups, strict=True)]
    unknown = [one for one in fresh if one.part is not None]
    if not unknown:
        raise PictureError("every good picture is in the bank, which knows it: give fresh ones")
    _note_left_out(len(fresh) - len(unknown), "show parts that are in the bank, which knows them")
    pictures = in_groups([one.picture for one in unknown], [one.part for one in unknown])
    names, numbers = [one.name for one in pictures], [one.group for one in pictures]
    note_groups(names, numbers, told=part_of is not None)
    suspects = find_suspects([one.spot for one in unknown], [one.level for one in unknown], numbers)
    return Scores(*scores_of_groups(pictures), [(names[i], z) for i, z in suspects])


def _without_copies(
    detector: Detector,
    paths: list[Path],
    batch_size: int,
    part_of: PartOf | None,
    differences: Differences,
) -> list[Fresh]:
    """Judge good pictures; leave out those that the bank holds, and copies of one another."""
    from fapm_cli.bank.nominal_pictures import NominalPicture, pixels_digest
    from fapm_cli.learning.anew import known_digests, with_pixels
    from fapm_cli.learning.nominal_response import spots_and_levels
    from fapm_cli.learning.twins import look_at

    known = known_digests(with_pixels(detector.bank))
    fresh: list[Fresh] = []
    num_given = 0
    for name, path, one in _judge(detector, paths, batch_size, differences, to_learn=True):
        num_given += 1
        pixels, maps = one.prepared.pixels, one.found.anomaly_maps
        score, peak = float(one.found.image_scores[0]), float(maps.amax())
        digests = one.prepared.picture.sha256, pixels_digest(pixels)
        picture = NominalPicture(name, *digests, score, peak, 0)
        if known.isdisjoint(picture.digests):
            (spot,), (level,) = spots_and_levels(maps, detector.bank)
            part = None if part_of is None else part_of(path, name)
            fresh.append(Fresh(picture, spot, level, look_at(pixels.unsqueeze(0)), part))
        known |= picture.digests
    if fresh:
        _note_left_out(num_given - len(fresh), "are in the bank, which knows them, or copies")
    return fresh


def _note_left_out(count: int, why: str) -> None:
    if count:
        note(f"note: {count} pictures {why}: left out")


def check_suspects(of_good: Scores, keep: bool) -> None:
    """Name the good pictures that look unlike the rest.

    Raises:
        PictureError: some do very much, and are not to be kept.
    """
    from fapm_cli.scores.suspects import OUTLIER

    outliers = [one for one in of_good.suspects if one[1] > OUTLIER]
    if outliers and not keep:
        raise PictureError(
            f"{len(outliers)} of {len(of_good.scores)} good pictures are unlike the rest by more "
            f"than {OUTLIER:g} σ: {name_suspects(outliers)}; take out those that are not good, or "
            "keep them with --keep-suspects"
        )
    if of_good.suspects:
        note(f"note: suspects: {name_suspects(of_good.suspects)}: unlike the rest by so many σ")
