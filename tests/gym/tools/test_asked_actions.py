"""Actions that people are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary

from simgit.errors import InvalidInput
from simgit.gym.tools.asked_actions import action_form, action_of


def test_a_form_offers_the_actions_of_a_space() -> None:
    few = action_form(Discrete(3, start=-1))["properties"]["action"]
    assert few == {"type": "integer", "minimum": -1, "maximum": 1, "default": -1}
    unbounded = Box(np.float32([1.0, -np.inf]), np.float32([2.0, np.inf]))
    assert action_form(unbounded)["properties"]["action"]["default"] == [1.0, 0.0]
    with pytest.raises(InvalidInput, match="people are asked for numbers"):
        action_form(MultiBinary(2))


@pytest.mark.parametrize("given", [[0.5], [0.5, 3.0], [[0.5, 0.5]], ["x", 1], None, [[1], [2, 3]]])
def test_an_answer_that_is_no_action_is_none(given: Any) -> None:
    assert action_of(Box(-1.0, 1.0, (2,)), given) is None


def test_an_answer_is_an_action() -> None:
    found = action_of(Box(-1.0, 1.0, (2,), np.float32), [0.5, -1])
    assert found.dtype == np.float32 and found.tolist() == [0.5, -1.0]
    assert action_of(Discrete(2), 1) == 1
