"""Speed: how long detectors take, whole and stage by stage, all of them in turns."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import torch
from PIL import Image

from fapm_cli.compute.machine import describe_machine, peak_memory_mb
from fapm_cli.compute.timing import Latency, alternate
from fapm_cli.config import BankConfig
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.graphs import runner
from fapm_cli.detection.judge import Judge
from fapm_cli.pictures.preparing import prepare

PICTURE_PX = 1024
_WARM_UP, _RUNS = 3, 20


def noise(config: BankConfig, num_pictures: int, seed: int = 0) -> torch.Tensor:
    """Random pictures of the input's size: (B, H, W, 3) uint8."""
    shape = (num_pictures, *config.preprocessing.crop_px, 3)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).byte()


def frames_per_second(judges: Sequence[Judge]) -> list[float]:
    """Say how many pictures a second each judge manages at batch size 1."""
    works = {
        str(i): functools.partial(one.detect, noise(one.bank.config, 1))
        for i, one in enumerate(judges)
    }
    first = judges[0]
    where = first.device if isinstance(first, Detector) else torch.device("cpu")
    times = alternate(works, where, warm_up=_WARM_UP, runs=_RUNS)
    return [1000 / median(spent) for spent in times.values()]


@torch.inference_mode()
def measure(
    detectors: Mapping[str, Detector],
    batch_size: int,
    *,
    runs: int,
    warm_up: int,
    on_round: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Time detectors of one device, whole and stage by stage, and their backbones alone.

    Args:
        detectors: by any names.
        batch_size: pictures at a time.
        runs: rounds that count.
        warm_up: rounds that don't.
        on_round: told (done, total) after each round.

    Returns:
        A record each: times in ms a batch, frames per second, size of the bank, the machine.
    """
    works: dict[str, Callable[[], object]] = {}
    for name, detector in detectors.items():
        pixels = noise(detector.bank.config, batch_size)
        works |= {f"{name}/{stage}": work for stage, work in _stages(detector, pixels).items()}
    where = next(iter(detectors.values())).device
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    times = alternate(works, where, warm_up=warm_up, runs=runs, on_round=on_round)
    records = []
    for name, detector in detectors.items():
        spent = {
            key.removeprefix(f"{name}/"): Latency.of(values)
            for key, values in times.items()
            if key.startswith(f"{name}/")
        }
        records.append(_record(detector, batch_size, runs, spent))
    return records


def _record(
    detector: Detector, batch_size: int, runs: int, stages: dict[str, Latency]
) -> dict[str, Any]:
    """What was measured of one detector, as plain values."""
    engine, floor = stages.pop("engine"), stages.pop("backbone")
    stages_ms = {stage: spent.median_ms for stage, spent in stages.items()}
    stages_ms["preprocess"] *= batch_size
    config, memories = detector.bank.config, detector.bank.memories
    return {
        "variant": config.variant,
        "backbone": config.backbone,
        "precision": detector.plan.precision,
        "batch_size": batch_size,
        "runs": runs,
        "median_ms": engine.median_ms,
        "p95_ms": engine.p95_ms,
        "p99_ms": engine.p99_ms,
        "fps": 1000 * batch_size / engine.median_ms,
        "backbone_ms": floor.median_ms,
        "ratio_to_backbone": engine.median_ms / floor.median_ms,
        "stages_ms": stages_ms,
        "keys": sum(len(m.keys) for m in memories),
        "bank_mb": sum(m.keys.nbytes for m in memories) / 1e6,
        "peak_memory_mb": peak_memory_mb(detector.device),
        **describe_machine(detector.device),
    }


def _stages(detector: Detector, pixels: torch.Tensor) -> dict[str, Callable[[], object]]:
    """The engine whole, the backbone alone, and each stage on what the one before it gives.

    The engine starts from decoded, resized pixels. ``preprocess`` is the resize of a 1024×1024
    picture, which the engine's threads do beside it: one, however large the batch, for a batch
    takes as many times as long. A compiled engine has no stages.
    """
    config = detector.bank.config
    large = Image.effect_noise((PICTURE_PX, PICTURE_PX), 64).convert("RGB")
    extractor, finder, scorer = detector.extractor, detector.finder, detector.scorer
    # As the engine does it: on a CPU one picture after the other.
    at_a_time = 1 if detector.plan.one_by_one else len(pixels)
    parts = torch.split(pixels.to(detector.device), at_a_time)
    alone = extractor.tap if extractor.tile_px(detector.device) is None else extractor
    floor = runner(lambda part: tuple(alone(part)), detector.plan)
    whole: dict[str, Callable[[], object]] = {
        "engine": lambda: detector.detect(pixels),
        "backbone": lambda: [floor(part) for part in parts],
        "preprocess": lambda: prepare(large, config.preprocessing),
    }
    if detector.plan.compiled:
        return whole
    extracted = [[(band, finder.extract(part, band)) for band in finder.bands] for part in parts]
    found = [scorer.inside(finder(part)) for part in parts]
    return whole | {
        "extract": lambda: [finder.extract(part, band) for part in parts for band in finder.bands],
        "knn": lambda: [list(finder.search(maps, band)) for one in extracted for band, maps in one],
        "map": lambda: [scorer.combine(part) for part in found],
    }
