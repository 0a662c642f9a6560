"""Four banks of samples are those that they were: what changes them is a change of the method.

Not byte for byte: processors round differently. ``python tests/learning/test_same_banks.py`` prints
what stands in the table, to be pasted where a change is meant.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import GOOD, ONE_BAD, build, fapm

from fapm_cli.bank.file import load_bank

WANTED = {
    "plain": "1349 0.174516 0.75237 395.752 1444 0.251693 1.03797 392.377 1.15874 1.20266 1.83182",
    "own": "825 0.183978 0.741179 202.365 1000 0.270135 0.943591 199.594 1.34341 1.3647 1.78891",
    "paper": "588 3.34665 79.3516 390.983 392 6.6064 254.19 97.5842 5.22195 32.8199 0.132142",
    "global": "76 0.244982 6.24478 132.763 2.98873 3.03332 2.30292",
}
BUILDS = {
    "plain": (GOOD[:12], ()),
    "own": (GOOD[:16], ("--metric", "own", "--no-thumbnails", "--size", "160")),
    "paper": (GOOD[:4], ("--preset", "paper", "--backbone", "resnet18", "--weights", "random")),
    "global": (GOOD[:3], ("--variant", "A", "--size", "128")),
}


def measured(path: Path) -> list[float]:
    """Key counts, mean key and radius of each memory, the thresholds and a defect's score."""
    bank = load_bank(path)
    values: list[float] = []
    for memory in bank.memories:
        values += [float(len(memory.keys)), float(memory.keys.mean())]
        values += [float(memory.radius_sq.mean()), float(memory.key_cells.float().mean())]
    values += [bank.thresholds.score, bank.thresholds.pixel]
    values.append(fapm("score", path, ONE_BAD, "--json", "--precision", "fp32").json[0]["score"])
    return values


@pytest.mark.parametrize("name", BUILDS)
def test_a_bank_of_samples_is_what_it_was(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    fixtures = {"plain": "bank", "own": "own_bank", "paper": "paper_bank"}
    if name in fixtures:
        path: Path = request.getfixturevalue(fixtures[name])
    else:
        path = build(tmp_path / "bank.st", BUILDS[name][0], *BUILDS[name][1])
    wanted = [float(value) for value in WANTED[name].split()]
    assert measured(path) == pytest.approx(wanted, rel=5e-3)


if __name__ == "__main__":
    for name, (pictures, options) in BUILDS.items():
        with tempfile.TemporaryDirectory() as folder:
            made = build(Path(folder) / "bank.st", pictures, *options)
            values = " ".join(f"{value:.6g}" for value in measured(made))
            print(f"    {name!r}: {values!r},")
