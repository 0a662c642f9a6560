"""The graph is made where there is no torch, of plain arrays."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("onnx", reason="the extra fapm[export] is not installed")

SCRIPT = """
import sys
sys.modules["torch"] = None  # whoever imports it fails

from types import SimpleNamespace
import numpy as np
from fapm_cli.config import BankConfig, Preprocessing, Query
from fapm_cli.graph.model import engine_model
from fapm_cli.network.architectures import cut_stages

draw = np.random.default_rng(0).standard_normal
config = BankConfig(
    "efficientnet_lite0", ("block4_depthwise", "block5_expand"), (0.3, 0.3), 8, False,
    Preprocessing((64, 64), (64, 64), "bilinear", True, (127.0,) * 3, (128.0,) * 3),
    (2, 2), True, True, 0.1, 0.5,
    Query(1, (1.0, 1.0), 4.0, 0, "bilinear", "extents", "local"),
)
backbone = {}
for stage in cut_stages(config.backbone, config.layers):
    for conv in stage.blocks[0].convs:
        (fed, out), side = conv.channels, conv.kernel
        backbone[conv.name + ".weight"] = draw((out, fed // conv.groups, side, side), np.float32)
        backbone[conv.name + ".bias"] = draw(out, np.float32)
counts = np.array([3, 5, 4, 3])
memory = SimpleNamespace(keys=draw((15, 240), np.float32), key_counts=counts, metrics=None)
own = SimpleNamespace(
    keys=draw((15, 240), np.float32), key_counts=counts, metrics=draw((4, 240, 9), np.float32)
)
extents = SimpleNamespace(means=(0.1, 0.0, -0.5), spreads=(0.1, 0.1, 0.1), behind=0.9)
calibration = SimpleNamespace(factors=np.ones((8, 8), np.float32), extents=extents)
bank = SimpleNamespace(
    config=config, memories=(memory, own), map_sizes=((8, 8), (8, 8)), calibration=calibration,
    roi=None,
)
model = engine_model(bank, backbone, as_spots=True)
assert [one.name for one in model.graph.output][-1] == "as_spots"
print(len(model.SerializeToString()), *sorted(m for m in sys.modules if m.startswith("torch")))
"""


def test_a_graph_is_made_without_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    size, *modules = done.stdout.split()
    assert int(size) > 10_000
    assert modules == ["torch"]  # as it was set: None
