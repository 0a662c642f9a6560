"""How fast detectors are on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from fapm_cli.api.detector import Detector
from fapm_cli.compute.plan import Plan
from fapm_cli.detection.detector import Detector as TorchDetector
from fapm_cli.detection.record import Record
from fapm_cli.errors import OptionError
from fapm_cli.evaluation import speed
from fapm_cli.evaluation.engine_process import OF_BANKS as OF_BANKS
from fapm_cli.evaluation.engine_process import TORCH as TORCH
from fapm_cli.evaluation.engine_process import Job as Job
from fapm_cli.evaluation.engine_speed import choose_engines as choose_engines
from fapm_cli.evaluation.engine_speed import measure_engines as measure_engines
from fapm_cli.evaluation.engine_speed import precision_of as precision_of
from fapm_cli.evaluation.synthetic_bank import synthetic_detector
from fapm_cli.exporting.file import read_input as read_input


def measure(
    detectors: Mapping[str, Detector],
    batch_size: int = 1,
    *,
    runs: int = 30,
    warm_up: int = 5,
    on_round: Callable[[int, int], None] | None = None,
) -> list[Record]:
    """Time detectors of one device side by side, each whole and stage by stage.

    They take turns, round by round, so that a slow moment of the machine hits them all.

    Args:
        detectors: by any names.
        batch_size: pictures at a time.
        runs: rounds that count.
        warm_up: rounds that don't.
        on_round: told (done, total) after each round, if given.

    Returns:
        A record each, as ``fapm bench --json`` gives it: times in ms a batch, ``fps``, the bank's
        size, the machine.
    """
    engines = {name: _torch(one) for name, one in detectors.items()}
    told = on_round or (lambda done, total: None)
    return speed.measure(engines, batch_size, runs=runs, warm_up=warm_up, on_round=told)


def frames_per_second(detectors: Iterable[Detector]) -> list[float]:
    """Say how many pictures a second each detector judges at batch size 1, taking turns."""
    return speed.frames_per_second([one.engine for one in detectors])


def _torch(one: Detector) -> TorchDetector:
    """What runs it, which is timed stage by stage.

    Raises:
        OptionError: it is not torch.
    """
    if not isinstance(one.engine, TorchDetector):
        raise OptionError("stages are those of torch: open the detector with engine='torch'")
    return one.engine


def synthetic(backbone: str | None, variant: str, num_pictures: int, plan: Plan) -> Detector:
    """Lay out a bank of random keys, to be measured: the size of a real one, no knowledge.

    Args:
        backbone: its name, with random weights; None for the paper's.
        variant: A to E of the paper's Table 2.
        num_pictures: of good parts, that a bank of this size would come from.
        plan: where and how to compute.

    Raises:
        OptionError: there is no such backbone or variant.
    """
    given = {} if backbone is None else {"backbone": backbone}
    return Detector(
        synthetic_detector(**given, variant=variant, num_pictures=num_pictures, plan=plan)
    )
