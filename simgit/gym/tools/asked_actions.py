"""Actions that people are asked for: the form of an answer, and the action that it means."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

from simgit.errors import InvalidInput


def action_form(space: Any) -> dict[str, Any]:
    """Return the JSON Schema of an answer that is an action of a space.

    Args:
        space: Discrete, whose actions are offered one by one; or Box, whose first offer is the
            action that is nearest to 0.

    Raises:
        InvalidInput: it is another one.
    """
    if isinstance(space, Discrete):
        first, last = int(space.start), int(space.start + space.n - 1)
        kind = {"type": "integer", "minimum": first, "maximum": last, "default": first}
    elif isinstance(space, Box):
        nearest = np.clip(np.zeros(space.shape), space.low, space.high)
        kind = {"type": "array", "default": nearest.tolist()}
    else:
        raise InvalidInput(f"people are asked for numbers: not for actions of {space}")
    return {"properties": {"action": kind}, "required": ["action"]}


def action_of(space: Any, given: Any) -> Any:
    """Return the action that an answer means, None if it does not fit the space."""
    if isinstance(space, Discrete):
        return given  # the form has checked it
    try:
        action = np.asarray(given, space.dtype)
    except (ValueError, TypeError):  # a list that is no array of numbers
        return None
    return action if space.contains(action) else None
