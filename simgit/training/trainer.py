"""Training: episodes one after another, each step a state, checkpoints attached on the way."""

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
    """A run of a training that is being written: iterate over its episodes."""

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
        """Join what is there; ``train`` and ``resume`` make it.

        Args:
            repo: where the run is.
            env: the environment, recorded.
            agent: the agent.
            config: what is in force now.
            view: how the agent sees the environment.
            done: how many episodes the agent has had.
            solved: how many of them terminated.
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
        """What is in force now."""
        return self._config()

    @property
    def run(self) -> str:
        """The run that is written."""
        name: str = self.env.run
        return name

    def episode(self, watch: Watch | None = None) -> TrainingEpisode:
        """Train for one episode, and attach the agent if it is time to."""
        config, number = self.config, self.done + 1
        seed = config.episode_seed(number)
        result = episode(self.env, self.agent, self.view, seed, number=number, watch=watch)
        self.done = number
        self.solved += result.terminated
        if number % config.checkpoint == 0 or number == config.episodes:
            self.checkpoint()
        return result

    def checkpoint(self) -> None:
        """Attach the agent to the newest state, store both, and try how good it is."""
        self.env.attach(AGENT, self.agent.state())
        self.env.flush()
        if self.config.trials:
            self.try_out()

    def try_out(self) -> None:
        """Try the agent without exploring, and attach what came of it beside its checkpoint."""
        self.env.attach(TRIAL, self._trials.judge(self.agent, self.config.trials))

    def remaining(self) -> int:
        """Return how many episodes are still to be done."""
        return max(0, self.config.episodes - self.done)

    def finish(self, tell: Tell | None = None, watch: Watch | None = None) -> None:
        """Train until all episodes are done, telling of each; then the run is completed."""
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
        """Store everything and release the run; it can be resumed."""
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
        repo: where to.
        run: the name of a run that is not there yet.
        config: the settings; what is said of the environment in it is filled in.
        environment: a registered environment.
        arguments: of the environment.
        options: of the recorder.

    Raises:
        InvalidInput: the run has states, or a setting or argument has no meaning.
        NotFound: the environment, the agent or a trace is not there.
    """
    if run in repo.runs and repo.runs[run].oid is not None:
        raise InvalidInput(f"run '{run}' has states already: resume it, or name another", name=run)
    env = make(environment, **dict(arguments or {}))
    view = View(env)
    agent = config.make_agent(view.size, view.actions)
    recorder = Recorder(env, repo, run, config=config.plain(), **options)
    return Training(repo, recorder, agent, lambda: config, view)


def resume(repo: Repository, run: str, *, episodes: int | None = None, **options: Any) -> Training:
    """Go on with a training from its newest checkpoint, exactly.

    What was recorded since that checkpoint is done again and compared. A run that was branched
    off another, with settings of its own, goes on from there with these.

    Args:
        repo: where the run is.
        run: the run.
        episodes: how many there are to be in all, if another number than before.
        options: of the recorder.

    Raises:
        NotFound: there is no such run.
        InvalidInput: it is not of a training, or a setting has no meaning.
        Divergence: what is done again is not what was recorded.
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
        training.try_out()  # it was interrupted just then
    return training


def _ask_for(repo: Repository, info: RunInfo, episodes: int | None) -> None:
    """Set how many episodes there are to be, if that is said, and open a run that had them all."""
    assert info.step is not None
    config = Stages(repo, info.name).at(info.step)
    wanted = replace(config, episodes=episodes) if episodes is not None else config
    is_completed = info.status == "completed"
    if is_completed and info.episodes >= wanted.episodes:
        raise InvalidInput(
            f"run '{info.name}' has had all its {info.episodes} episodes: ask for more of them",
            name=info.name,
        )
    if episodes is not None:
        repo.configure(info.name, {"training.episodes": episodes})
    if is_completed:
        repo.set_status(info.name, "active")
