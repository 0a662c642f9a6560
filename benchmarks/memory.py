"""What a build says of its memory beforehand, and what it takes: its peak, in a process of its own.

python benchmarks/memory.py --pictures 30 --megapixels 12
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

_BUILD = """
import resource, sys
from fapm_cli.cli import run
from fapm_cli.commands import making

making._MUCH_BYTES = 0  # say it of any build
run(["build", sys.argv[1], "-o", sys.argv[1] + "/bank.st", "--threads", sys.argv[2]])
unit = 1 if sys.platform == "darwin" else 1024
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9)
"""


def main() -> None:
    """Write pictures of coarse noise, build a bank of them, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=30)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--threads", default="2")
    options = parser.parse_args()
    rng, side = np.random.default_rng(0), round((options.megapixels * 1e6) ** 0.5)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(options.pictures):
            noise = Image.fromarray(rng.integers(0, 256, (100, 100, 3), dtype=np.uint8))
            large = noise.resize((side, side), Image.Resampling.NEAREST)
            large.save(Path(folder) / f"{i}.png", compress_level=1)
        command = [sys.executable, "-c", _BUILD, folder, options.threads]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = re.search(r"take up to ([\d.]+) GB", done.stderr)
    peak = re.search(r"peak ([\d.]+)", done.stdout)
    if said is None or peak is None:
        sys.exit(done.stderr)
    print(f"said {said[1]} GB, taken {float(peak[1]):.2f} GB")


if __name__ == "__main__":
    main()
