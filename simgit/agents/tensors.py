"""Arrays as torch's tensors, for attachments that were made of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def to_tensors(data: Any) -> Any:
    """Return nested data with a tensor of its own memory for every array and NumPy scalar in it.

    Arrays of dtypes that torch does not have (texts, dates) remain.
    """
    if isinstance(data, (np.ndarray, np.generic)):
        if data.dtype.kind not in "biufc":
            return data
        return torch.from_numpy(np.array(data))
    if isinstance(data, dict):
        return {key: to_tensors(item) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        return type(data)(map(to_tensors, data))
    return data
