"""Training: episodes one after another, each step a state, with attached checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from simgit import agents
from simgit.agents import Agent
from simgit.analysis.shared_states import free_name
from simgit.errors import InvalidInput, Stopped
from simgit.gym import Recorder
from simgit.gym.envs.agent_view import View, make
from simgit.live.attached import controlled
from simgit.live.control import Control
from simgit.refs.runs import RunInfo
from simgit.repository import Repository
from simgit.training.checkpoints import AGENT, Checkpoint, StagedAgent, Stages, newest, read
from simgit.training.config import Config
from simgit.training.loading import TRAINED_IN, AgentSource, described, source
from simgit.training.loop import Tell, TrainingEpisode, Transition, Watch, episode
from simgit.training.trials import Trials

SIMKUBE = "simgit/SimKube-v0"


class Training:
    """A training being recorded as a run."""

    def __init__(
        self,
        repo: Repository,
        env: Any,
        agent: Agent,
        config: Callable[[], Config],
        view: View,
        done: int = 0,
        solved: int = 0,
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        """Join the parts; use ``train`` or ``resume``.

        Args:
            repo: the repository.
            env: the recorded environment.
            agent: the agent.
            config: the configuration in force.
            view: the agent's view of the environment.
            done: the number of finished episodes.
            solved: the number of those that terminated.
            initial: the checkpoint of a loaded agent, to be attached to the first state.
        """
        self._repo = repo
        self.env = env
        self.agent = agent
        self.view = view
        self.done = done
        self.solved = solved
        self._config = config
        self._initial = initial
        self._trials = Trials(repo, self.run)
        self._told: list[tuple[int, dict[str, float]]] = []

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config()

    @property
    def run(self) -> str:
        """The run being written."""
        name: str = self.env.run
        return name

    def episode(self, watch: Watch | None = None) -> TrainingEpisode:
        """Train for one episode, and attach a checkpoint if one is due."""
        config, number = self.config, self.done + 1
        seed = config.episode_seed(number)
        losses: list[float] = []

        def both(done: Transition) -> None:
            losses.extend([done.metrics["loss"]] if "loss" in done.metrics else [])
            if watch is not None:
                watch(done)

        result = episode(
            self.env, self.agent, self.view, seed, number=number, watch=both, begun=self._begun
        )
        loss = {"loss": sum(losses) / len(losses)} if losses else {}
        self._told.append((number, {**result.metrics, **loss}))
        self.done = number
        self.solved += result.terminated
        if number % config.checkpoint == 0 or number == config.episodes:
            self.checkpoint()
        return result

    def _begun(self) -> None:
        """Attach the loaded agent to the run's first state: nothing else has it for sure."""
        load = self.config.load
        if self._initial is not None and load is not None:
            self.env.attach(load["attachment"], self._initial)
            self.env.flush()
            self._initial = None

    def checkpoint(self) -> None:
        """Attach a checkpoint to the newest state, store both, and run its trial."""
        self.env.flush()
        state = self._repo.resolve(f"{self.run}@{self.env.step_count}")
        data = self.agent.state()
        made = Checkpoint(state, free_name(self._repo, self.run, state, AGENT, data))
        self.env.attach(made.name, data)
        told, self._told = self._told, []
        if any(metrics for _, metrics in told):
            self.env.attach(made.metrics, _columns(told))
        self.env.flush()
        if self.config.trials:
            self.try_out(made)

    def try_out(self, checkpoint: Checkpoint) -> None:
        """Run a trial of a checkpoint, the newest, and attach its result to the same state."""
        self.env.attach(checkpoint.trial, self._trials.judge(self.agent, self.config.trials))

    def save(self, path: Path) -> None:
        """Write the agent's checkpoint to a file, which ``train`` and ``evaluate`` take."""
        partial = path.with_name(f".{path.name}.partial{path.suffix}")
        described_in = {TRAINED_IN: described(self.env, self.view)}
        agents.write_checkpoint({**self.agent.state(), **described_in}, partial)
        partial.replace(path)

    def remaining(self) -> int:
        """Return the number of episodes left."""
        return max(0, self.config.episodes - self.done)

    def finish(self, tell: Tell | None = None, watch: Watch | None = None) -> None:
        """Train until all episodes are done, and complete the run; ``tell`` gets each episode.

        Meanwhile it is a simulation: it can be watched, paused and stopped with ``simgit sim``.

        Raises:
            Stopped: somebody stopped it; the run is paused, with everything stored.
        """
        again = f"resume it with: simgit train --resume --run {self.run}"
        with controlled(self._repo, self.run, self.env, "train", again=again) as control:
            try:
                self._finish(tell, watch, control)
            except Stopped:
                self.env.hurry()
                self.close()
                self._repo.set_status(self.run, "paused")
                raise
            self.close()
            self._repo.set_status(self.run, "completed")

    def _finish(self, tell: Tell | None, watch: Watch | None, control: Control | None) -> None:
        def look(done: Transition) -> None:
            if watch is not None:
                watch(done)
            if control is not None:
                control.check()

        while self.remaining():
            if control is not None:
                control.progress(self.done, self.config.episodes, "episodes")
            result = self.episode(look)
            if tell is not None:
                tell(result)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Store everything and release the run, which can be resumed."""
        self._trials.close()
        self.env.close()


def _columns(told: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, Any]:
    """Return the metrics of episodes as arrays, NaN where an episode has none; see ``METRICS``."""
    names = dict.fromkeys(name for _, metrics in told for name in metrics)
    columns = {name: np.array([each.get(name, np.nan) for _, each in told]) for name in names}
    return {"episode": np.array([number for number, _ in told]), **columns}


def train(
    repo: Repository,
    run: str,
    config: Config,
    environment: str = SIMKUBE,
    arguments: Mapping[str, Any] | None = None,
    *,
    load: AgentSource | str | None = None,
    transfer: bool = False,
    **options: Any,
) -> Training:
    """Begin a training, with a new agent or that of another run.

    Args:
        repo: the repository.
        run: the name of a new run.
        config: the settings; ``environment`` is filled in.
        environment: the id of a registered environment.
        arguments: the environment's arguments.
        load: a run, another revision or a checkpoint file, whose agent the run begins with.
        transfer: take only what that agent learned; otherwise it continues where it was, with its
            exploration, counters, optimiser, replay buffer and random generators.
        options: options of the recorder.

    Raises:
        InvalidInput: the run has states, a setting or argument is invalid, or the loaded agent
            does not fit the environment or the settings.
        NotFound: no such environment, agent, trace, run or file.
    """
    if transfer and load is None:
        raise InvalidInput("'transfer' needs 'load': a run or a checkpoint file")
    begins = source(repo, load) if isinstance(load, str) else load
    if run in repo.runs and repo.runs[run].oid is not None:
        raise InvalidInput(
            f"run '{run}' has states already: resume it, or name another run", name=run
        )
    env = make(environment, **dict(arguments or {}))
    try:
        view = View(env)
        if begins is not None:
            begins.check_fit(view.size, view.actions, described(env, view))
        agent, initial = config.make_agent(view.size, view.actions), None
        if begins is not None:
            begins.load_into(agent, transfer)
            initial = agent.state()
            config = replace(config, load=begins.plain(transfer, initial))
        recorder = Recorder(env, repo, run, config=config.plain(), **options)
    except BaseException:
        env.close()
        raise
    return Training(repo, recorder, agent, lambda: config, view, initial=initial)


def resume(repo: Repository, run: str, *, episodes: int | None = None, **options: Any) -> Training:
    """Resume a training from its newest checkpoint, exactly.

    The steps recorded since that checkpoint are re-executed and compared. A branched run continues
    with its own settings.

    Args:
        repo: the repository.
        run: the run.
        episodes: the new number of episodes in all; None keeps it.
        options: options of the recorder.

    Raises:
        NotFound: no such run.
        InvalidInput: the run is not of a training, or a setting is invalid.
        Divergence: re-executed steps differ from the recorded ones.
    """
    info = repo.runs[run]
    if info.oid is None:
        raise InvalidInput(f"run '{run}' has no states: there is nothing to resume", name=run)
    _ask_for(repo, info, episodes)
    stages = Stages(repo, run)
    start = newest(repo, run)
    env = Recorder.resume(repo, run, at=-1 if start is None else start.state, **options)
    view = View(env)
    agent = StagedAgent(stages, env, view)
    done = solved = 0
    if start is not None:
        agent.load(read(repo, start))
        past = repo.trajectory(start.state)
        done, solved = int(past.episode_starts.sum()), int(past.terminations.sum())
    elif (load := stages.at(-1).load) is not None:
        agent.load(_began_with(repo, run, load))
    training = Training(repo, env, agent, lambda: stages.at(env.step_count), view, done, solved)
    untried = start is not None and start.trial not in repo.attachments(start.state)
    if start is not None and untried and training.config.trials:
        training.try_out(start)  # it was interrupted before the trial
    return training


def _began_with(repo: Repository, run: str, load: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the agent that a run began with.

    Raises:
        InvalidInput: the run ended before it was stored.
    """
    first = repo.trajectory(run)[0].oid
    if load["attachment"] not in repo.attachments(first):
        raise InvalidInput(
            f"run '{run}' ended before its agent was stored: begin it again from '{load['from']}'",
            name=run,
        )
    data: Mapping[str, Any] = repo.attachment(first, load["attachment"])
    return data


def _ask_for(repo: Repository, info: RunInfo, episodes: int | None) -> None:
    """Set the number of episodes, if given, and reopen a completed run."""
    assert info.step is not None
    config = Stages(repo, info.name).at(info.step)
    wanted = replace(config, episodes=episodes) if episodes is not None else config
    is_completed = info.status == "completed"
    if is_completed and info.episodes is not None and info.episodes >= wanted.episodes:
        raise InvalidInput(
            f"run '{info.name}' has finished its {info.episodes} episodes: "
            "give a greater number of episodes",
            name=info.name,
        )
    if episodes is not None:
        repo.configure(info.name, {"training.episodes": episodes})
    if is_completed:
        repo.set_status(info.name, "active")
