"""What a bank knows of good parts is what records say of their pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import GOOD, fapm

from fapm_cli.bank.file import load_bank
from fapm_cli.drift.reference import reference_of


def test_measures_of_thumbnails_are_those_of_records(bank: Path) -> None:
    reference = reference_of(load_bank(bank))
    records = fapm("score", bank, *GOOD[:12], "--json").json
    for name in ("brightness", "sharpness", "x", "y"):
        assert reference[name] == [record["measures"][name] for record in records]


def test_p_values_are_of_left_out_scores(bank: Path) -> None:
    found = sorted(reference_of(load_bank(bank))["p_value"])
    assert found == pytest.approx([(n + 2) / 13 for n in range(12)])


def test_of_several_shots_of_a_part_the_first_speaks(bank: Path) -> None:
    learnt = load_bank(bank)
    pictures = tuple(replace(p, group=i // 2) for i, p in enumerate(learnt.pictures))
    shots = reference_of(replace(learnt, pictures=pictures))
    alone = reference_of(learnt)
    assert shots["brightness"] == alone["brightness"][::2]
    assert len(shots["p_value"]) == 6


def test_fresh_scores_take_the_place_of_the_banks_own(bank: Path) -> None:
    learnt = load_bank(bank)
    scores = tuple(0.1 * i for i in range(20))
    limits = replace(learnt.thresholds, scores=scores, num_pictures=20)
    reference = reference_of(replace(learnt, thresholds=limits))
    assert len(reference["p_value"]) == 20
    assert len(reference["brightness"]) == 12


def test_without_thumbnails_scores_alone_are_known(bank: Path) -> None:
    reference = reference_of(replace(load_bank(bank), thumbnails=None))
    assert {name: len(values) for name, values in reference.items()} == {
        **dict.fromkeys(("brightness", "sharpness", "x", "y"), 0),
        "p_value": 12,
    }
