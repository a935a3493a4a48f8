"""Images made smaller."""

from __future__ import annotations

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
    sums, high = _summed(pixels.astype(np.uint32), height)
    sums, broad = _summed(np.ascontiguousarray(sums.swapaxes(0, 1)), width)
    found = sums.swapaxes(0, 1) / (high[:, None, None] * broad[None, :, None]).astype(np.float32)
    return (found + np.float32(0.5)).astype(np.uint8)


def _summed(
    pixels: npt.NDArray[np.uint32], parts: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Return the sums of parts of the first axis, and their lengths."""
    edges = np.arange(parts + 1) * len(pixels) // parts
    starts, lengths = edges[:-1], np.diff(edges)
    found = pixels[starts]
    for i in range(1, int(lengths.max())):  # add.reduceat takes many times as long
        if (lengths > i).all():
            found += pixels[starts + i]
        else:
            longer = np.flatnonzero(lengths > i)
            found[longer] += pixels[starts[longer] + i]
    return found, lengths
