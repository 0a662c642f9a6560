"""How much memory a build takes, said before it begins."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fapm_cli.config import BankConfig
from fapm_cli.learning.choosing.deep_layer import deep_extractor
from fapm_cli.learning.choosing.spoiled import most_spoiled
from fapm_cli.learning.held_out import FOLDS, TOGETHER, TOGETHER_BYTES
from fapm_cli.learning.turned import angles
from fapm_cli.memory.coreset import MEMORY_BYTES
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.pictures.reading import Item, memory_to_read
from fapm_cli.scores.extents import FEWEST_PARTS

_TORCH_BYTES, _EXTRACTING_BYTES = 780 * 2**20, 96 * 2**20
_MAPS = 8  # of a picture's px, float32, that are there at a time


def memory_needed(
    config: BankConfig, extractor: FeatureExtractor, num_pictures: int, files: Iterable[Item] = ()
) -> int:
    """Say, roughly, how many bytes a build takes at most: on a CPU of the process, else of CUDA.

    All vectors and input px are held, and 10 % or twice that of the vectors again as keys. What
    follows takes turns: extracting, distances between vectors, which have a limit, and the keys
    laid out for search.
    For a metric of each patch's own, vectors of spoiled pictures, twice while they are joined, and
    a third of all once more, less their mean, with what they vary by; and those of a deep
    layer, which may take over then. To judge large pictures
    takes their vectors twice, and maps of their px. The rest is torch and, on a CPU, the files that
    are read at a time.
    """
    shapes = [*extractor.map_shapes]
    chooses = config.metric == "own" and num_pictures >= FEWEST_PARTS
    deeper = deep_extractor(config, extractor) if chooses else None
    shapes += [] if deeper is None else deeper.map_shapes
    per_picture = sum(channels * h * w for channels, h, w in shapes)
    widest = 2 if config.adaptive else 1
    views = 1 + len(angles(config.turn))
    vectors = 4 * num_pictures * views * per_picture
    channels_shown = 3 if config.align == "none" else 4
    shown = num_pictures * channels_shown * math.prod(config.preprocessing.crop_px)
    keys = int(vectors * min(widest * config.coreset_ratio, 1))
    most = max(num_pictures * views * h * w for _, h, w in shapes)
    distances = min(4 * most**2 // (config.grid[0] * config.grid[1]), MEMORY_BYTES)
    on_cuda = extractor.mean.device.type == "cuda"
    reading = 0 if on_cuda else memory_to_read(files, config.preprocessing) + shown
    maps = _MAPS * 4 * math.prod(config.preprocessing.crop_px)
    together = min(max(TOGETHER_BYTES // (4 * per_picture), 1), TOGETHER)
    judging = max(together * (2 * 4 * per_picture + maps) - _EXTRACTING_BYTES, 0)
    needed = vectors + keys + max(keys, distances, _EXTRACTING_BYTES) + _TORCH_BYTES + reading
    needed += judging
    if not chooses:
        return needed
    squares = sum(channels**2 for channels, _, _ in shapes)
    varying = 4 * (FOLDS + 1) * config.grid[0] * config.grid[1] * squares
    spoiled = 4 * per_picture * 2 * most_spoiled(num_pictures)
    return needed + vectors // views // FOLDS + varying + spoiled
