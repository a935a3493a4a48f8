"""Checkpoints of agents in a repository: their states, and the settings in force at a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from simgit.agents import Agent
from simgit.analysis.runs import METRICS
from simgit.analysis.shared_states import RunNames
from simgit.errors import InvalidInput, NotFound
from simgit.gym.envs.agent_view import View
from simgit.objects.oid import Oid
from simgit.refs import attachments
from simgit.repository import Repository
from simgit.storage.base import ReadTxn
from simgit.training.config import Config

AGENT: Final = "agent"
"""The name of the attachment of an agent's checkpoint, the data of ``Agent.state``.

Where runs share a state and not the agent it is longer, see ``analysis.shared_states``.
"""
TRIAL: Final = "trial"
"""The beginning of the name of a checkpoint's trial: results of episodes without exploring."""


class Checkpoint(NamedTuple):
    """A state with an agent's checkpoint, and the name of the attachment."""

    state: Oid
    name: str

    @property
    def trial(self) -> str:
        """The name of the attachment of its trial."""
        return TRIAL + self.name.removeprefix(AGENT)

    @property
    def metrics(self) -> str:
        """The name of the attachment of what the agent told since the checkpoint before."""
        return METRICS + self.name.removeprefix(AGENT)


def newest(repo: Repository, revision: str | Oid) -> Checkpoint | None:
    """Return the newest checkpoint up to a revision that was made between two episodes."""
    found = repo.state(revision)
    with repo.odb.read() as txn:
        return next(_all(repo, txn, found.oid, found.run), None)


def best(repo: Repository, run: str) -> Checkpoint | None:
    """Return the checkpoint of a run that had the best trial, the newest of equals.

    Without trials that is the newest checkpoint. Trials of the parent run do not count.
    """
    with repo.odb.read() as txn:
        end, point = repo.resolve(run), repo.runs[run].branch_point
        branched_at = -1 if point is None else repo.state(point).step
        found = list(_all(repo, txn, end, run, branched_at))
        tried = [each for each in found if attachments.is_bound(txn, each.state, each.trial)]
    if not tried:
        return newest(repo, run)
    return max(tried, key=lambda each: rank(repo.attachment(each.state, each.trial)))


def rank(trial: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return the sort key of a trial: solved episodes, then steps, then return.

    Where an episode's end is not a goal (``solved`` is None) only the return counts.
    """
    if trial["solved"] is None:
        return 0.0, 0.0, trial["return"]
    return trial["solved"], -trial["length"], trial["return"]


def _all(
    repo: Repository, txn: ReadTxn, tip: Oid, run: str | None, after: int = -1
) -> Iterator[Checkpoint]:
    # by oid: an episode as a revision would contain that episode's states only
    states, names = repo.trajectory(tip), RunNames(repo, run)
    oids, starts, steps = states.oids, states.episode_starts, states.steps
    for i in range(len(oids) - 1, -1, -1):
        between = i + 1 == len(oids) or bool(starts[i + 1])
        if between and steps[i] > after:
            name = names.bound(txn, oids[i], int(steps[i]), AGENT)
            if name is not None:
                yield Checkpoint(oids[i], name)


def of(repo: Repository, revision: str) -> Checkpoint:
    """Return a revision's checkpoint: the best of a run, the newest up to a state.

    Raises:
        NotFound: there is no checkpoint.
    """
    is_run = revision in repo.runs
    found = best(repo, revision) if is_run else newest(repo, revision)
    return _existing(repo, found, revision)


def load(repo: Repository, revision: str) -> Mapping[str, Any]:
    """Return the data of the newest checkpoint up to a revision.

    Raises:
        NotFound: there is no checkpoint.
    """
    return read(repo, _existing(repo, newest(repo, revision), revision))


def read(repo: Repository, checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return the data of a checkpoint."""
    data: Mapping[str, Any] = repo.attachment(checkpoint.state, checkpoint.name)
    return data


def _existing(repo: Repository, found: Checkpoint | None, revision: str) -> Checkpoint:
    if found is None:
        subject = "run" if revision in repo.runs else "revision"
        if any(repo.history_attachments(revision, "sb3")):
            raise NotFound(
                f"{subject} '{revision}' has checkpoints of Stable-Baselines3 only: load one with "
                "simgit.integrations.sb3.resume, and evaluate the model with the library's "
                "evaluate_policy",
                name=revision,
            )
        raise NotFound(f"{subject} '{revision}' has no agent checkpoint", name=revision)
    return found


class Stages:
    """The configurations in force along the history of a run.

    A branched run has its parent's configuration up to the state where it was branched.
    """

    def __init__(self, repo: Repository, run: str) -> None:
        """Read the configurations of a run and of its ancestors.

        Raises:
            InvalidInput: a run is not of a training, or changes the environment.
        """
        self._stages: list[tuple[int, Config]] = []
        last: int | None = None
        for info in repo.lineage(run):
            left = -1 if info.branch_point is None else repo.state(info.branch_point).step
            if last is None or left < last:  # a run without own states adds no configuration
                self._stages.append((left, Config.of(info.config, info.name)))
                last = left
            if left < 0:
                break
        self._stages.reverse()
        if any(each.environment != self._stages[0][1].environment for _, each in self._stages):
            raise InvalidInput(
                f"run '{run}' has other settings of the environment than the run it was branched "
                "off: a history has one environment, so begin a new training",
                path="environment",
            )

    def at(self, step: int) -> Config:
        """Return the configuration in force for the action after a state."""
        found = self._stages[0][1]
        for left, config in self._stages:
            if step >= left:
                found = config
        return found


class StagedAgent:
    """An agent whose settings change where its run was branched off, and nothing else."""

    def __init__(self, stages: Stages, env: Any, view: View) -> None:
        """Make a new agent with the settings of the environment's present step."""
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
        """The settings in force."""
        return self._here().settings

    @property
    def values(self) -> Any:
        """The agent's function from observations to action values, if it has one."""
        return getattr(self._here(), "values", None)

    def act(self, observation: Any, *, explore: bool) -> int:
        """Act with the settings of this step."""
        return self._here().act(observation, explore=explore)

    def observe(self, *transition: Any) -> None:
        """Observe a step; settings change only before the next action."""
        self._agent.observe(*transition)

    def update(self) -> dict[str, float]:
        """Learn from the observed steps."""
        return self._agent.update()

    def state(self) -> dict[str, Any]:
        """Return the checkpoint."""
        return self._agent.state()

    def load(self, data: Mapping[str, Any]) -> None:
        """Load a checkpoint."""
        self._agent.load(data)
