"""How much memory a build takes, said before it begins."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence

from fapm_cli.config import BankConfig
from fapm_cli.learning.choosing.deep_layer import deep_extractor
from fapm_cli.learning.choosing.spoiled import most_spoiled
from fapm_cli.learning.held_out import FOLDS, JUDGED_BYTES, TOGETHER
from fapm_cli.learning.scratch.blocks import BLOCK_BYTES
from fapm_cli.learning.selecting import MIN_KEYS
from fapm_cli.memory.coreset import MEMORY_BYTES, selecting_bytes
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.pictures.reading import Item, memory_to_read
from fapm_cli.scores.extents import FEWEST_PARTS

_TORCH_BYTES, _EXTRACTING_BYTES = 780 * 2**20, 224 * 2**20
_PATCH_TIMES = 2  # as they are read, and as some are chosen or taken less their mean
_EACH_BYTES, _PLACE_BYTES = 32 * 2**10, 40
_MAPS = 8  # of a picture's px, float32, that are there at a time


def memory_needed(
    config: BankConfig, extractor: FeatureExtractor, num_pictures: int, files: Iterable[Item] = ()
) -> int:
    """Say, roughly, how many bytes a build takes at most: on a CPU of the process, else of CUDA.

    All vectors and input px are held, and 10 % or twice that of the vectors again as keys; those of
    a picture's turned copies twice while they are joined, and what extracting took stays. Then
    selecting keys takes turns with these, laid out for search.
    For a metric of each patch's own, spoiled pictures and their vectors are held as well, and how
    all vary; and the vectors of a deep layer, which may take over then. To judge large pictures
    takes their vectors twice, and maps of their px. The rest is torch and, on a CPU, the files that
    are read at a time.
    """
    shapes = [*extractor.map_shapes]
    chooses = config.metric == "own" and num_pictures >= FEWEST_PARTS
    spoiled = most_spoiled(num_pictures) if chooses else 0
    spoiled_bytes = spoiled * (_vector_bytes(shapes) + 3 * math.prod(config.preprocessing.crop_px))
    deeper = deep_extractor(config, extractor) if chooses else None
    shapes += [] if deeper is None else deeper.map_shapes
    per_picture, views = _vector_bytes(shapes), config.num_views
    vectors = num_pictures * views * per_picture
    joined = 2 * (views - 1) * per_picture
    keys = _key_bytes(config, shapes, num_pictures)
    num_patches, device = math.prod(config.grid), extractor.mean.device.type
    of_patches = [(num_pictures * views * h * w // num_patches, c) for c, h, w in shapes]
    ratio = config.coreset_ratio
    selecting = max(selecting_bytes(num_patches, n, c, ratio, device) for n, c in of_patches)
    varying = _varying_bytes(config, shapes) if chooses else 0
    maps = _MAPS * 4 * math.prod(config.preprocessing.crop_px)
    together = min(max(JUDGED_BYTES // per_picture, 1), TOGETHER)
    judging = max(together * (2 * per_picture + maps) - _EXTRACTING_BYTES, 0)
    needed = _TORCH_BYTES + _EXTRACTING_BYTES + vectors + joined + keys + max(keys, selecting)
    needed += spoiled_bytes + varying + judging
    if device == "cuda":
        return needed
    channels_shown = 3 if config.align == "none" else 4
    shown = num_pictures * channels_shown * math.prod(config.preprocessing.crop_px)
    return needed + memory_to_read(files, config.preprocessing) + shown


def needed_with_scratch(config: BankConfig, extractor: FeatureExtractor, num_pictures: int) -> int:
    """Say, roughly, how many bytes of memory a build takes at most whose vectors lie in files.

    But for the reading of pictures. Keys are held, twice while they are laid out for search; the
    vectors of one patch, or of some if they are small, twice at most, and distances between them; a
    little of each picture: what tells twins, and what is said of its places. Thumbnails are written
    one after another.
    """
    shapes, num_patches = [*extractor.map_shapes], config.grid[0] * config.grid[1]
    views = config.num_views
    per_picture = _vector_bytes(shapes)
    keys = _key_bytes(config, shapes, num_pictures)
    patch = max(4 * num_pictures * views * c * h * w // num_patches for c, h, w in shapes)
    selecting = _PATCH_TIMES * patch + MEMORY_BYTES
    varying = _varying_bytes(config, shapes)
    judging = keys + TOGETHER * per_picture + JUDGED_BYTES
    spoiled = per_picture * most_spoiled(num_pictures)
    places = max(h * w for _, h, w in shapes)
    of_each = num_pictures * (_EACH_BYTES + _PLACE_BYTES * places)
    own = config.metric == "own" and num_pictures >= FEWEST_PARTS
    held = keys + (varying + spoiled if own else 0)
    return _TORCH_BYTES + held + max(selecting, judging, of_each, 4 * BLOCK_BYTES)


def scratch_needed(config: BankConfig, extractor: FeatureExtractor, num_pictures: int) -> int:
    """Say how many bytes scratch files take at most."""
    shapes, k = [*extractor.map_shapes], config.query.num_neighbors
    deeper = deep_extractor(config, extractor) if config.metric == "own" else None
    deep = [] if deeper is None else deeper.map_shapes
    vectors = config.num_views * _vector_bytes([*shapes, *deep])
    found = 2 * 4 * k * (2 * sum(h * w for _, h, w in shapes) + sum(h * w for _, h, w in deep))
    px = math.prod(config.preprocessing.crop_px) * (3 if config.align == "none" else 4)
    shown = px * (1 + len(deep)) + px  # and thumbnails, which are smaller
    return num_pictures * (vectors + found + shown) + _key_bytes(config, shapes, num_pictures)


def _vector_bytes(shapes: Sequence[tuple[int, int, int]]) -> int:
    """Bytes of a picture's maps (C, h, w)."""
    return 4 * sum(channels * h * w for channels, h, w in shapes)


def _varying_bytes(config: BankConfig, shapes: Sequence[tuple[int, int, int]]) -> int:
    """Bytes of how the vectors of maps (C, h, w) vary, by fold and in all, of the metrics that come
    of it, and of one map's once more as these are made.
    """
    of_maps = [4 * math.prod(config.grid) * c**2 for c, _, _ in shapes]
    return (FOLDS + 3) * sum(of_maps) + FOLDS * max(of_maps)


def _key_bytes(
    config: BankConfig, shapes: Sequence[tuple[int, int, int]], num_pictures: int
) -> int:
    """Bytes of the keys of so many pictures' maps (C, h, w), at most."""
    most = min((2 if config.adaptive else 1) * config.coreset_ratio, 1)
    by_ratio = int(num_pictures * config.num_views * _vector_bytes(shapes) * most)
    return min(by_ratio, most_key_bytes(config, shapes))


def most_key_bytes(config: BankConfig, shapes: Sequence[tuple[int, int, int]]) -> int:
    """Bytes of the keys of maps (C, h, w) of any number of pictures."""
    if config.max_keys == 0:
        return sys.maxsize
    of_patch = (2 if config.adaptive else 1) * max(config.max_keys, MIN_KEYS)
    return 4 * of_patch * math.prod(config.grid) * sum(channels for channels, _, _ in shapes)
