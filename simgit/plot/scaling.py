"""Images made smaller."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from simgit.plot.notebook import Pixels


def narrowed(pixels: Pixels, width: int | None) -> Pixels:
    """Return an image at most so many pixels wide; each pixel is the mean of those that it covers.

    Args:
        pixels: the image, of shape (height, width, channels).
        width: the greatest width; None for any. A narrower image is returned as it is.
    """
    tall, wide, _ = pixels.shape
    if width is None or wide <= width:
        return pixels
    height = max(1, round(tall * width / wide))
    # the greatest sum is of the longest parts of both axes
    dtype = np.uint16 if -(-tall // height) * -(-wide // width) <= 257 else np.uint32
    sums, high = _summed(pixels, height, dtype)
    sums, broad = _summed(np.ascontiguousarray(sums.swapaxes(0, 1)), width, dtype)
    shares = 1 / (broad[:, None, None] * high[None, :, None]).astype(np.float32)
    found = sums * shares
    found += np.float32(0.5)
    return np.ascontiguousarray(found.astype(np.uint8).swapaxes(0, 1))


def _summed(
    pixels: npt.NDArray[Any], parts: int, dtype: type[np.unsignedinteger[Any]]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return the sums of parts of the first axis, of a type that they fit, and their lengths."""
    edges = np.arange(parts + 1) * len(pixels) // parts
    starts, lengths = edges[:-1], np.diff(edges)
    found = pixels[starts].astype(dtype, copy=False)
    for i in range(1, int(lengths.max())):  # add.reduceat takes many times as long
        if (lengths > i).all():
            found += pixels[starts + i]
        else:
            longer = np.flatnonzero(lengths > i)
            found[longer] += pixels[starts[longer] + i]
    return found, lengths
