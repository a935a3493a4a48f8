"""Training: episodes one after another, each step a state, with attached checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

from simgit.agents import Agent
from simgit.errors import InvalidInput
from simgit.gym import Recorder
from simgit.gym.envs.agent_view import View, make
from simgit.refs.runs import RunInfo
from simgit.repository import Repository
from simgit.training.checkpoints import AGENT, TRIAL, StagedAgent, Stages, newest
from simgit.training.config import Config
from simgit.training.loop import Tell, TrainingEpisode, Watch, episode
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
        """
        self._repo = repo
        self.env = env
        self.agent = agent
        self.view = view
        self.done = done
        self.solved = solved
        self._config = config
        self._trials = Trials(repo, self.run)

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
        result = episode(self.env, self.agent, self.view, seed, number=number, watch=watch)
        self.done = number
        self.solved += result.terminated
        if number % config.checkpoint == 0 or number == config.episodes:
            self.checkpoint()
        return result

    def checkpoint(self) -> None:
        """Attach a checkpoint to the newest state, store both, and run its trial."""
        self.env.attach(AGENT, self.agent.state())
        self.env.flush()
        if self.config.trials:
            self.try_out()

    def try_out(self) -> None:
        """Run a trial without exploring, and attach its result to the checkpoint's state."""
        self.env.attach(TRIAL, self._trials.judge(self.agent, self.config.trials))

    def remaining(self) -> int:
        """Return the number of episodes left."""
        return max(0, self.config.episodes - self.done)

    def finish(self, tell: Tell | None = None, watch: Watch | None = None) -> None:
        """Train until all episodes are done, and complete the run; ``tell`` gets each episode."""
        while self.remaining():
            result = self.episode(watch)
            if tell is not None:
                tell(result)
        self.close()
        self._repo.set_status(self.run, "completed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Store everything and release the run, which can be resumed."""
        self._trials.close()
        self.env.close()


def train(
    repo: Repository,
    run: str,
    config: Config,
    environment: str = SIMKUBE,
    arguments: Mapping[str, Any] | None = None,
    **options: Any,
) -> Training:
    """Begin a training.

    Args:
        repo: the repository.
        run: the name of a new run.
        config: the settings; ``environment`` is filled in.
        environment: the id of a registered environment.
        arguments: the environment's arguments.
        options: options of the recorder.

    Raises:
        InvalidInput: the run has states, or a setting or argument is invalid.
        NotFound: no such environment, agent or trace.
    """
    if run in repo.runs and repo.runs[run].oid is not None:
        raise InvalidInput(
            f"run '{run}' has states already: resume it, or name another run", name=run
        )
    env = make(environment, **dict(arguments or {}))
    try:
        view = View(env)
        agent = config.make_agent(view.size, view.actions)
        recorder = Recorder(env, repo, run, config=config.plain(), **options)
    except BaseException:
        env.close()
        raise
    return Training(repo, recorder, agent, lambda: config, view)


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
    env = Recorder.resume(repo, run, at=-1 if start is None else start, **options)
    view = View(env)
    agent = StagedAgent(stages, env, view)
    done = solved = 0
    if start is not None:
        agent.load(repo.attachment(start, AGENT))
        past = repo.trajectory(start)
        done, solved = int(past.episode_starts.sum()), int(past.terminations.sum())
    training = Training(repo, env, agent, lambda: stages.at(env.step_count), view, done, solved)
    if start is not None and training.config.trials and TRIAL not in repo.attachments(start):
        training.try_out()  # it was interrupted before the trial
    return training


def _ask_for(repo: Repository, info: RunInfo, episodes: int | None) -> None:
    """Set the number of episodes, if given, and reopen a completed run."""
    assert info.step is not None
    config = Stages(repo, info.name).at(info.step)
    wanted = replace(config, episodes=episodes) if episodes is not None else config
    is_completed = info.status == "completed"
    if is_completed and info.episodes >= wanted.episodes:
        raise InvalidInput(
            f"run '{info.name}' has finished its {info.episodes} episodes: "
            "give a greater number of episodes",
            name=info.name,
        )
    if episodes is not None:
        repo.configure(info.name, {"training.episodes": episodes})
    if is_completed:
        repo.set_status(info.name, "active")
