"""Trials of an agent while it learns: episodes without exploring at each checkpoint.

The last checkpoint need not be the best: a network's policy goes up and down in training. So each
checkpoint has a trial, and an evaluation of a run takes the best one.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from simgit.agents import Agent
from simgit.gym.envs.agent_view import View, make
from simgit.kube.task.catalogue import Catalogue, catalogue
from simgit.repository import Repository
from simgit.training.evaluation import environment_of, play, score, tasks

BASE_SEED: Final = 2_000_000
"""Trials reset with seeds from here on, which neither training nor evaluation uses."""
MOST: Final = 32
"""The greatest number of traces in a trial; of more, evenly spaced ones are taken."""


class Trials:
    """Runs the trials of a run, in a second environment like the run's own."""

    def __init__(self, repo: Repository, run: str) -> None:
        """Keep repository and run; the environment is made at the first trial."""
        self._repo = repo
        self._run = run

    @cached_property
    def _arena(self) -> tuple[Any, View, Catalogue]:
        name, arguments = environment_of(self._repo, self._run, {}, trust=True)  # as it was made
        traces = catalogue(arguments["trace"]) if arguments.get("trace") is not None else {}
        env: Any = make(name, **arguments)
        return env, View(env), traces

    def judge(self, agent: Agent, episodes: int) -> dict[str, Any]:
        """Return the results of ``episodes`` on each trace, for ``checkpoints.rank``."""
        env, view, traces = self._arena
        names = list(traces)
        if len(names) > MOST:  # spread evenly
            names = [names[i * len(names) // MOST] for i in range(MOST)]
        results = play(env, agent, view, tasks(names, episodes), BASE_SEED)
        found = score("trial", results, {})
        return {
            "episodes": found.episodes, "solved": found.solved,
            "length": found.lengths.mean, "return": found.returns.mean,
        }  # fmt: skip

    def close(self) -> None:
        """Close the environment."""
        if "_arena" in self.__dict__:
            self._arena[0].close()
