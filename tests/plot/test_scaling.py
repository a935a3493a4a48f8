"""Images made smaller: means of what each pixel covers."""

from __future__ import annotations

import numpy as np
import pytest

from simgit.plot.scaling import narrowed


@pytest.mark.parametrize(
    ("shape", "width"), [((40, 60, 3), 30), ((41, 67, 3), 20), ((300, 1000, 1), 7), ((1, 50, 4), 49), ((5, 500, 3), 16)]
)  # fmt: skip
def test_each_pixel_is_the_mean_of_those_that_it_covers(
    shape: tuple[int, int, int], width: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = narrowed(pixels, width)
    height = max(1, round(shape[0] * width / shape[1]))
    assert found.shape == (height, width, shape[2]) and found.dtype == np.uint8
    for y in range(height):
        rows = slice(y * shape[0] // height, (y + 1) * shape[0] // height)
        for x in range(width):
            part = pixels[rows, x * shape[1] // width : (x + 1) * shape[1] // width]
            assert np.abs(found[y, x] - part.mean(axis=(0, 1))).max() <= 0.51


def test_a_narrower_image_is_left_as_it_is() -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    assert narrowed(pixels, 30) is pixels and narrowed(pixels, None) is pixels


@pytest.mark.parametrize("side", [15, 16, 17])
def test_white_stays_white_whatever_the_sums_are_kept_in(side: int) -> None:
    assert (narrowed(np.full((side, 2 * side, 3), 255, np.uint8), 2) == 255).all()
