"""Checkpoints of agents in a repository: which state has one, and whose settings were in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from simgit.agents import Agent
from simgit.errors import InvalidInput, NotFound
from simgit.gym.envs.agent_view import View
from simgit.objects.oid import Oid
from simgit.refs import attachments
from simgit.repository import Repository
from simgit.storage.base import ReadTxn
from simgit.training.config import Config

AGENT: Final = "agent"
"""The name of the attachment: an agent's whole checkpoint, as ``Agent.state`` returns it."""
TRIAL: Final = "trial"
"""The name of another: what came of episodes in which that agent did not explore."""


def newest(repo: Repository, revision: str | Oid) -> Oid | None:
    """Return the newest state up to a revision that has a checkpoint between two episodes."""
    with repo.odb.read() as txn:
        return next(_all(repo, txn, repo.resolve(revision)), None)


def best(repo: Repository, run: str) -> Oid | None:
    """Return the state of a run whose checkpoint did best when it was tried, the newest of equals.

    Without any trial that is the newest checkpoint; what a run was branched off has its own.
    """
    with repo.odb.read() as txn:
        found = list(_all(repo, txn, repo.resolve(run), _left(repo, run)))
        tried = [each for each in found if attachments.is_bound(txn, each, TRIAL)]
    if not tried:
        return newest(repo, run)
    return max(tried, key=lambda each: rank(repo.attachment(each, TRIAL)))


def rank(trial: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return what orders trials: goals reached, then how soon, then the return.

    Where an episode's end is no goal (``solved`` is None) the return alone counts.
    """
    if trial["solved"] is None:
        return 0.0, 0.0, trial["return"]
    return trial["solved"], -trial["length"], trial["return"]


def _left(repo: Repository, run: str) -> int:
    point = repo.runs[run].branch_point
    return -1 if point is None else repo.state(point).step


def _all(repo: Repository, txn: ReadTxn, tip: Oid, after: int = -1) -> Iterator[Oid]:
    # by its oid: the name of an episode would stand for that episode's states alone
    states = repo.trajectory(tip)
    oids, starts, steps = states.oids, states.episode_starts, states.steps
    for i in range(len(oids) - 1, -1, -1):
        between = i + 1 == len(oids) or bool(starts[i + 1])
        if between and steps[i] > after and attachments.is_bound(txn, oids[i], AGENT):
            yield oids[i]


def of(repo: Repository, revision: str) -> Oid:
    """Return the state whose checkpoint a revision stands for: a run's best, a state's newest.

    Raises:
        NotFound: there is none.
    """
    is_run = revision in repo.runs
    return _there(best(repo, revision) if is_run else newest(repo, revision), revision)


def load(repo: Repository, revision: str) -> Mapping[str, Any]:
    """Return the newest checkpoint up to a revision.

    Raises:
        NotFound: there is none.
    """
    data: Mapping[str, Any] = repo.attachment(_there(newest(repo, revision), revision), AGENT)
    return data


def _there(found: Oid | None, revision: str) -> Oid:
    if found is None:
        raise NotFound(f"no checkpoint of an agent up to '{revision}'", name=revision)
    return found


class Stages:
    """The configurations that were in force along the history of a run.

    A run that was branched off another has the other's up to the state where it left.
    """

    def __init__(self, repo: Repository, run: str) -> None:
        """Read the configurations of a run and of those that it comes from.

        Raises:
            InvalidInput: one is none of a training, or changes the environment.
        """
        self._stages: list[tuple[int, Config]] = []
        last: int | None = None
        for info in repo.lineage(run):
            left = -1 if info.branch_point is None else repo.state(info.branch_point).step
            if last is None or left < last:  # an empty stretch has no configuration of its own
                self._stages.append((left, Config.of(info.config, info.name)))
                last = left
            if left < 0:
                break
        self._stages.reverse()
        if any(each.environment != self._stages[0][1].environment for _, each in self._stages):
            raise InvalidInput(
                f"run '{run}' has other settings of the environment than what it was branched "
                "off: a history has one environment, so train anew",
                path="environment",
            )

    def at(self, step: int) -> Config:
        """Return what was in force for the action that followed a state."""
        found = self._stages[0][1]
        for left, config in self._stages:
            if step >= left:
                found = config
        return found


class StagedAgent:
    """An agent whose settings change where its run was branched off, everything else staying."""

    def __init__(self, stages: Stages, env: Any, view: View) -> None:
        """Make the agent of the environment's present step, with nothing learned."""
        self._stages = stages
        self._env = env
        self._view = view
        self._config = stages.at(env.step_count)
        self._agent = self._make()

    def _make(self) -> Agent:
        return self._config.make_agent(self._view.size, self._view.actions)

    def _here(self) -> Agent:
        config = self._stages.at(self._env.step_count)
        if config is not self._config:
            state, self._config = self._agent.state(), config
            self._agent = self._make()
            self._agent.load(state)
        return self._agent

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are in force."""
        return self._here().settings

    @property
    def values(self) -> Any:
        """What the agent thinks of all actions, if it says: a function of observations."""
        return getattr(self._here(), "values", None)

    def act(self, observation: Any, *, explore: bool) -> int:
        """Act as what the agent is at this step."""
        return self._here().act(observation, explore=explore)

    def observe(self, *transition: Any) -> None:
        """Take in a step; settings change before the next action only."""
        self._agent.observe(*transition)

    def update(self) -> dict[str, float]:
        """Learn from it."""
        return self._agent.update()

    def state(self) -> dict[str, Any]:
        """Return the checkpoint."""
        return self._agent.state()

    def load(self, data: Mapping[str, Any]) -> None:
        """Become the agent of a checkpoint."""
        self._agent.load(data)
