"""How good an agent is: solve rate, steps and returns, with the intervals that hold the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from simgit import agents
from simgit.agents import Agent
from simgit.analysis.statistics import Estimate, mean, proportion
from simgit.errors import InvalidInput, NotFound
from simgit.gym import Recorder
from simgit.gym.envs.agent_view import View, make
from simgit.kube.task.catalogue import Catalogue, catalogue
from simgit.kube.task.scenario_names import parse_scenario
from simgit.kube.trace.format import trace_id
from simgit.kube.trace.model import Trace
from simgit.objects.oid import Oid
from simgit.repository import Repository
from simgit.training import checkpoints
from simgit.training.loop import Tell, TrainingEpisode, episode

BASE_SEED: Final = 1_000_000
"""Evaluation resets with seeds from here on, which no training of a usual length uses."""


@dataclass(frozen=True, slots=True)
class Score:
    """What came of episodes on one trace, or on all. ``steps`` are of solved episodes only.

    ``solved`` and ``rate`` are None where an episode's end is no goal, outside of SimKube.
    ``fewest`` is how many steps would do, None where that is not known; ``optimal`` counts the
    episodes that took no more.
    """

    name: str
    episodes: int
    lengths: Estimate
    returns: Estimate
    solved: int | None = None
    rate: Estimate | None = None
    steps: Estimate | None = None
    fewest: int | None = None
    optimal: int | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {
            "name": self.name, "episodes": self.episodes, "return": self.returns.plain(),
            "length": self.lengths.plain(), "solved": self.solved,
            "solve_rate": self.rate.plain() if self.rate else None,
            "steps": self.steps.plain() if self.steps else None,
            "fewest": self.fewest, "optimal": self.optimal,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of an agent, and the run that holds every step (None if nothing was recorded).

    ``state`` is the one whose checkpoint acted; None for a policy or a file.
    """

    agent: str
    scores: Sequence[Score]
    total: Score
    run: str | None
    state: Oid | None = None


def score(name: str, results: Sequence[TrainingEpisode], fewest: Mapping[str, int]) -> Score:
    """Sum up episodes."""
    lengths = mean([each.length for each in results])
    returns = mean([each.return_ for each in results])
    if any(each.trace is None for each in results):
        return Score(name, len(results), lengths, returns)
    solved = [each for each in results if each.terminated]
    known = [each for each in results if each.trace in fewest]
    optimal = sum(each.terminated and each.length <= fewest[each.trace or ""] for each in known)
    return Score(
        name, len(results), lengths, returns, len(solved), proportion(len(solved), len(results)),
        mean([each.length for each in solved]) if solved else None,
        fewest.get(name), optimal if known else None,
    )  # fmt: skip


def fewest_steps(traces: Catalogue, target: int) -> dict[str, int]:
    """Return in how many steps traces can be solved, of those whose names say what they are."""
    found = {name: _fewest(name, trace, target) for name, trace in traces.items()}
    return {name: steps for name, steps in found.items() if steps is not None}


def _fewest(name: str, trace: Trace, target: int) -> int | None:
    try:
        scenario = parse_scenario(name)
    except (InvalidInput, NotFound):
        return None
    same = scenario.target == target and trace_id(scenario.trace) == trace_id(trace)
    return scenario.steps if same else None


# --- the agent ---


def meant(repo: Repository | None, subject: str) -> Oid | None:
    """Return the state whose checkpoint a text means; None for a policy or a file.

    Raises:
        NotFound: it is none of these, or there is no checkpoint.
    """
    known = repo is not None and subject in repo.run_names()
    if not known and (subject in agents.names() or Path(subject).is_file()):
        return None
    if repo is None:
        raise NotFound(f"no policy, run or checkpoint '{subject}'", name=subject)
    return checkpoints.of(repo, subject)


def agent_of(
    repo: Repository | None, subject: str, size: int, actions: Sequence[str], seed: int = 0
) -> Agent:
    """Return the agent that a text means: a policy, a file of a checkpoint, a run or a state.

    ``size`` is that of the vectors that it will be shown, ``actions`` are the names of actions.

    Raises:
        NotFound: it is none of these, or there is no checkpoint.
        InvalidInput: the agent is one of another environment.
    """
    state = meant(repo, subject)
    if state is None and subject in agents.names():
        return agents.make(subject, size, actions, seed)
    if state is None or repo is None:
        data: Mapping[str, Any] = agents.read_checkpoint(Path(subject))
    else:
        data = repo.attachment(state, checkpoints.AGENT)
    if data.get("observation_size", size) != size:
        raise InvalidInput(
            f"'{subject}' was trained on observations of size {data['observation_size']}, "
            f"not {size}"
        )
    return agents.load(data, actions)


def environment_of(
    repo: Repository | None, subject: str, changes: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return name and arguments of what an agent was trained in, with some arguments changed.

    Raises:
        InvalidInput: that is not known.
    """
    described: Mapping[str, Any] = {}
    if repo is not None and subject not in agents.names() and not Path(subject).is_file():
        described = repo.origin(subject).get("environment") or {}
    name = described.get("id") or "simgit/SimKube-v0"
    return name, {**(described.get("kwargs") or {}), **changes}


# --- the evaluation ---


def evaluate(
    subject: str,
    environment: str,
    arguments: Mapping[str, Any],
    *,
    repo: Repository | None = None,
    run: str | None = None,
    episodes: int = 1,
    seed: int = BASE_SEED,
    tell: Tell | None = None,
) -> Evaluation:
    """Let an agent act without exploring or learning, and sum up what came of it.

    Args:
        subject: a policy, a file of a checkpoint, a run (its best checkpoint) or another revision
            (the newest checkpoint up to there).
        environment: a registered environment.
        arguments: of the environment; ``trace`` is what SimKube's traces are.
        repo: where the subject is, and where to record.
        run: the run that is recorded; None for none.
        episodes: how many on each trace.
        seed: of the first episode; the others follow.
        tell: called with each episode.

    Raises:
        NotFound, InvalidInput: see ``agent_of`` and ``simgit.gym.envs.agent_view.make``.
    """
    if episodes < 1:
        raise InvalidInput(f"bad number of episodes '{episodes}', expected 1 or more")
    traces = catalogue(arguments["trace"]) if arguments.get("trace") is not None else {}
    env: Any = make(environment, **dict(arguments))
    view = View(env)
    agent = agent_of(repo, subject, view.size, view.actions, seed)
    if run is not None and repo is not None:
        config = {"evaluation": {"agent": subject, "episodes": episodes, "seed": seed}}
        env = Recorder(env, repo, run, config=config)
    try:
        results = play(env, agent, view, tasks(traces, episodes), seed, tell)
    finally:
        env.close()
    fewest = fewest_steps(traces, arguments.get("target", 3))
    names = list(traces) or [environment]
    scores = [
        score(name, results[i * episodes : (i + 1) * episodes], fewest)
        for i, name in enumerate(names)
    ]
    return Evaluation(subject, scores, score("all", results, fewest), run, meant(repo, subject))


def tasks(traces: Iterable[str], episodes: int) -> Iterator[dict[str, Any] | None]:
    """Yield the options of each reset: so many for each trace, or for no trace."""
    named: list[dict[str, Any] | None] = [{"trace": name} for name in traces]
    for options in named or [None]:
        yield from [options] * episodes


def play(
    env: Any,
    agent: Agent,
    view: View,
    resets: Iterable[dict[str, Any] | None],
    seed: int,
    tell: Tell | None = None,
) -> list[TrainingEpisode]:
    """Let an agent act without exploring or learning, an episode for each reset; tell of each."""
    results = []
    for number, options in enumerate(resets, start=1):
        done = episode(env, agent, view, seed + number, number=number, learn=False, options=options)
        results.append(done)
        if tell is not None:
            tell(done)
    return results
