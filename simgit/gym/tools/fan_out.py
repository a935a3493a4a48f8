"""Thousands of continuations of one state: arms, each repeated, by a policy or at random."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from simgit.errors import InvalidInput, shown
from simgit.gym.restoring.recorded_path import run_named
from simgit.gym.restoring.reexecute import Progress
from simgit.gym.spec.permit import Trust
from simgit.gym.tools.executors import StateSource
from simgit.gym.tools.rollout import Policy, Rollout
from simgit.gym.tools.whatif import PREFIX, checked_actions, execute
from simgit.objects.arguments import checked
from simgit.objects.coerce import check_number
from simgit.objects.oid import Oid
from simgit.repository import Repository

_SEEDS: Final = 1 << 32


@dataclass(frozen=True)
class Arm:
    """One way to continue a state.

    Attributes:
        actions: the first actions; those of the policy, or random ones, follow.
        seed: the random seed of the first repetition, from 0 to 2³² - 1; the k-th one has
            ``seed + k``. None for the seeds that all such arms share.
        overrides: named arguments of the policy; they are settings of the runs.
    """

    actions: Sequence[Any] = ()
    seed: int | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any) -> Arm:
        """Return the arm that is given as one, as a list of actions, or as the first action."""
        if isinstance(given, cls):
            return given
        return cls(tuple(given) if isinstance(given, (list, tuple)) else (given,))


class FanOutRow(NamedTuple):
    """The result of one rollout: a row of the table.

    Attributes:
        arm: the index of the arm.
        run: the name of the run.
        return_: the sum of the rewards.
        length: the number of actions.
        oid: the newest state.
    """

    arm: int
    run: str
    return_: float
    length: int
    oid: Oid


@checked
def fan_out(
    repo: Repository,
    revision: str | Oid,
    arms: Sequence[Any],
    horizon: int,
    *,
    policy: Policy | None = None,
    repeat: int = 1,
    seed: int = 0,
    prefix: str = PREFIX,
    workers: int | None = None,
    executor: Executor | None = None,
    source: StateSource | None = None,
    taken: Sequence[str] = (),
    trust: Trust = None,
    progress: Progress | None = None,
) -> list[FanOutRow]:
    """Continue a state in many ways, each several times; record each rollout as a run.

    The k-th repetitions of all arms have the same random seed, so that the arms are compared and
    not their luck. It is that of Gymnasium's generators; an environment's others continue as
    recorded. The runs are named ``prefix/ID/ARM-K``; ID is the state's, and a number if
    there are such runs.

    Args:
        repo: the repository.
        revision: the state.
        arms: the arms: each an ``Arm``, an action, or a list (or tuple) of first actions.
        horizon: the greatest number of actions of a rollout; an episode's end ends it.
        policy: returns the action for an observation; an arm's overrides are its named arguments.
            Each rollout has a copy of it, unless it is a function; if it has a method ``reset``,
            that is called with the seed. Its global random generators are seeded too. None for
            random actions.
        repeat: the number of rollouts of each arm.
        seed: the random seed.
        prefix: the beginning of the names of runs.
        workers, executor, trust, progress: see ``step_batch``.
        source: where the processes of the executor find the state (default: the repository's
            directory).
        taken: names of runs elsewhere, which are not given to new ones.

    Returns:
        A row for each rollout, ordered by arm and repetition.

    Raises:
        InvalidInput: an action is not in the space, the state ended its episode, the overrides have
            no policy, or the executor cannot be used.
        NotFound, Untrusted, Divergence: see ``restore``.
    """
    oid, of = repo.resolve(revision), run_named(repo, revision)
    horizon = check_number(horizon, "horizon", 1, whole=True)
    repeat = check_number(repeat, "repeat", 1, whole=True)
    if policy is not None and not callable(policy):
        raise InvalidInput(f"policy must be a function, got {shown(policy)}", path="policy")
    if not isinstance(taken, Collection) or not all(isinstance(each, str) for each in taken):
        raise InvalidInput(f"taken must be a list of names, got {shown(taken)}", path="taken")
    known = [Arm.of(each) for each in arms]
    _check_arms(known, policy, repeat)
    lengths = [len(each.actions) for each in known]
    flat = iter(checked_actions(repo, oid, [a for each in known for a in each.actions]))
    sequences = [tuple(itertools.islice(flat, length)) for length in lengths]
    shared = np.random.SeedSequence(seed).generate_state(repeat).tolist()
    begin = _free([*repo.runs, *taken], f"{prefix}/{oid.short()}")
    jobs = [
        Rollout(
            oid, f"{begin}/{i}-{k + 1}", actions, horizon,
            shared[k] if arm.seed is None else (arm.seed + k) % _SEEDS,
            of=of, overrides=dict(arm.overrides),
        )
        for i, (arm, actions) in enumerate(zip(known, sequences, strict=True))
        for k in range(repeat)
    ]  # fmt: skip
    found = execute(
        repo, jobs, workers=workers, executor=executor, source=source, policy=policy, trust=trust,
        progress=progress,
    )  # fmt: skip
    return [
        FanOutRow(i // repeat, each.run, each.return_, each.length, each.tip)
        for i, each in enumerate(found)
    ]


def _check_arms(arms: Sequence[Arm], policy: Policy | None, repeat: int) -> None:
    for i, arm in enumerate(arms):
        if not isinstance(arm.actions, Sequence) or not isinstance(arm.overrides, Mapping):
            raise InvalidInput(f"arm {i}: actions must be a list and overrides a dict", path="arms")
        if arm.seed is not None:
            check_number(arm.seed, f"arm {i}: seed", 0, most=_SEEDS - 1, whole=True)
        if arm.overrides and policy is None:
            raise InvalidInput(
                f"arm {i}: overrides are arguments of the policy, and there is none", path="arms"
            )


def _free(runs: Iterable[str], name: str) -> str:
    """Return a name below which there are no runs: it, or it with a number."""
    taken = {each.rpartition("/")[0] for each in runs}
    found: Iterator[str] = (name if i == 1 else f"{name}-{i}" for i in itertools.count(1))
    return next(each for each in found if each not in taken)
