"""``benchmarks/peers.py`` without its peers: what it makes of what they write."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, SAMPLES

import fapm_cli
from fapm_cli.evaluation.datasets import find_categories

PEERS: dict[str, Any] = runpy.run_path(str(ROOT / "benchmarks" / "peers.py"))
TIMES = {"build_seconds": 2.0, "ms": 3.0, "megabytes": 4.0}


def test_a_peer_is_judged_by_the_figures_of_eval(bank: Path, tmp_path: Path) -> None:
    category = find_categories(SAMPLES)[0].read()
    detector = fapm_cli.load(bank).detector("cpu", "fp32")
    paths = [one.path for one in category.test]
    pixels = np.stack([one.pixels for one in PEERS["prepared"](paths)])
    found = detector.engine.detect(pixels)
    np.save(tmp_path / "scores.npy", found.image_scores)
    np.save(tmp_path / "maps.npy", found.anomaly_maps - 7)  # as of log-likelihoods
    (tmp_path / "peer.json").write_text(json.dumps(TIMES))
    measured = PEERS["theirs"](category, PEERS["prepared"](paths), tmp_path)
    record = fapm_cli.evaluate_category(category, detector).record()
    for name in ("image_auroc", "pixel_auroc", "aupro"):
        assert measured.pop(name) == pytest.approx(record[name], abs=1e-5), name
    assert measured == TIMES


def test_a_peer_that_fails_or_takes_too_long_says_why() -> None:
    fails = [sys.executable, "-c", "raise SystemExit('loading\\nno weights')"]
    assert PEERS["run"](fails, 60) == {"why": "no weights"}
    waits = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert PEERS["run"](waits, 0.1) == {"why": "given up after 0 s"}
    assert PEERS["run"]([sys.executable, "-c", ""], 60) is None
    record = {"category": "cap", "method": "PatchSVDD", "why": "nobody has it"}
    line = PEERS["row"](record)
    assert line.startswith("| cap | PatchSVDD | (nobody has it) |")
