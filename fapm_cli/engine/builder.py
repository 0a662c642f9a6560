"""The builder: from nominal pictures to a bank."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import fapm_cli
from fapm_cli.bank import OWN_WEIGHTS, Bank, LayerMemory, NominalPicture
from fapm_cli.calibration import Calibration, local_calibration
from fapm_cli.config import BankConfig
from fapm_cli.coreset import adaptive_coreset, num_keys
from fapm_cli.engine.pseudo import Found, pseudo_scores
from fapm_cli.engine.reading import Prepared, Unreadable, read_batches
from fapm_cli.engine.scorer import Scorer
from fapm_cli.errors import PictureError
from fapm_cli.extraction import FeatureExtractor
from fapm_cli.grid import check_divisible, map_cells, to_patches
from fapm_cli.knn import LeaveOut, patch_memory
from fapm_cli.scoring import top_score
from fapm_cli.threshold import (
    MOST_RATE,
    USUAL_RATE,
    Thresholds,
    fewest_errors,
    find_suspects,
    rate_thresholds,
)

MIN_KEYS = 4
_AT_A_TIME = 16
# A picture alone has no other to be judged by. Others of its kind were seen to score 1.3 to 2.8
# times what it does in its own bank.
_ALONE = 3.0
_RIM = 1 / 14
_LEVEL = 0.9
# To name a picture costs a glance; to drop a good one that lies as few do costs all that it shows.
_OUTLIER = 6.0

OnStage = Callable[[str, int, int], None]
OnSuspects = Callable[[list[tuple[str, float]], bool], None]


@dataclass(frozen=True)
class NominalBatch:
    """Some nominal pictures.

    Attributes:
        pixels: (B, H, W, 3) uint8 RGB, as :func:`fapm_cli.images.prepare` makes them.
        names: what to call each.
        sha256: digest of each one's file.
    """

    pixels: Tensor
    names: Sequence[str]
    sha256: Sequence[str]


def build_from_files(
    files: Sequence[tuple[Path, str]],
    config: BankConfig,
    extractor: FeatureExtractor,
    batch_size: int,
    *,
    weights: str = OWN_WEIGHTS,
    embed_backbone: bool = True,
    drop_outliers: bool = False,
    on_bad: Callable[[Unreadable], None] | None = None,
    on_suspects: OnSuspects = lambda suspects, dropped: None,
    on_stage: OnStage = lambda stage, done, total: None,
) -> Bank:
    """Build a bank from picture files.

    Args:
        files: each file, and its name in the bank.
        config: as for :func:`build_bank`, and so on.
        extractor: the backbone.
        batch_size: pictures at a time.
        weights: where the backbone's came from.
        embed_backbone: whether the bank holds them.
        drop_outliers: as for :func:`build_bank`.
        on_bad: told of each picture that can't be read, which is left out; None to raise.
        on_suspects: as for :func:`build_bank`.
        on_stage: told (stage, done, total) as the work goes on.

    Raises:
        PictureError: a picture can't be read and ``on_bad`` is None, or none can.
    """
    batches = _nominal_batches(files, config, batch_size, on_bad)
    return build_bank(
        batches,
        len(files),
        config,
        extractor,
        weights=weights,
        embed_backbone=embed_backbone,
        drop_outliers=drop_outliers,
        on_suspects=on_suspects,
        on_stage=on_stage,
    )


def _nominal_batches(
    files: Sequence[tuple[Path, str]],
    config: BankConfig,
    batch_size: int,
    on_bad: Callable[[Unreadable], None] | None,
) -> Iterator[NominalBatch]:
    names = dict(files)
    for batch in read_batches((file for file, _ in files), config.preprocessing, batch_size):
        good = []
        for one in batch:
            if isinstance(one, Prepared):
                good.append(one)
            elif on_bad is None:
                raise one.error
            else:
                on_bad(one)
        if good:
            yield NominalBatch(
                torch.stack([one.pixels for one in good]),
                [names[one.picture.path] for one in good],
                [one.picture.sha256 for one in good],
            )


def build_bank(
    batches: Iterable[NominalBatch],
    capacity: int,
    config: BankConfig,
    extractor: FeatureExtractor,
    *,
    weights: str = OWN_WEIGHTS,
    embed_backbone: bool = True,
    drop_outliers: bool = False,
    on_suspects: OnSuspects = lambda suspects, dropped: None,
    on_stage: OnStage = lambda stage, done, total: None,
) -> Bank:
    """Build a bank from nominal pictures, on the extractor's device.

    Args:
        batches: the pictures, in order.
        capacity: most pictures that may come, N; memory for them is taken at once.
        config: what to build.
        extractor: the backbone, on the device to work on.
        weights: where its weights came from, for the record.
        embed_backbone: whether the bank holds them, so that it needs nothing else.
        drop_outliers: whether pictures that look most unlike the rest (6 σ) are left out, and the
            bank is learnt again without them, from the same features.
        on_suspects: told the names and robust z-scores of such pictures, most suspicious first,
            and whether they are left out; at the end, those still in the bank.
        on_stage: told (stage, done, total) as the work goes on.

    Raises:
        OptionError: the grid does not fit the maps.
        PictureError: no picture came.
    """
    map_sizes = tuple((h, w) for _, h, w in extractor.map_shapes)
    check_divisible(config.preprocessing.crop_px, config.grid, map_sizes)
    features, names = _extract(batches, capacity, config, extractor, on_stage)
    memories, response = _learn(features, len(names), config, map_sizes, on_stage)
    suspects = find_suspects(response.spots, response.levels)
    outliers = [(i, z) for i, z in suspects if z > _OUTLIER]
    if drop_outliers and outliers:
        on_suspects([(names[i][0], z) for i, z in outliers], True)
        kept = torch.tensor(sorted(set(range(len(names))) - {i for i, _ in outliers}))
        features = [_of_pictures(vectors, kept, len(names)) for vectors in features]
        names = [names[i] for i in kept.tolist()]
        memories, response = _learn(features, len(names), config, map_sizes, on_stage)
        suspects = find_suspects(response.spots, response.levels)
    on_suspects([(names[i][0], z) for i, z in suspects], False)
    nominal = zip(names, response.scores, response.peaks, strict=True)
    return Bank(
        config,
        tuple(memories),
        map_sizes,
        response.calibration,
        _thresholds(response),
        tuple(NominalPicture(*name, score, peak) for name, score, peak in nominal),
        extractor.weights_hash,
        weights,
        dict(extractor.stages.state_dict()) if embed_backbone else None,
        _versions(),
    )


def _learn(
    features: Sequence[Tensor],
    num_pictures: int,
    config: BankConfig,
    map_sizes: Sequence[tuple[int, int]],
    on_stage: OnStage,
) -> tuple[list[LayerMemory], NominalResponse]:
    """Select keys, and judge the pictures by those of the others."""
    memories = []
    for j, vectors in enumerate(features):
        memories.append(_select_keys(vectors, config, map_sizes[j]))
        on_stage("select", j + 1, len(features))
    return memories, _nominal_response(
        features, memories, num_pictures, config, map_sizes, on_stage
    )


def _thresholds(response: NominalResponse) -> Thresholds:
    if response.pseudo is None:
        return rate_thresholds(response.scores, response.peaks, USUAL_RATE)
    return fewest_errors(
        response.scores, response.peaks, response.pseudo, "pseudo-defects", MOST_RATE
    )


@torch.inference_mode()
def _extract(
    batches: Iterable[NominalBatch],
    capacity: int,
    config: BankConfig,
    extractor: FeatureExtractor,
    on_stage: OnStage,
) -> tuple[list[Tensor], list[tuple[str, str]]]:
    """Extract all patch memories whole: per memory (N_p, N·N_v, C), and the pictures' names."""
    device = extractor.mean.device
    num_patches = config.grid[0] * config.grid[1]
    per_picture = [h * w // num_patches for _, h, w in extractor.map_shapes]
    features = [
        torch.empty(num_patches, capacity * n, shape[0], device=device)
        for n, shape in zip(per_picture, extractor.map_shapes, strict=True)
    ]
    names: list[tuple[str, str]] = []
    for batch in batches:
        # On a CPU one picture at a time is as fast, and the batch size can't change a bit.
        at_a_time = 1 if device.type == "cpu" else len(batch.pixels)
        first = len(names)
        for pixels in torch.split(batch.pixels, at_a_time):
            last = first + len(pixels)
            maps = extractor(pixels.to(device))
            for whole, part, n in zip(features, maps, per_picture, strict=True):
                whole[:, first * n : last * n] = to_patches(part, config.grid)
            first = last
        names.extend(zip(batch.names, batch.sha256, strict=True))
        on_stage("extract", len(names), capacity)
    if not names:
        raise PictureError("no nominal picture could be read; give a folder of good pictures")
    return [f[:, : len(names) * n] for f, n in zip(features, per_picture, strict=True)], names


def _coreset(vectors: Tensor, config: BankConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pick keys: concatenated indices, counts, radii² and widened flags of all patches."""
    coresets = adaptive_coreset(
        vectors,
        config.coreset_ratio,
        config.spread_threshold if config.adaptive else None,
        MIN_KEYS,
    )
    return (
        torch.cat([c.indices for c in coresets]),
        torch.tensor([len(c.indices) for c in coresets]),
        torch.tensor([c.radius_sq for c in coresets], dtype=torch.float32),
        torch.tensor([c.widened for c in coresets]),
    )


def _gather(vectors: Tensor, indices: Tensor, counts: Tensor) -> Tensor:
    """(ΣK_i, C) keys of (N_p, n, C) vectors."""
    patch = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return vectors[patch.to(vectors.device), indices.to(vectors.device)]


def _select_keys(vectors: Tensor, config: BankConfig, map_size: tuple[int, int]) -> LayerMemory:
    indices, counts, radius_sq, widened = _coreset(vectors, config)
    per_picture = map_size[0] * map_size[1] // len(counts)
    cells = [
        map_cells(part, i, config.grid, *map_size)
        for i, part in enumerate(torch.split(indices, counts.tolist()))
    ]
    return LayerMemory(
        keys=_gather(vectors, indices, counts),
        key_counts=counts,
        key_pictures=(indices // per_picture).int(),
        key_cells=torch.cat(cells).int(),
        radius_sq=radius_sq,
        widened=widened,
    )


@dataclass(frozen=True)
class NominalResponse:
    """What the bank says of its own pictures, each one's own keys left out.

    Attributes:
        calibration: of each place.
        scores: N image scores.
        peaks: N maxima of anomaly maps.
        spots: N image scores away from the rim, where chance things lie in good pictures too.
        levels: N 90th percentiles of the same.
        pseudo: image scores of pseudo-defective pictures; None where they can't be made.
    """

    calibration: Calibration
    scores: list[float]
    peaks: list[float]
    spots: list[float]
    levels: list[float]
    pseudo: list[float] | None


@torch.inference_mode()
def _nominal_response(
    features: Sequence[Tensor],
    memories: Sequence[LayerMemory],
    num_pictures: int,
    config: BankConfig,
    map_sizes: Sequence[tuple[int, int]],
    on_stage: OnStage,
) -> NominalResponse:
    """Score each nominal picture, and what it is with a spot of elsewhere, own keys left out."""
    laid_out = [patch_memory(m.keys, m.key_counts, config.grid) for m in memories]
    scorer = Scorer(config, config.query, laid_out, map_sizes)
    num_patches = config.grid[0] * config.grid[1]
    generator = torch.Generator().manual_seed(0)
    found: list[Found] = []
    elsewhere: list[Found] = []
    for pictures in torch.split(torch.arange(num_pictures), _AT_A_TIME):
        queries = [_of_pictures(vectors, pictures, num_pictures) for vectors in features]
        leave_out = None
        if num_pictures > 1:
            leave_out = [
                LeaveOut(
                    pictures.repeat_interleave(q.shape[1] // len(pictures)).to(q.device),
                    m.key_pictures.long().to(q.device),
                )
                for q, m in zip(queries, memories, strict=True)
            ]
        found.append(scorer.search(queries, leave_out))
        if num_patches > 1:
            shift = int(torch.randint(1, num_patches, (), generator=generator))
            elsewhere.append(scorer.search([q.roll(shift, 0) for q in queries], leave_out))
        on_stage("calibrate", int(pictures[-1]) + 1, num_pictures)
    found, elsewhere = _fill(found), _fill(elsewhere)
    responses = torch.cat([scorer.combine(part).responses for part in found])
    calibration = local_calibration(responses)
    scorer = Scorer(config, config.query, laid_out, map_sizes, calibration)
    scores: list[float] = []
    peaks: list[float] = []
    spots: list[float] = []
    levels: list[float] = []
    for part in found:
        scored = scorer.combine(part)
        scores += scored.image_scores.tolist()
        peaks += scored.anomaly_maps.amax(dim=(1, 2)).tolist()
        inner = _without_rim(scored.anomaly_maps)
        spots += top_score(inner).tolist()
        levels += inner.flatten(1).kthvalue(round(_LEVEL * inner[0].numel())).values.tolist()
    pseudo = pseudo_scores(scorer, found, elsewhere, generator) if elsewhere else None
    if num_pictures == 1:
        scores, peaks = [_ALONE * scores[0]], [_ALONE * peaks[0]]
    return NominalResponse(calibration, scores, peaks, spots, levels, pseudo)


def _without_rim(maps: Tensor) -> Tensor:
    """(B, h, w) the middle of (B, H, W) maps, less 1 / 14 at each side."""
    rows, columns = (round(side * _RIM) for side in maps.shape[1:])
    return maps[:, rows : maps.shape[1] - rows, columns : maps.shape[2] - columns]


def _fill(found: list[Found]) -> list[Found]:
    """Where all keys are a picture's own, nothing is known: assume the largest distance found."""
    if not found:
        return []
    largest = [
        max(float(part[j][0].masked_fill(part[j][0] == torch.inf, 0).amax()) for part in found)
        for j in range(len(found[0]))
    ]
    return [
        [(d.clamp(max=most), keys) for (d, keys), most in zip(part, largest, strict=True)]
        for part in found
    ]


def _of_pictures(vectors: Tensor, pictures: Tensor, num_pictures: int) -> Tensor:
    """The (N_p, n·N_v, C) vectors of some of the pictures."""
    num_patches, _, channels = vectors.shape
    by_picture = vectors.view(num_patches, num_pictures, -1, channels)
    return by_picture[:, pictures.to(vectors.device)].flatten(1, 2)


def synthetic_bank(config: BankConfig, extractor: FeatureExtractor, num_pictures: int) -> Bank:
    """Make a bank of random keys, for speed measurements: the size of a real one, no knowledge.

    Args:
        config: adaptive ones get every patch widened, the costliest case.
        extractor: gives the shapes.
        num_pictures: nominal pictures that a bank of this size would come from.
    """
    generator = torch.Generator().manual_seed(0)
    num_patches = config.grid[0] * config.grid[1]
    memories = []
    for channels, h, w in extractor.map_shapes:
        n = num_pictures * (h * w // num_patches)
        k = num_keys(n, config.coreset_ratio, MIN_KEYS)
        k = min(2 * k, n) if config.adaptive else k
        counts = torch.full((num_patches,), k)
        memories.append(
            LayerMemory(
                keys=torch.randn(num_patches * k, channels, generator=generator),
                key_counts=counts,
                key_pictures=torch.zeros(num_patches * k, dtype=torch.int32),
                key_cells=torch.zeros(num_patches * k, dtype=torch.int32),
                radius_sq=torch.ones(num_patches),
                widened=torch.full((num_patches,), config.adaptive),
            )
        )
    sizes = tuple((h, w) for _, h, w in extractor.map_shapes)
    pictures = (NominalPicture("synthetic", "", 1.0, 1.0),) * num_pictures
    digest = extractor.weights_hash
    none = Calibration(torch.ones(max(sizes)), 0.0)
    thresholds = rate_thresholds([1.0] * num_pictures, [1.0] * num_pictures, USUAL_RATE)
    return Bank(
        config,
        tuple(memories),
        sizes,
        none,
        thresholds,
        pictures,
        digest,
        "random",
        None,
        _versions(),
    )


def _versions() -> dict[str, str]:
    return {"fapm": fapm_cli.__version__, "torch": torch.__version__}
