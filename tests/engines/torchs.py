"""What torch finds, which every engine has to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fapm_cli.bank.bank import Bank
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection.detection import PARTS
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.judge import Judge

CPU = make_plan("cpu", "fp32")


def assert_as_torch(judge: Callable[..., Judge], bank: Bank, pixels: Any, **asked: Any) -> None:
    """Check that an engine finds what torch does in some pictures."""
    ours = judge(bank, **asked).detect_inputs(pixels)
    theirs = Detector(bank, plan=CPU, **asked).detect_inputs(pixels).on_host
    for name in PARTS:
        one, other = getattr(ours, name), getattr(theirs, name)
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        if one.dtype == np.int64:
            assert (one == other).mean() > 0.999, name
        else:
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=name)
