"""Notes that several commands have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fapm_cli.commands.terminal import note
from fapm_cli.files import name_first

if TYPE_CHECKING:
    from fapm_cli.api.bank import Bank
    from fapm_cli.drift.drift import Drift
    from fapm_cli.pictures.seen import Differences
    from fapm_cli.scores.thresholds import Thresholds


# Of a part that turns, 1,024 keys in place of 512 found more where 40 of 98 patches were full, and
# of one that lies, a tenth of the keys found as much where 61 were (docs/scale.md).
_MANY_FULL = 0.25


def note_groups(
    names: Sequence[str], groups: Sequence[int], told: bool, first_new: int = 0
) -> None:
    """Say which pictures are further shots of a part, unless ``--group`` told so.

    Args:
        names: of pictures.
        groups: the part that each shows.
        told: by ``--group``.
        first_new: number of the first picture of which nothing was said before.
    """
    firsts = {group: i for i, group in reversed(list(enumerate(groups)))}
    twins = [name for i, name in enumerate(names) if firsts[groups[i]] != i >= first_new]
    if twins and not told:
        note(
            f"note: {len(twins)} of {len(names)} pictures are nearly the same as another "
            f"({name_first(twins)}): N counts as {len(firsts)}; say by --group which show one part"
        )


def note_parts(names: Sequence[str], groups: Sequence[int], told: bool, num_added: int) -> None:
    """Say which pictures of a bank are further shots of a part.

    Args:
        names: of its pictures, those that were added last.
        groups: the part that each shows.
        told: by ``--group``.
        num_added: of the pictures; 0 where all are new.
    """
    if told and num_added:
        note_known_parts(names, groups, num_added)
    note_groups(names, groups, told, len(names) - num_added if num_added else 0)


def note_known_parts(names: Sequence[str], groups: Sequence[int], num_added: int) -> None:
    """Say which of the pictures that were added show a part that the bank knew, as names tell.

    Args:
        names: of all pictures, those that were added last.
        groups: the part that each shows.
        num_added: of the pictures.
    """
    first = len(names) - num_added
    known = set(groups[:first])
    shots = [
        name for name, group in zip(names[first:], groups[first:], strict=True) if group in known
    ]
    if shots:
        note(
            f"note: {len(shots)} of {num_added} new pictures show parts that the bank knows, by "
            f"their names ({name_first(shots)}): N counts as {len(set(groups))}"
        )


def note_differences(differences: Differences) -> None:
    """Say once of a run in what its pictures differ from the bank's, if any does."""
    text = differences.describe()
    if text is not None:
        note(f"note: {text}")


def note_drift(follow: Drift) -> None:
    """Say that something changed, with the picture at which that is noticed first."""
    for change in follow.changes:
        if change.noticed == follow.num_pictures:
            note(
                f"note: drift: pictures are {change.word} since picture {change.since}, noticed at "
                f"picture {change.noticed}: look at the {change.cause}"
            )


def note_full(bank: Bank) -> None:
    """Say so where the budget of keys ends what many patches learn, and how to learn more."""
    full, most = bank.num_full_patches, bank.learnt.config.max_keys
    patches = sum(len(memory.key_counts) for memory in bank.learnt.memories)
    if full > _MANY_FULL * patches:
        note(
            f"note: {full} of {patches} patches are as full as --max-keys {most} lets them be, for "
            f"good parts differ much there: a build with --max-keys {2 * most} may find more; its "
            "bank is larger and slower"
        )


def note_review(thresholds: Thresholds) -> None:
    """Say so where a band for a second look is empty, as its rate is not above the threshold's."""
    if thresholds.review is not None and thresholds.review >= thresholds.score:
        note(
            f"note: no picture gets a second look: review rate {thresholds.review_rate:.1%} is no "
            f"more than the false alarms above the threshold, {thresholds.expected:.1%}"
        )


def note_few(thresholds: Thresholds, most_rate: float | None = None) -> None:
    """Say what to expect where so few pictures are behind thresholds, and how many it takes.

    Args:
        thresholds: of a bank.
        most_rate: of false alarms that the user allows; None for what is usual.
    """
    from fapm_cli.scores.thresholds import pictures_needed

    goal = thresholds.falls_short
    if most_rate is not None and thresholds.num_pictures < pictures_needed(most_rate):
        goal = most_rate
    if goal is not None:
        note(
            f"note: {thresholds.num_pictures} good pictures can't promise {goal:.2%} false alarms: "
            f"expect {thresholds.expected:.1%}, at most {thresholds.at_most:.1%} "
            f"({thresholds.confidence:.0%} sure); for {goal:.2%} it takes {pictures_needed(goal)} "
            "or more: fapm add, or fapm calibrate with fresh ones"
        )
