"""A coordinator: it makes the global state of a round from what workers have pushed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from simgit import agents
from simgit.errors import Conflict, InvalidInput, plural, shown
from simgit.objects.oid import Oid
from simgit.refs.names import RUNS
from simgit.repository import Repository
from simgit.training.average import Averaging, average
from simgit.training.checkpoints import AGENT, Checkpoint
from simgit.training.config import Config
from simgit.training.federated.federation import (
    ROUND,
    Federation,
    agent_at,
    attach_for,
    bound,
    bound_name,
    check_remote,
    fetched,
    followed,
    round_of,
    steps_of,
)
from simgit.training.trials import Trials


@dataclass(frozen=True, slots=True)
class GlobalRound:
    """The outcome of a round.

    Attributes:
        round: its number, from 1.
        oid: the global state.
        what: ``merged``; ``forward`` where one worker's state is the global one; ``taken`` where
            another coordinator was faster, and its state was taken.
        workers: whose agents were averaged; of ``taken`` those that the other one used.
        late: those among them whose states are of an earlier round.
    """

    round: int
    oid: Oid
    what: str
    workers: tuple[int, ...]
    late: tuple[int, ...] = ()


def check_options(weights: str, late: str) -> None:
    """Check options of ``merge_round``; raise InvalidInput for others."""
    for name, given, words in (
        ("weights", weights, ("even", "episodes")), ("late", late, ("keep", "merge")),
    ):  # fmt: skip
        if given not in words:
            raise InvalidInput(f"{name} must be '{words[0]}' or '{words[1]}', got {shown(given)}")


class _Tip(NamedTuple):
    """The newest state of a worker, which ends a round and is not in the global state yet."""

    worker: int
    run: str
    oid: Oid
    agent: Oid
    note: Mapping[str, Any]


def merge_round(
    federation: Federation,
    repo: Repository,
    quorum: int = 1,
    *,
    averaging: Averaging | None = None,
    weights: str = "even",
    late: str = "keep",
) -> GlobalRound | None:
    """Make the global state of the next round from what workers have pushed, and push it.

    Several processes may do so at once: one wins, and the others take its state.

    Args:
        federation: what is trained.
        repo: the coordinator's repository, whose remote ``origin`` is that of the federation.
        quorum: how many workers must have done the round.
        averaging: how their agents become one.
        weights: ``even``, or ``episodes``: those that each has trained in its round.
        late: what happens to states of earlier rounds that are in no global state yet: ``keep``,
            they stay in their workers' runs; ``merge``, they are averaged and become parents too.

    Returns:
        the outcome; None if the quorum is not reached, or all rounds are done.

    Raises:
        InvalidInput: the agents cannot be averaged (the message names what differs), or ``origin``
            is another remote.
        TransportError: the remote cannot be reached, or refuses.
    """
    check_options(weights, late)
    check_remote(federation, repo)
    run = federation.global_run
    base = fetched(repo, run)
    number = 1 + (0 if base is None else round_of(repo, run, base))
    if number > federation.rounds:
        return None
    tips = _tips(federation, repo, base)
    used = [each for each in tips if each.note["round"] == number]
    if len(used) < quorum or not used:
        return None
    old = [each for each in tips if each.note["round"] < number] if late == "merge" else []
    used += old  # after those of this round, of which the first one's history goes on
    behind = tuple(each.worker for each in old)
    with repo.transaction("federated", run, number):
        oid, data = _joined(federation, repo, base, used, number, averaging, weights)
    name = attach_for(repo, run, oid, AGENT, data)
    workers = sorted(each.worker for each in used)
    attach_for(repo, run, oid, ROUND, {"round": number, "workers": workers, "late": list(behind)})
    _try_out(repo, run, Checkpoint(oid, name), data, federation.config.trials)
    if number >= federation.rounds:
        repo.set_status(run, "completed")
    try:
        with repo.remote() as remote:
            remote.push([run], expect={run: base})
    except Conflict:
        return taken(federation, repo)
    what = "forward" if any(each.oid == oid for each in used) else "merged"
    return GlobalRound(number, oid, what, tuple(workers), behind)


def _tips(federation: Federation, repo: Repository, base: Oid | None) -> list[_Tip]:
    """Fetch the workers' runs; return what ends a round and is not in the global state."""
    begin = RUNS + federation.worker_run(0)[:-1]
    with repo.remote() as remote:
        there = {
            name: int(number[0])
            for name, oid in (
                remote.refs(f"{begin[len(RUNS) :]}*") if remote.exists else {}
            ).items()
            if oid is not None and (number := re.fullmatch(r"[0-9]+", name[len(begin) :]))
        }
        if there:
            remote.fetch([name[len(RUNS) :] for name in there])
    found = []
    for full, index in sorted(there.items(), key=lambda each: each[1]):
        run = full[len(RUNS) :]
        oid = followed(repo, run)
        if oid is None or (base is not None and repo.is_ancestor(oid, base)):
            continue
        note, name = bound(repo, run, oid, ROUND), bound_name(repo, run, oid, AGENT)
        if note is not None and name is not None:
            found.append(_Tip(index, run, oid, repo.attachments(oid)[name][1], note))
    return found


def _joined(
    federation: Federation,
    repo: Repository,
    base: Oid | None,
    used: Sequence[_Tip],
    number: int,
    averaging: Averaging | None,
    weights: str,
) -> tuple[Oid, Mapping[str, Any]]:
    """Move the global run to the state that joins others; return it, with its agent."""
    run, first = federation.global_run, used[0]
    different = list({(each.oid, each.agent): each for each in used}.values())
    data = [agent_at(repo, each.run, each.oid) for each in used]  # equal ones count too
    given = [each.note["episodes"] for each in used] if weights == "episodes" else None
    mean = data[0] if len(different) == 1 else average(data, averaging, given)
    if run not in repo.runs:
        theirs = Config.of(repo.config(first.run), first.run)
        own = replace(
            theirs, seed=federation.config.seed, load=None, trials=federation.config.trials,
            episodes=federation.rounds * federation.local_episodes,
        )  # fmt: skip
        repo.create_run(run, config=own.plain())
    repo.set_status(run, "active")
    repo.reset(first.oid, run=run)
    if len(different) == 1:
        return first.oid, mean
    before = 0 if base is None else steps_of(agent_at(repo, run, base))
    explored = before + sum(each.note["explored"] for each in used)
    mean = {**mean, "exploration": {**mean["exploration"], "steps": explored}}
    if "steps" in mean:
        mean["steps"] = explored
    parents = dict.fromkeys([*([] if base is None else [base]), *(e.oid for e in different)])
    parents.pop(first.oid, None)
    rule = (averaging or Averaging()).rule
    message = f"round {number}: {rule} of {plural(len(used), 'worker')}"
    return repo.commit(run=run, parents=list(parents), message=message), mean


def _try_out(
    repo: Repository, run: str, made: Checkpoint, data: Mapping[str, Any], episodes: int
) -> None:
    """Attach the result of a trial of the global agent, by which the best round is found."""
    if not episodes or made.trial in repo.attachments(made.state):
        return
    trials = Trials(repo, run)
    try:
        repo.attach(made.state, made.trial, trials.judge(agents.load(data), episodes))
    finally:
        trials.close()


def taken(federation: Federation, repo: Repository) -> GlobalRound:
    """Return the newest round, which another coordinator made."""
    run = federation.global_run
    oid = fetched(repo, run)
    assert oid is not None  # something else than expected is there
    note = bound(repo, run, oid, ROUND) or {}
    return GlobalRound(
        int(note.get("round", 0)), oid, "taken", tuple(note.get("workers", ())),
        tuple(note.get("late", ())),
    )  # fmt: skip
