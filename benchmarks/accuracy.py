"""Whether the figures of docs/accuracy.md still hold: each dataset evaluated, beside its floor.

python benchmarks/accuracy.py mvtec_ad kolektor_sdd magnetic_tile

Exits 1 if a figure lies below its floor: what the default measured in float32, less 0.2. Options
behind ``--`` go to ``fapm eval``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

FLOORS = {  # image AUROC and, where there are masks of defects, pixel AUROC, in percent
    "bottle": (99.8, 98.5),
    "screw": (96.7, 99.2),
    "metal_nut": (99.6, None),
    "aws_cookies": (99.8, None),
    "kolektor_sdd": (88.0, 90.2),
    "magnetic_tile": (82.0, 71.3),
}


def evaluate(dataset: str, options: list[str]) -> list[dict[str, float | str | None]]:
    """The records of ``fapm eval``, in a process of its own."""
    command = [sys.executable, "-m", "fapm_cli", "eval", dataset, "--precision", "fp32", "--json"]
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, check=True)
    records: list[dict[str, float | str | None]] = json.loads(done.stdout)
    return records


def main() -> int:
    """Print one line per category; 1 if one is below its floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+")
    ours, options = sys.argv[1:], list[str]()
    if "--" in ours:
        cut = ours.index("--")
        ours, options = ours[:cut], ours[cut + 1 :]
    below = False
    for dataset in parser.parse_args(ours).datasets:
        for record in evaluate(dataset, options):
            category = str(record["category"])
            floors = FLOORS.get(category, (None, None))
            for name, floor in zip(("image_auroc", "pixel_auroc"), floors, strict=True):
                value = record.get(name)
                if not isinstance(value, float):
                    continue
                fails = floor is not None and 100 * value < floor
                below = below or fails
                mark = "" if floor is None else f"  (at least {floor})" + "  BELOW" * fails
                print(f"{category:15} {name:12} {100 * value:6.2f}{mark}", flush=True)
    return int(below)


if __name__ == "__main__":
    sys.exit(main())
