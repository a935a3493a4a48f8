"""Means, rates and bands: the numbers of the tables, and where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from simgit.analysis.statistics import band, mean, proportion, t_quantile
from simgit.errors import InvalidInput
from simgit.plot import Curve


def curve(label: str, *y: float) -> Curve:
    return Curve(label, np.arange(1.0, len(y) + 1), np.array(y, float))


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [(0.975, 1, 12.7062047), (0.975, 4, 2.7764451), (0.95, 9, 1.8331129), (0.995, 30, 2.7499957),
     (0.975, 1000, 1.9623391), (0.5, 3, 0.0)],
)  # fmt: skip
def test_quantiles_of_students_t_are_those_of_the_tables(probability, freedom, expected) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(expected, abs=2e-6)


def test_a_band_is_the_mean_with_its_interval() -> None:
    found = band("a", [curve("1", 1, 5), curve("2", 2, 5), curve("3", 3, 5)])
    assert found.mean.tolist() == [2, 5] and found.count == 3
    half = 4.302653 / 3**0.5  # t of 0.975 with two degrees of freedom; the deviation is 1
    assert found.high[0] - 2 == pytest.approx(half, rel=1e-6) == 2 - found.low[0]
    assert found.low[1] == found.high[1] == 5


def test_a_band_of_unequal_steps_lies_where_all_have_values() -> None:
    a = Curve("a", np.array([0.0, 10, 20]), np.array([0.0, 10, 20]))
    b = Curve("b", np.array([5.0, 30]), np.array([5.0, 30]))
    found = band("both", [a, b])
    assert (found.x[0], found.x[-1]) == (5, 20) and np.allclose(found.mean, found.x)
    with pytest.raises(InvalidInput, match="no x in common"):
        band("none", [curve("a", 1, 2), Curve("b", np.array([9.0]), np.array([1.0]))])


def test_intervals_are_those_of_the_books() -> None:
    """Wilson's for 8 of 10 and 10 of 10; Student's for a sample of five."""
    found = [(each.low, each.high) for each in (proportion(8, 10), proportion(10, 10))]
    np.testing.assert_allclose(found, [(0.490162, 0.943318), (0.722467, 1.0)], atol=1e-6)
    spread = mean([1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_allclose((spread.low, spread.high), (1.036757, 4.963243), atol=1e-5)
