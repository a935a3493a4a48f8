"""A live environment at a recorded state: the nearest snapshot, and the actions from there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from simgit.errors import (
    Divergence,
    EnvironmentChanged,
    InvalidInput,
    NotFound,
    SimgitError,
    Unverified,
)
from simgit.gym import drivers
from simgit.gym.drivers import randomness
from simgit.gym.restoring.lineage import SNAPSHOT, Past
from simgit.gym.restoring.reexecute import Progress, Reexecution, raised
from simgit.gym.restoring.reset_seeding import KEEPS_ALL, forgets, keeps_all
from simgit.gym.restoring.run_notes import noted, runs_of, snapshots_fail
from simgit.gym.spec import spec as specs
from simgit.objects.oid import Oid
from simgit.repository import Repository

Trust = bool | Callable[[], bool] | None
How = Literal["snapshot", "episode", "creation"]
_BETWEEN: Final = "replay-episode"
STEP_SECONDS: Final = "step_seconds"
"""The key of a run's metadata that says what a step of its environment took."""


class Untrusted(InvalidInput):
    """A snapshot holds a pickle, and the repository is not trusted."""


@dataclass(frozen=True)
class RestorePlan:
    """How a state is reached.

    Attributes:
        step: the state's.
        how: from a snapshot, from a seeded reset, or from where the environment was made.
        start: the step of the snapshot, or of the reset.
        lead: the step of the earlier snapshot that is restored first, None if none is needed.
        seed: that the reset needs, if it was given none.
        driver: what made the snapshot.
        is_doubtful: whether snapshots are known not to lead on exactly where it was recorded.
        step_seconds: what a step took when it was recorded, None if that is not known.
    """

    step: int
    how: How
    start: int
    lead: int | None = None
    seed: int | None = None
    driver: str | None = None
    is_doubtful: bool = False
    step_seconds: float | None = field(default=None, compare=False)

    @property
    def seconds(self) -> float | None:
        """About how long it takes, None if it is not known what a step takes."""
        return None if self.step_seconds is None else self.cost * self.step_seconds

    @property
    def cost(self) -> int:
        """How many actions are executed again."""
        first = self.start if self.lead is None else self.lead
        return self.step - first + (self.how != "snapshot")


def restore(
    repo: Repository,
    revision: str | Oid,
    *,
    rng: bool = True,
    env: Any = None,
    trust: Trust = None,
    progress: Progress | None = None,
) -> Any:
    """Return a live environment, with its wrappers, at a recorded state.

    The recorded actions from the nearest snapshot (or seeded reset, or the environment's making)
    are executed again, and what comes of them is compared with what is recorded.

    Args:
        repo: the repository.
        revision: the state.
        rng: whether random numbers go on as they did, Python's, NumPy's and torch's global ones
            with them; False for other ones, to plan with.
        env: an environment made in the same way, to be put into the state; if not given, it is
            made as the run's root describes it.
        trust: whether pickles in snapshots may be loaded, which runs the code of who recorded
            them; a function is asked if there is one. Without trust such runs are re-executed.
        progress: called with how many actions are executed again, and of how many.

    Raises:
        NotFound: there is no such state, or its environment is not installed.
        InvalidInput: there is nothing to restore from, or the spaces are others now.
        Untrusted: what there is to restore from is a pickle.
        Divergence: the environment does not repeat what is recorded.
    """
    past = Past(repo, revision)
    warn_of_changes(repo, past)
    made, given = _environment(past, env), env is not None
    before = None if rng else randomness.capture_globals()
    failed: Divergence | None = None
    for plan in plans(past, made, trust):
        if failed is not None and not given:
            made = specs.make(past.spec)  # what diverged has other things in it now
        try:
            execute(past, made, plan, progress)
        except Divergence as error:
            failed = failed or error
            continue
        if plan.is_doubtful:
            _warn_of_doubt(past)
        if before is not None:
            drivers.select(made).reseed(made)
            randomness.apply_globals(before)
        return made
    raise failed or _nothing(past, trust)


def _environment(past: Past, env: Any) -> Any:
    if env is None:
        return specs.make(past.spec)
    specs.compare_spaces(specs.describe_spaces(env), past.spec)
    return env


# --- planning ------------------------------------------------------------------------------------


def plan(repo: Repository, revision: str | Oid, *, trust: Trust = None) -> RestorePlan:
    """Return how ``restore`` would reach a state, with the actions and seconds that it takes.

    Raises:
        InvalidInput, Untrusted: see ``restore``.
    """
    past = Past(repo, revision)
    found = next(plans(past, specs.make(past.spec), trust), None)
    if found is None:
        raise _nothing(past, trust)
    return replace(found, step_seconds=step_seconds(repo, past.oid))


def plans(past: Past, env: Any, trust: Trust) -> Iterator[RestorePlan]:
    """Yield the ways to reach a state, the best first; each is tried if the one before diverges."""
    found = from_snapshot(past, trust, past.step)
    fails = found is not None and snapshots_fail(past.recorded_in)
    if found is not None and not fails:
        yield found
    yield from _reexecutions(past, env)
    if found is not None and fails:
        yield replace(found, is_doubtful=True)


def _reexecutions(past: Past, env: Any) -> Iterator[RestorePlan]:
    """Yield the ways that need no snapshot.

    What is kept over a reset shows only after it. So where it is not known that nothing is, a
    reset comes last, and then the first one: from there the most is compared.
    """
    made, seed = past.creation()
    resets = past.seeded_resets(made)
    is_enough = bool(resets) and forgets(env)
    if is_enough:
        yield RestorePlan(past.step, "episode", resets[-1])
    if seed is not None:
        yield RestorePlan(past.step, "creation", made, seed=seed)
    if resets and not is_enough and not keeps_all(env):
        yield RestorePlan(past.step, "episode", resets[0])


def from_snapshot(past: Past, trust: Trust, newest: int) -> RestorePlan | None:
    """Return how a state is reached from the nearest snapshot up to a step, None if there is none.

    (None, too, if that is a pickle which may not be loaded.)
    """
    for step in past.bound(SNAPSHOT, newest):
        data = past.snapshot(step)
        name = data.get("driver")
        if name == KEEPS_ALL or (name == _BETWEEN and not past.is_reset(step + 1)):
            continue
        if not past.is_own(step):
            continue
        if drivers.needs_trust(data) and not is_trusted(trust):
            return None
        lead = data.get("lead", 0)
        if not lead or past.is_reset(step):
            return RestorePlan(past.step, "snapshot", step, driver=name)
        earlier = _earlier(past, step, lead)
        if earlier is not None:
            return RestorePlan(past.step, "snapshot", step, earlier, driver=name)
    return None


def _earlier(past: Past, step: int, lead: int) -> int | None:
    """Return the step of the newest snapshot that lies far enough before another, or is a reset."""
    for earlier in past.bound(SNAPSHOT, step - 1):
        if earlier <= step - lead or past.is_reset(earlier):
            return earlier
    return None


def is_trusted(trust: Trust) -> bool:
    """Return whether pickles may be loaded, asking if there is somebody to ask."""
    return bool(trust() if callable(trust) else trust)


def loads_pickle(past: Past, trust: Trust) -> bool:
    """Return whether a pickle may be loaded to reach a state; nobody is asked if there is none."""
    answers: list[bool] = []

    def asked() -> bool:
        answers.append(is_trusted(trust))
        return answers[-1]

    from_snapshot(past, asked, past.step)
    return any(answers)


def _nothing(past: Past, trust: Trust) -> InvalidInput:
    short = past.oid.short()
    for step in past.bound(SNAPSHOT, past.step):
        if drivers.needs_trust(past.snapshot(step)) and not is_trusted(trust):
            return Untrusted(
                f"state '{short}' can only be restored by loading a pickle, which runs code of "
                "who recorded it: trust this repository with 'simgit trust'",
                oid=past.oid,
            )
    return InvalidInput(
        f"state '{short}' cannot be restored: no state before it has a snapshot, and its first "
        "reset had no seed",
        oid=past.oid,
    )


# --- doing it ------------------------------------------------------------------------------------


def execute(
    past: Past, env: Any, plan: RestorePlan, progress: Progress | None = None
) -> Reexecution:
    """Bring an environment to a state as planned; return what goes on from there.

    Raises:
        Divergence: it does not repeat what is recorded.
    """
    going = Reexecution(env, reseeds=past.reseeds, total=plan.cost, progress=progress)
    states = past.trajectory
    if plan.how != "snapshot":
        going.lead(states[plan.start :], seed=plan.seed)
        return going
    assert plan.driver is not None
    driver = drivers.serving(env, plan.driver)
    if plan.lead is not None:
        _put_back(past, env, driver, plan.lead)
        going.lead(states[plan.lead + 1 : plan.start + 1], compare=False)
    _put_back(past, env, driver, plan.start)
    going.lead(states[plan.start + 1 :])
    return going


def _put_back(past: Past, env: Any, driver: drivers.Driver, step: int) -> None:
    data = past.snapshot(step)
    try:
        driver.restore(env, data)
    except SimgitError:
        raise
    except Exception as error:  # of the environment's own methods, or of a class in a pickle
        raise raised(step, error) from error


def _warn_of_doubt(past: Past) -> None:
    message = (
        f"state '{past.oid.short()}' can only be restored from a snapshot, and those of its run "
        "are known not to lead on exactly"
    )
    warnings.warn(message, Unverified, stacklevel=3)


def warn_of_changes(repo: Repository, past: Past) -> None:
    """Warn if packages have other versions than in the run that a state was recorded in."""
    recorded = (noted(past.recorded_in, "provenance") or {}).get("versions")
    if recorded is None:
        return
    from simgit.gym.spec.provenance import versions

    present = versions()
    changed = [
        f"{name} {recorded[name]} (now {present[name]})"
        for name in sorted(recorded.keys() & present.keys())
        if recorded[name] != present[name] and name != "simgit"
    ]
    if changed:
        message = f"recorded with other versions: {', '.join(changed)}"
        warnings.warn(message, EnvironmentChanged, stacklevel=3)


def step_seconds(repo: Repository, revision: str | Oid) -> float | None:
    """Return what a step of the environment took when a run was recorded, None if not known."""
    found: float | None = noted(runs_of(repo, repo.resolve(revision)), STEP_SECONDS)
    return found


__all__ = ["EnvironmentChanged", "NotFound", "RestorePlan", "Untrusted", "plan", "restore"]
