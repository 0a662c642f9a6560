"""Arrays of a bank, whatever holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def host(values: Any) -> NDArray[Any]:
    """A tensor or an array as an array; bfloat16, which numpy has not, as float32.

    This knows a tensor by its methods, and so needs no torch.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
        values = values.numpy()
    return np.asarray(values)
