"""Measure everything that only a GPU shows, in one go and without network.

Usage: python benchmarks/gpu.py [OUTPUT FOLDER]

Writes bench.json (variants A to E at batch 1, A and E at batch 64; fp32 and fp16) and bench.txt
after each step; runs the tests that need a GPU (scores on CPU and CUDA agree). Random weights
serve: speed does not depend on them. About three minutes on an H200, of which the tests take one.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BACKBONES = ("wide_resnet50_2", "efficientnet_lite0")
STEPS = (("A,B,C,D,E", 1), ("A,E", 64))


def main() -> int:
    """Run the benchmarks and the tests; the exit code is the tests'."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    records: list[dict[str, Any]] = []
    for backbone, (variants, batch_size) in itertools.product(BACKBONES, STEPS):
        command = [sys.executable, "-m", "fapm_cli", "bench", "--device", "cuda", "--json"]
        command += ["--backbone", backbone, "--variants", variants, "--precision", "fp32,fp16"]
        command += ["--batch-size", str(batch_size), "--runs", "20", "--warm-up", "5"]
        records += json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        write(records, folder)  # what is measured is kept, whatever comes after
    print((folder / "bench.txt").read_text(), flush=True)
    tests = [sys.executable, "-m", "pytest", "-m", "cuda", "tests"]
    return subprocess.run(tests, check=False).returncode


def write(records: list[dict[str, Any]], folder: Path) -> None:
    """Write the records, and a line for each."""
    (folder / "bench.json").write_text(json.dumps(records, indent=1))
    lines = [
        f"{r['backbone']:<20} {r['variant']} {r['precision']:<6} batch {r['batch_size']:>3} "
        f"{r['median_ms']:9.3f} ms {r['fps']:9.1f} FPS, {r['ratio_to_backbone']:.2f} x backbone"
        for r in records
    ]
    (folder / "bench.txt").write_text("\n".join([records[0]["device"], *lines, ""]))


if __name__ == "__main__":
    sys.exit(main())
