"""The patch metric: how far apart vectors are, measured by how much good parts vary *there*.

Beyond the paper. It adapts each patch's memory (§2.1, §2.2); Euclidean distance still treats all
directions alike, though at each place good parts vary much in some and hardly in others. Here each
patch of each layer whitens its vectors by its own covariance, shrunk towards the same variance in
every direction: Mahalanobis distance, between single vectors and not to a mean as in PaDiM (Defard
et al., 2021), so that a part may lie in several ways.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fapm_cli.config import METRIC_DIMENSIONS

TOGETHER_BYTES = 256 * 2**20  # of vectors whose moments are taken at a time, in whole patches


class Variation:
    """How the vectors of each patch vary over pictures, by fold of pictures.

    The covariance is of the differences from the mean at each *place*: that places differ is no
    variation of good parts.
    """

    def __init__(self, vectors: Tensor, folds: Tensor, shown: Tensor | None = None):
        """Take the moments.

        Args:
            vectors: (N_p, N·N_v, C) float32, as :func:`fapm_cli.memory.grid.to_patches` cuts them.
            folds: (N,) int64, the fold of each picture, from 0.
            shown: (N_p, N·N_v) bool, the vectors that count; None for all.
        """
        num_patches, _, channels = vectors.shape
        by_place = vectors.view(num_patches, len(folds), -1, channels)
        self._counts: list[int] = folds.bincount().tolist()
        self._shown: list[Tensor] | None = None
        self._sums: list[Tensor] = []
        self._products: list[Tensor] = []
        if shown is None:
            mean = by_place.mean(dim=1, keepdim=True)
        else:
            there = shown.view(num_patches, len(folds), -1, 1).to(vectors.device)
            self._shown = [there[:, folds == fold].sum(dim=1) for fold in range(self.num_folds)]
            sums = torch.stack([(v * of).sum(dim=0) for v, of in zip(by_place, there, strict=True)])
            mean = (sums / there.sum(dim=1).clamp(min=1)).unsqueeze(1)
        for fold in range(self.num_folds):
            own = by_place[:, (folds == fold).to(vectors.device)]  # a copy
            own -= mean
            if shown is not None:
                own *= there[:, (folds == fold).to(vectors.device)]
            self._sums.append(own.sum(dim=1))
            flat = own.flatten(1, 2)
            self._products.append(torch.bmm(flat.mT, flat))

    def tensors(self) -> dict[str, Tensor]:
        """The moments, each with a patch a row."""
        moments = {"sums": self._sums, "products": self._products, "shown": self._shown or []}
        return {
            f"{name}.{fold}": of_fold
            for name, of_folds in moments.items()
            for fold, of_fold in enumerate(of_folds)
        }

    @classmethod
    def of_patches(cls, parts: Sequence[Mapping[str, Tensor]], folds: Tensor) -> Variation:
        """That of all patches, of the :meth:`tensors` of some after others."""
        whole = cls.__new__(cls)
        whole._counts = folds.bincount().tolist()
        joined = [
            [
                torch.cat([part[f"{name}.{fold}"] for part in parts])
                for fold in range(len(whole._counts))
            ]
            for name in ("sums", "products", "shown")
            if f"{name}.0" in parts[0]
        ]
        whole._sums, whole._products, *shown = joined
        whole._shown = shown[0] if shown else None
        return whole

    @property
    def num_folds(self) -> int:
        """Folds, from 0."""
        return len(self._counts)

    def covariances(self, without: int | None = None) -> Tensor:
        """(N_p, C, C) float32 of each patch, of all folds or of those but one."""
        folds = [fold for fold in range(self.num_folds) if fold != without]
        number = sum(self._counts[fold] for fold in folds)
        sums = torch.stack([self._sums[fold] for fold in folds]).sum(dim=0)
        products = torch.stack([self._products[fold] for fold in folds]).sum(dim=0)
        if self._shown is not None:
            counts = torch.stack([self._shown[fold] for fold in folds]).sum(dim=0).clamp(min=1)
            about_means = products - torch.bmm((sums / counts).mT, sums)
            return about_means / counts.sum(dim=1, keepdim=True)
        sums = sums / number
        covariances: Tensor = (products / number - torch.bmm(sums.mT, sums)) / sums.shape[1]
        return covariances


def patch_metrics(covariances: Tensor, floor: float, scale: float = 1.0) -> Tensor:
    """The map of each patch's vectors to where Euclidean distance is the patch's own.

    With S a patch's covariance and v the mean variance of a direction over all patches, the squared
    distance is (x - y)ᵀ (S + floor·v·I)⁻¹ (x - y), but for one factor. The larger the floor, the
    nearer it is to the plain one. Of many dimensions an even share is kept by a fixed random
    rotation (Johnson and Lindenstrauss, 1984). A good vector lies ``scale`` from its place's mean,
    in the root mean square over all patches.

    Args:
        covariances: (N_p, C, C) float32.
        floor: above 0.
        scale: above 0.

    Returns:
        (N_p, C, D) float32, values of bfloat16, D at most 128: a row vector times this is the
        mapped one.
    """
    channels = covariances.shape[1]
    variance = covariances.diagonal(dim1=1, dim2=2).mean().clamp(min=1e-12)
    identity = torch.eye(channels, device=covariances.device)
    lower = torch.linalg.cholesky(covariances + floor * variance * identity)
    rotated = identity if channels <= METRIC_DIMENSIONS else _rotation(channels).to(identity.device)
    maps: Tensor = torch.linalg.solve_triangular(
        lower.mT, rotated.expand(len(covariances), -1, -1), upper=True
    )
    # tr(Mᵀ S M), since M maps S + floor·v·I to the identity of D dimensions.
    beyond = floor * variance * maps.square().sum(dim=(1, 2)).mean()
    usual_sq = (maps.shape[2] - beyond).clamp(min=1e-12)
    # A metric rounded is a metric still, in half the bytes.
    return (maps * (scale / usual_sq.sqrt())).bfloat16().float()


def map_keys(keys: Tensor, key_counts: Tensor, metrics: Tensor) -> Tensor:
    """(ΣK_i, D) keys of (ΣK_i, C) ones, patch after patch, each in its own patch's metric."""
    parts = torch.split(keys, key_counts.tolist())
    return torch.cat([part @ own for part, own in zip(parts, metrics, strict=True)])


@functools.cache
def _rotation(channels: int) -> Tensor:
    """(C, 128) float32, orthonormal columns: the same every time."""
    generator = torch.Generator().manual_seed(0)
    square = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    orthonormal: Tensor = torch.linalg.qr(square).Q
    return orthonormal[:, :METRIC_DIMENSIONS].float()
