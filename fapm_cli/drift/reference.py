"""The reference: what a bank knows of good parts, to compare a stream of records with."""

from __future__ import annotations

from fapm_cli.arrays import host
from fapm_cli.bank.bank import Bank, nominal_picture
from fapm_cli.bank.nominal_pictures import scores_of_groups
from fapm_cli.drift.drift import Reference
from fapm_cli.pictures.measures import measure
from fapm_cli.scores.p_values import PValues


def reference_of(bank: Bank) -> Reference:
    """The measures of a bank's good parts, the first shot of each.

    Scores are those with the part's keys left out, or those that thresholds were set by. Measures
    of pictures are taken from the thumbnails, and there are none without; nor is there a place
    where pictures were moved before they were kept.

    Raises:
        BankError: a thumbnail is damaged.
    """
    firsts: dict[int, int] = {}
    for number, picture in enumerate(bank.pictures):
        firsts.setdefault(picture.group, number)
    ranked = bank.thresholds.scores or scores_of_groups(bank.pictures)[0]
    p_value = PValues(ranked, bank.thresholds)
    scores = bank.thresholds.scores or [bank.pictures[number].score for number in firsts.values()]
    reference = {"p_value": [p_value(score) for score in scores]}
    inspected = None if bank.roi is None else host(bank.roi)
    shown = [nominal_picture(bank, number) for number in firsts.values()]
    measured = [measure(one, inspected) for one in shown if one is not None]
    names = ["brightness", "sharpness"] + ["x", "y"] * (bank.registration is None)
    return reference | {name: [getattr(one, name) for one in measured] for name in names}
