"""Products of each page's keys with the target vectors of its patch.

What they give is ‖key‖² - 2·key·query: of all that is needed to tell which keys are nearest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class KeyProducts(nn.Module):
    """Keys of p pages, K each, that ‖key‖² - 2·key·query can be asked of.

    Attributes:
        exact: whether it is float32's; else it tells candidates only.
        keys: (p, K, C), of any dtype.
        norms_sq: (p, 1, K), of the same.
    """

    keys: Tensor
    norms_sq: Tensor

    def __init__(self, keys: Tensor, norms_sq: Tensor):
        """Take keys and their squared norms, as above."""
        super().__init__()
        self.exact = keys.dtype == torch.float32
        self.register_buffer("keys", keys)
        self.register_buffer("norms_sq", norms_sq)

    def forward(self, queries: Tensor) -> Tensor:
        """(p, Q, K) of (p, Q, C) float32 queries."""
        queries = -2 * queries.to(self.keys.dtype)
        if queries.device.type == "cpu":  # there, baddbmm first lays the norms out over its result
            return torch.bmm(queries, self.keys.mT).add_(self.norms_sq)
        return torch.baddbmm(self.norms_sq, queries, self.keys.mT)

    def of_pages(self, chosen: Tensor) -> KeyProducts:
        """Those of some of the pages."""
        return KeyProducts(self.keys[chosen], self.norms_sq[chosen])
