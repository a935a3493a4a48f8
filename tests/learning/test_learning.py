"""The main job with its defaults, on two seeds; ``make learning`` does all of them."""

from __future__ import annotations

import pytest

from tests.learning.work import scenario


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 2])
def test_the_main_job_ends_with_an_agent_that_takes_the_fewest_steps(seed: int) -> None:
    row = scenario("cpu-slight", seed)
    assert row["taken"] == row["fewest"] == 2
    assert row["solved"] >= 50
