"""Measure everything that only a GPU shows, in one go and without network.

Usage: python benchmarks/gpu.py [OUTPUT FOLDER]

Writes bench.json (variants A to E, batch 1 to 64, fp32 and fp16) and bench.txt, and runs the tests
that need a GPU (scores on CPU and CUDA agree). Random weights serve: speed does not depend on them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BATCH_SIZES = "1,4,16,64"
BACKBONES = ("wide_resnet50_2", "efficientnet_lite0")


def main() -> int:
    """Run the benchmarks and the tests; the exit code is the tests'."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    records = []
    for backbone in BACKBONES:
        command = [sys.executable, "-m", "fapm_cli", "bench", "--device", "cuda", "--json"]
        command += ["--backbone", backbone, "--variants", "A,B,C,D,E", "--precision", "fp32,fp16"]
        command += ["--batch-size", BATCH_SIZES, "--runs", "50", "--warm-up", "10"]
        records += json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    (folder / "bench.json").write_text(json.dumps(records, indent=1))
    lines = [
        f"{r['backbone']:<20} {r['variant']} {r['precision']:<6} batch {r['batch_size']:>3} "
        f"{r['median_ms']:9.3f} ms {r['fps']:9.1f} FPS, {r['ratio_to_backbone']:.2f} x backbone"
        for r in records
    ]
    (folder / "bench.txt").write_text("\n".join([records[0]["device"], *lines, ""]))
    print((folder / "bench.txt").read_text())
    tests = [sys.executable, "-m", "pytest", "-m", "cuda", "tests"]
    return subprocess.run(tests, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
