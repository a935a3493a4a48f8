"""A script of a user's that plays an environment of PettingZoo, as a module and as a program.

python -m tests.integrations.zoo_script DIRECTORY CASE STOP [kill]

With ``kill`` the process ends without a word when it is there, with states in its buffers.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from importlib import import_module
from typing import Any

import numpy as np

from simgit import Repository

CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "archers": ("butterfly.knights_archers_zombies_v11", "parallel_env", {"max_cycles": 25}),
    "archers in turns": ("butterfly.knights_archers_zombies_v11", "env", {"max_cycles": 8}),
    "born and dying": ("test.example_envs.generated_agents_parallel_v0", "parallel_env", {"max_cycles": 90}),
    "born and dying in turns": ("test.example_envs.generated_agents_env_v0", "env", {}),
    "agents with names of their own": ("test.example_envs.generated_agents_parallel_cust_agentid_v0", "parallel_env", {"max_cycles": 9}),
    "walkers": ("sisl.multiwalker_v9", "parallel_env", {}),
    "pursuers": ("sisl.pursuit_v5", "parallel_env", {"max_cycles": 15}),
    "pong": ("butterfly.cooperative_pong_v6", "parallel_env", {"max_cycles": 15}),
    "tic-tac-toe": ("classic.tictactoe_v3", "env", {}),
    "connect four": ("classic.connect_four_v3", "env", {}),
    "stone": ("classic.rps_v2", "parallel_env", {"max_cycles": 9}),
}  # fmt: skip


def maker(case: str) -> Any:
    module, name, arguments = CASES[case]
    return lambda: getattr(import_module(f"pettingzoo.{module}"), name)(**arguments)


def act(env: Any, agent: Any, step: int, mask: Any = None) -> Any:
    """Choose at random, from the step and the agent alone."""
    draw = np.random.default_rng([step, *str(agent).encode()])
    space = env.action_space(agent)
    if mask is not None:
        return int(draw.choice(np.flatnonzero(mask)))
    if hasattr(space, "n"):
        return int(draw.integers(space.n))
    return draw.uniform(space.low, space.high).astype(space.dtype)


def play(env: Any, stop: int, kill: bool = False) -> None:
    """Play to a joint step; only the first reset has a seed."""
    while env.recording.step_count < stop:
        step = env.recording.step_count
        if step < 0:
            env.reset(seed=5)
        elif not env.agents:
            env.reset()
        elif hasattr(env, "returned"):
            env.step({agent: act(env, agent, step) for agent in env.agents})
        else:
            observation, _, terminated, truncated, info = env.last()
            mask = (observation if isinstance(observation, dict) else info).get("action_mask")
            dead = terminated or truncated
            env.step(None if dead else act(env, env.agent_selection, step, mask))
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)
    env.close()


def main() -> None:
    from simgit.integrations import pettingzoo

    directory, case, stop, *more = sys.argv[1:]
    warnings.simplefilter("ignore")
    with Repository.init(directory) as repo:
        if "main" in repo.runs:
            env = pettingzoo.resume(repo, "main", make=maker(case), flush_every=11)
        else:
            env = pettingzoo.record(maker(case)(), repo, "main", flush_every=11)
        play(env, int(stop), kill=bool(more))


if __name__ == "__main__":
    main()
