"""Evaluation of an agent: solve rate, steps and returns, with confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from simgit import agents
from simgit.agents import Agent
from simgit.agents.policies import evaluated
from simgit.analysis.statistics import Estimate, mean, proportion
from simgit.errors import InvalidInput, NotFound
from simgit.gym import Recorder
from simgit.gym.envs.agent_view import View, make
from simgit.gym.restoring.recorded_path import RecordedPath
from simgit.gym.spec.permit import Permit, Trust, check, refusal
from simgit.kube.task.catalogue import Catalogue, catalogue
from simgit.kube.task.scenarios import parse_scenario
from simgit.kube.trace.model import Trace
from simgit.kube.trace.sktrace import trace_id
from simgit.objects.oid import Oid
from simgit.repository import Repository
from simgit.training import loading
from simgit.training.loop import Tell, TrainingEpisode, episode

BASE_SEED: Final = 1_000_000
"""Evaluation resets with seeds from here on, beyond those of trainings of usual length."""


@dataclass(frozen=True, slots=True)
class Score:
    """The results of episodes on one trace, or on all. ``steps`` are of solved episodes only.

    ``solved`` and ``rate`` are None outside of SimKube, where an episode's end is not a goal.
    ``fewest`` is the least number of steps to solve a trace, None if unknown; ``optimal`` counts
    the episodes that took no more.
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
        """Return the score as data for JSON."""
        return {
            "name": self.name, "episodes": self.episodes, "return": self.returns.plain(),
            "length": self.lengths.plain(), "solved": self.solved,
            "solve_rate": self.rate.plain() if self.rate else None,
            "steps": self.steps.plain() if self.steps else None,
            "fewest": self.fewest, "optimal": self.optimal,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of an agent, and the run of all steps (None if not recorded).

    ``state`` is the state of the evaluated checkpoint; None for a policy or a file.
    """

    agent: str
    scores: Sequence[Score]
    total: Score
    run: str | None
    state: Oid | None = None


def score(name: str, results: Sequence[TrainingEpisode], fewest: Mapping[str, int]) -> Score:
    """Summarise episodes."""
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
    """Return the least number of steps of traces whose names are those of scenarios."""
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


def agent_of(
    repo: Repository | None,
    subject: str,
    size: int,
    actions: Sequence[str],
    seed: int = 0,
    here: Mapping[str, Any] | None = None,
) -> Agent:
    """Return the agent that ``subject`` names: a policy, a checkpoint file, a run or a state.

    ``size`` is the number of elements of an observation, ``actions`` are the names of actions,
    ``here`` describes the environment, see ``loading.described``.

    Raises:
        NotFound: no policy, run or file of this name, or no checkpoint.
        InvalidInput: the agent is of another environment.
    """
    if subject in agents.names() and not (repo is not None and subject in repo.runs):
        return agents.make(subject, size, actions, seed)
    found = loading.source(repo, subject)
    found.check_fit(size, actions, here or {})
    return agents.load(found.data, actions)


def environment_of(
    repo: Repository | None, subject: str, changes: Mapping[str, Any], trust: Trust = None
) -> tuple[str, dict[str, Any]]:
    """Return id and arguments of an agent's environment, with some arguments changed.

    Raises:
        InvalidInput: the environment is not known.
        Untrusted: it is not registered, or its arguments may name files, see ``restore``; or its
            traces would be applied to a live cluster.
    """
    described: Mapping[str, Any] = {}
    if repo is not None and loading.is_recorded(repo, subject):
        described = repo.origin(subject).get("environment") or {}
        if described:
            origin = RecordedPath(repo, repo.resolve(subject)).origin
            permit = Permit(repo, origin, trust)
            check({"environment": described}, permit)
            if changes.get("cluster") is not None and "trace" not in changes and not permit():
                raise refusal("recorded traces would be applied to a live cluster")
    name = described.get("id") or "simgit/SimKube-v0"
    return name, _changed(dict(described.get("kwargs") or {}), dict(changes))


def _changed(recorded: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return recorded arguments with changes, also with those from one kind of cluster to another.

    Of ``simulation`` and ``cluster`` the fields that are not named stay as they are.
    """
    simulation = dict(recorded.get("simulation") or {})
    if changes.get("cluster") is not None:
        kept = recorded.get("cluster") or {"speed": simulation.get("speed", 1.0)}
        changes["cluster"] = {**kept, **changes["cluster"]}
        simulation = {k: v for k, v in simulation.items() if k not in ("speed", "prefix")}
        recorded = {k: v for k, v in recorded.items() if k not in ("nodes", "faults")}
    if simulation:
        recorded["simulation"] = simulation
        if isinstance(changes.get("simulation"), Mapping):
            changes["simulation"] = {**simulation, **changes["simulation"]}
    return {**recorded, **changes}


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
    """Evaluate an agent without exploring or learning.

    Args:
        subject: a policy, a checkpoint file, a run (its best checkpoint) or another revision (the
            newest checkpoint up to there).
        environment: a registered environment.
        arguments: the environment's arguments; ``trace`` are SimKube's traces.
        repo: the repository of the subject, and to record to.
        run: the run to record; None records nothing.
        episodes: the number of episodes on each trace.
        seed: the random seed of the first episode; the others follow.
        tell: called with each episode.

    Raises:
        NotFound, InvalidInput: see ``agent_of`` and ``simgit.gym.envs.agent_view.make``.
    """
    if episodes < 1:
        raise InvalidInput(f"'episodes' must be at least 1, got {episodes}")
    found = loading.meant(repo, subject)  # before anything is made that it may not fit
    traces = catalogue(arguments["trace"]) if arguments.get("trace") is not None else {}
    env: Any = make(environment, **dict(arguments))
    recorded, is_whole = None, False
    try:
        view = View(env)
        here = loading.described(env, view)
        agent = agent_of(repo, subject, view.size, view.actions, seed, here)
        if run is not None and repo is not None:
            config = {"evaluation": {"agent": subject, "episodes": episodes, "seed": seed}}
            env = Recorder(env, repo, run, config=config)
            recorded = env.run
        results = play(env, agent, view, tasks(traces, episodes), seed, tell)
        is_whole = True
    finally:
        env.close()
        if recorded is not None and repo is not None:
            if repo.runs[recorded].oid is None:
                repo.delete_run(recorded)  # its first episode did not begin
            elif not is_whole:  # its configuration says how many episodes there were to be
                repo.set_status(recorded, "failed")
    state = found.state if found is not None else None
    is_live = arguments.get("cluster") is not None  # whose nodes may be others
    fewest = {} if is_live else fewest_steps(traces, arguments.get("target", 3))
    names = list(traces) or [environment]
    scores = [
        score(name, results[i * episodes : (i + 1) * episodes], fewest)
        for i, name in enumerate(names)
    ]
    return Evaluation(subject, scores, score("all", results, fewest), recorded, state)


def tasks(traces: Iterable[str], episodes: int) -> Iterator[dict[str, Any] | None]:
    """Yield the options of each reset: ``episodes`` for each trace, or in all without traces."""
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
    """Run an episode without exploring or learning for each reset; ``tell`` gets each."""
    results, agent = [], evaluated(agent, seed)
    for number, options in enumerate(resets, start=1):
        done = episode(env, agent, view, seed + number, number=number, learn=False, options=options)
        results.append(done)
        if tell is not None:
            tell(done)
    return results
