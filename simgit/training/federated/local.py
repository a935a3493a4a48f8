"""A worker: it trains for a round, from the global state on, and pushes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from simgit.agents.base import generator, rng_state
from simgit.errors import InvalidInput
from simgit.gym.envs.agent_view import View, make
from simgit.objects.oid import Oid
from simgit.repository import Repository
from simgit.training.checkpoints import AGENT, newest
from simgit.training.config import Config
from simgit.training.federated.federation import (
    ROUND,
    Federation,
    agent_at,
    attach_for,
    fetched,
    round_of,
    steps_of,
    tip_of,
)
from simgit.training.loading import AgentSource
from simgit.training.trainer import resume, train
from simgit.worker import open as open_worker


class LocalRound(NamedTuple):
    """The work of a worker: its index, the round, and the state that ends it."""

    worker: int
    round: int
    oid: Oid


def train_round(
    federation: Federation,
    index: int,
    *,
    seed: int | None = None,
    keep: bool = True,
    directory: str | Path | None = None,
) -> LocalRound:
    """Train one worker for the round after the newest global state, and push.

    It is a function that any executor can call in any process. A worker that was killed in a round
    continues it, exactly; one that has done its round already returns at once.

    Args:
        federation: what is trained.
        index: the number of the worker, from 0.
        seed: its own seed, of episodes and exploration (default: that of the configuration, and
            ``index`` more).
        keep: keep the worker's local repository on this machine, for the next round.
        directory: see ``simgit.worker.open``.

    Raises:
        InvalidInput: all rounds are done, and the worker took part in none.
        InvalidInput, NotFound: see ``simgit.training.train``.
        Divergence: re-executed steps differ from the recorded ones.
        StorageError: the remote cannot be reached; what was trained is in the local repository.
    """
    config = federation.config
    own = replace(
        config,
        seed=config.seed + index if seed is None else seed,
        episodes=federation.local_episodes,
        trials=0,  # the coordinator tries the mean
    )
    name = federation.worker_run(index)
    with open_worker(
        federation.remote, name, keep="all" if keep else None, directory=directory,
        **federation.storage,
    ) as work:  # fmt: skip
        repo, run = work.repository, work.run()
        base = fetched(repo, federation.global_run)
        done = 0 if base is None else round_of(repo, federation.global_run, base)
        oid = tip_of(repo, run)
        if done >= federation.rounds:
            if oid is None:
                raise InvalidInput(
                    f"all {federation.rounds} rounds are done, and '{run}' took part in none",
                    path="rounds",
                )
            return LocalRound(index, done, oid)
        if oid is None or round_of(repo, run, oid) != (number := done + 1):
            number = done + 1
            _continue(federation, repo, run, own, base, number)
            oid = _noted(federation, repo, run, base, number)
        repo.set_status(run, "completed" if number >= federation.rounds else "paused")
    return LocalRound(index, number, oid)


def _continue(
    federation: Federation, repo: Repository, run: str, own: Config, base: Oid | None, number: int
) -> None:
    """Train for a round, from the global state on or from where an earlier process was killed."""
    oid = tip_of(repo, run)
    if base is None and oid is None:
        first = {} if own.seed == federation.config.seed else _first_agent(federation)
        training = train(repo, run, own, federation.environment, federation.arguments, **first)
    else:
        if base is not None and (oid is None or not repo.is_ancestor(base, oid)):
            _join(repo, federation, run, own, base, number)
        wanted = federation.local_episodes + (0 if base is None else _episodes(repo, base))
        made = newest(repo, run)
        if made is not None and made.state == tip_of(repo, run) and _episodes(repo, run) >= wanted:
            return  # it was killed when all was done
        training = resume(repo, run, episodes=wanted)
    with training:
        while training.remaining():
            training.episode()


def _first_agent(federation: Federation) -> dict[str, Any]:
    """Return what a worker of another seed begins with: equal networks, or their mean is no use."""
    env = make(federation.environment, **federation.arguments)
    try:
        view = View(env)
        agent = federation.config.make_agent(view.size, view.actions)
    finally:
        env.close()
    return {"load": AgentSource(federation.global_run, agent.state()), "transfer": True}


def _join(
    repo: Repository, federation: Federation, run: str, own: Config, base: Oid, number: int
) -> None:
    """Move a worker's run to the global state, with generators of its own.

    What it did that is not in the global state is a parent of its next state: nothing is dropped.
    """
    if run not in repo.runs:
        repo.create_run(run, config=own.plain())
    oid, mean = tip_of(repo, run), agent_at(repo, federation.global_run, base)
    with repo.transaction("federated", run, number):
        repo.reset(base, run=run)
        if oid is not None and not repo.is_ancestor(oid, base):
            message = f"round {number}: what '{run}' did before came too late for its round"
            base = repo.commit(run=run, parents=[oid], message=message)
        attach_for(repo, run, base, AGENT, _reseeded(mean, own.seed, number - 1))


def _reseeded(data: Mapping[str, Any], seed: int, done: int) -> dict[str, Any]:
    """Return a checkpoint with random generators of a worker's own, others after each round."""
    found = dict(data)
    exploring, sampling = (rng_state(generator(seed, 2 * done + k)) for k in (1, 2))
    found["exploration"] = {**data["exploration"], "rng": exploring}
    if "rng" in data:
        found["rng"] = sampling
    return found


def _episodes(repo: Repository, revision: str | Oid) -> int:
    return int(repo.trajectory(revision).episode_starts.sum())


def _noted(
    federation: Federation, repo: Repository, run: str, base: Oid | None, number: int
) -> Oid:
    """Note at the newest state of a worker's run that it ends a round; return the state."""
    oid = tip_of(repo, run)
    assert oid is not None
    before = 0 if base is None else steps_of(agent_at(repo, federation.global_run, base))
    explored = steps_of(agent_at(repo, run, oid)) - before
    note = {"round": number, "episodes": federation.local_episodes, "explored": explored}
    attach_for(repo, run, oid, ROUND, note)
    return oid
