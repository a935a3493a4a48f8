"""An environment of several agents as one simulator, which joint steps move.

What is recorded of a joint step is a state with the observations by agent, the sum of the rewards,
and in its info: agents, rewards, terminations, truncations, infos. In the AEC API a joint step is
one agent's; its state has what ``last()`` returns for the agent whose turn it is then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple, Protocol

import numpy as np

from simgit.errors import InvalidInput, shown


class LaneState(NamedTuple):
    """A state of one agent: its name, and the arguments of ``append``."""

    agent: Any
    fields: dict[str, Any]


class JointEnv(Protocol):
    """An environment that is moved by joint steps."""

    env: Any

    def reset(self, mark: Mapping[str, Any]) -> Any:
        """Reset it with the ``seed`` and ``options`` of a mark; return what it returns."""
        ...

    def step(self, action: Any) -> Any:
        """Move it by a joint step; return what it returns."""
        ...

    def recorded(self, action: Any) -> Any:
        """Return an action in the form in which it is recorded."""
        ...

    def replayed(self, action: Any) -> Any:
        """Return an action from the form in which it was recorded."""
        ...

    def joint(self) -> dict[str, Any]:
        """Return what is recorded of the whole, as arguments of ``append``."""
        ...

    def lanes(self) -> list[LaneState]:
        """Return what the agents have seen since the last joint step."""
        ...


def joint_env(env: Any) -> JointEnv:
    """Return an environment of PettingZoo as one that joint steps move.

    Raises:
        InvalidInput: it is of neither API.
    """
    from pettingzoo.utils.env import AECEnv, ParallelEnv

    if isinstance(env, ParallelEnv):
        return JointParallel(env)
    if isinstance(env, AECEnv):
        return JointTurns(env)
    raise InvalidInput(f"env must be an environment of PettingZoo, got {shown(env)}", path="env")


class JointParallel:
    """An environment of the parallel API; an action is a dict of actions by agent."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self._returned: tuple[Any, ...] = ({}, {}, {}, {}, {})
        self._actions: Mapping[Any, Any] = {}
        self._present: set[Any] = set()
        self._new: set[Any] = set()

    def reset(self, mark: Mapping[str, Any]) -> Any:
        result = self.env.reset(**mark)
        observations, infos = result
        self._returned = observations, {}, {}, {}, infos
        self._actions, self._present = {}, set()
        self._note_present()
        return result

    def step(self, action: Any) -> Any:
        self._actions = deepcopy(dict(action))  # the environment may change them
        self._returned = result = self.env.step(action)
        self._note_present()
        return result

    def _note_present(self) -> None:
        """Note which agents are new: those that did not act, and were not there."""
        seen = set(self._returned[0])
        self._new = seen - self._present
        self._present = (self._present | seen) & set(self.env.agents)

    def recorded(self, action: Any) -> Any:
        """Return a copy; as pairs if its order, in which it may be summed up, is of its own."""
        found = deepcopy(dict(action))
        return found if list(found) == self._in_order(found) else list(found.items())

    def replayed(self, action: Any) -> Any:
        if not isinstance(action, Mapping):
            return dict(action)
        return {agent: action[agent] for agent in self._in_order(action)}

    def _in_order(self, action: Mapping[Any, Any]) -> list[Any]:
        """Return the agents of an action in the order in which the environment has them."""
        known = [agent for agent in self.env.agents if agent in action]
        return [*known, *(agent for agent in action if agent not in known)]

    def joint(self) -> dict[str, Any]:
        observations, rewards, terminations, truncations, infos = self._returned
        return _joint(self.env, observations, rewards, terminations, truncations, infos)

    def lanes(self) -> list[LaneState]:
        observations, rewards, terminations, truncations, infos = self._returned
        found = []
        for agent, observation in observations.items():
            fields: dict[str, Any] = {"observation": observation, "info": infos.get(agent)}
            if agent in self._new:
                fields["reset"] = True
            else:
                fields |= {
                    "action": self._actions.get(agent), "reward": rewards.get(agent),
                    "terminated": terminations.get(agent), "truncated": truncations.get(agent),
                }  # fmt: skip
            found.append(LaneState(agent, fields))
        return found


class JointTurns:
    """An environment of the AEC API; an action is that of the agent whose turn it is.

    Attributes:
        seen: what ``last()`` returned for it; None when all agents are gone.
    """

    def __init__(self, env: Any) -> None:
        self.env = env
        self._acted: dict[Any, Any] = {}
        self.seen: tuple[Any, ...] | None = None

    def reset(self, mark: Mapping[str, Any]) -> Any:
        result = self.env.reset(**mark)
        self._acted = {}
        self.seen = self.env.last() if self.env.agents else None
        return result

    def step(self, action: Any) -> Any:
        self._acted[self.env.agent_selection] = deepcopy(action)
        result = self.env.step(action)
        self.seen = self.env.last() if self.env.agents else None
        return result

    def recorded(self, action: Any) -> Any:
        return {"agent": self.env.agent_selection, "action": deepcopy(action)}

    def replayed(self, action: Any) -> Any:
        return action["action"]

    def joint(self) -> dict[str, Any]:
        env = self.env
        turn = env.agent_selection if env.agents else None
        observations = {} if self.seen is None else {turn: self.seen[0]}
        fields = _joint(
            env, observations, env.rewards, env.terminations, env.truncations, env.infos
        )
        fields["info"]["turn"] = turn
        return fields

    def lanes(self) -> list[LaneState]:
        if self.seen is None:
            return []
        agent = self.env.agent_selection
        observation, reward, terminated, truncated, info = self.seen
        fields = {"observation": observation, "info": info}
        if agent in self._acted:
            fields |= {
                "action": self._acted[agent], "reward": reward,
                "terminated": terminated, "truncated": truncated,
            }  # fmt: skip
        else:
            fields["reset"] = True
        return [LaneState(agent, fields)]


def _joint(
    env: Any,
    observations: Mapping[Any, Any],
    rewards: Mapping[Any, Any],
    terminations: Mapping[Any, Any],
    truncations: Mapping[Any, Any],
    infos: Mapping[Any, Any],
) -> dict[str, Any]:
    has_ended = not env.agents
    truncated = has_ended and any(bool(each) for each in truncations.values())
    info = {
        "agents": list(env.agents), "rewards": dict(rewards), "terminations": dict(terminations),
        "truncations": dict(truncations), "infos": dict(infos),
    }  # fmt: skip
    return {
        "observation": dict(observations),
        "reward": _sum(rewards.values()),
        "terminated": has_ended and not truncated,
        "truncated": truncated,
        "info": info,
    }


def _sum(rewards: Iterable[Any]) -> float | None:
    """Return the sum of the rewards that are numbers, None without any."""
    found = [np.asarray(each) for each in rewards if each is not None]
    numbers = [float(each.item()) for each in found if each.size == 1 and each.dtype.kind in "biuf"]
    return float(np.sum(numbers)) if numbers else None
