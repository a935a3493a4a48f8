"""Restoring a recorded state: from the nearest snapshot, with the actions from there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from time import monotonic
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

from simgit.errors import (
    Divergence,
    EnvironmentChanged,
    InvalidInput,
    NotFound,
    SimgitError,
    Untrusted,
    Unverified,
    shown,
    visible,
    warn,
)
from simgit.gym import drivers
from simgit.gym.drivers import randomness
from simgit.gym.restoring.full_reset import KEEPS_ALL, forgets, keeps_all
from simgit.gym.restoring.recorded_path import SNAPSHOT, RecordedPath
from simgit.gym.restoring.reexecute import Progress, Reexecution, raised
from simgit.gym.restoring.run_notes import (
    BY_PROCESS,
    BY_REPLAY,
    DIVERGES,
    EXACT,
    FORGETS,
    LEFT_OUT,
    REEXECUTE,
    RESETS,
    UNSEEDED,
    declares,
    note,
    noted,
    replay_differs,
    resets_fail,
    resets_tried,
    runs_of,
    snapshots_fail,
    verdict_of,
    vouches,
)
from simgit.gym.restoring.sessions import at, noted_in
from simgit.gym.spec import spec as specs
from simgit.gym.spec.permit import Trust
from simgit.history.trajectory import Trajectory
from simgit.objects.arguments import checked
from simgit.objects.oid import Oid
from simgit.recording.verdicts import details, is_difference
from simgit.repository import Repository

How = Literal["snapshot", "episode", "creation"]
_BETWEEN: Final = "replay-episode"
STEP_SECONDS: Final = "step_seconds"
"""The key of a run's metadata for the median seconds of a step."""


@dataclass(frozen=True)
class RestorePlan:
    """The way to restore a state: where to start, and what to re-execute from there.

    Attributes:
        step: the step of the state.
        how: from a snapshot, a seeded reset ("episode") or the reset of the new environment
            ("creation").
        start: the step of the snapshot, or of the reset.
        lead: the step of an earlier snapshot to restore first, None if that is not needed.
        seed: the seed of the reset, if it was given none.
        driver: the name of the driver of the snapshot.
        doubt: what nothing was compared with, so that the state may be another; None without doubt,
            '' where all differs in any case, and is warned of.
        tried: in how many episodes it was tried whether a seeded reset forgets, where that is all
            that is known of the reset to start from; None elsewhere.
        step_seconds: the seconds of a step when it was recorded, None if unknown.
    """

    step: int
    how: How
    start: int
    lead: int | None = None
    seed: int | None = None
    driver: str | None = None
    doubt: str | None = None
    tried: str | None = None
    step_seconds: float | None = field(default=None, compare=False)

    @property
    def seconds(self) -> float | None:
        """The estimated seconds, None if the seconds of a step are unknown."""
        return None if self.step_seconds is None else self.cost * self.step_seconds

    @property
    def cost(self) -> int:
        """The number of actions to re-execute."""
        first = self.start if self.lead is None else self.lead
        return self.step - first + (self.how != "snapshot")


@checked
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

    The recorded actions from the nearest snapshot (or seeded reset, or creation) are re-executed,
    and their results are compared with the recorded ones.

    Args:
        repo: the repository.
        revision: the state.
        rng: True continues with the recorded random numbers; those of the spaces, and of Python's,
            NumPy's and torch's global generators, are put back as they were at the nearest
            snapshot, or at the creation where the state is re-executed, as far as they were noted.
            False reseeds the environment, for planning.
        env: an environment made in the same way, to be put into the state; made from the run's
            spec if None.
        trust: True to import the module of an environment that is not registered, and to load
            pickles in snapshots: both run code of whoever recorded them; False not to; a function
            to ask where the user's trust in the repository is missing (None: nobody is asked).
            Without trust, runs whose snapshots are pickles are re-executed.
        progress: called with the number of actions re-executed, and of all.

    Raises:
        NotFound: no such state, or its environment is not installed.
        InvalidInput: there is nothing to restore from, or the spaces have changed.
        Untrusted: without code of whoever recorded it the state cannot be restored.
        Divergence: the environment does not repeat the recorded steps.
    """
    return restored(RecordedPath(repo, revision), rng=rng, env=env, trust=trust, progress=progress)


def restored(
    path: RecordedPath,
    *,
    rng: bool = True,
    env: Any = None,
    trust: Trust = None,
    progress: Progress | None = None,
) -> Any:
    """Return a live environment at the last state of a path; see ``restore``."""
    warn_of_changes(path.repo, path)
    _warn_of_process(path)
    _warn_of_start(path)
    before = None if rng else randomness.capture_globals()
    if env is not None:
        if not hasattr(env, "observation_space") or not hasattr(env, "action_space"):
            raise InvalidInput(f"env must be an environment, got {shown(env)}", path="env")
        specs.compare_spaces(specs.describe_spaces(env), path.spec)
    if env is None:
        _warn_of_wrappers(path)
    made = env if env is not None else path.make(trust)
    failed: Divergence | drivers.CannotRestore | None = None
    spent: list[tuple[RestorePlan, SimgitError]] = []
    try:
        for plan in plans(path, made, trust):
            if plan.tried and env is not None:
                continue  # if it fails, there is no other environment for the next plan
            if failed is not None and env is None:
                made.close()
                made = path.make(trust)  # the diverged environment is in some other state
            try:
                if plan.doubt != "":
                    try_ahead(path, plan, trust)
                execute(path, made, plan, progress)
            except (Divergence, drivers.CannotRestore) as error:
                failed = failed or error
                if plan.tried:
                    spent.append((plan, error))
                continue
            for each, why in spent if plan.how != "snapshot" else ():
                _note_kept(path, each, why)  # not before: it might be that nothing repeats
            _settle_doubt(path, plan, made)
            if before is None and (plan.how != "snapshot" or plan.start < path.step):
                _draw_on(path, made, trust)
            if before is not None:
                drivers.select(made).reseed(made)
                randomness.apply_globals(before)
            return made
        raise failed or _nothing(path, trust)
    except BaseException:
        if env is None:
            made.close()
        raise


def _draw_on(path: RecordedPath, env: Any, trust: Trust) -> None:
    """Put back what a script draws from, where the state has a snapshot that was not begun at.

    The actions are re-executed, not drawn again: without this the generators of the spaces, and the
    global ones, would be where they were at the beginning.
    """
    step = path.step
    if next(iter(path.attached(SNAPSHOT, step, step)), None) is None:
        return
    stored = path.attachment(step, SNAPSHOT)
    if not path.is_own(step, stored) or not path.may_load(step, trust):
        return
    data = drivers.unpack(stored)
    if "random" in data and "globals" in data:
        randomness.apply_spaces(drivers.layers(env), data["random"]["spaces"])
        randomness.apply_globals(data["globals"])


# --- planning ------------------------------------------------------------------------------------


@checked
def plan(repo: Repository, revision: str | Oid, *, trust: Trust = None) -> RestorePlan:
    """Return how ``restore`` would reach a state, with its cost in actions and seconds.

    Raises:
        InvalidInput, Untrusted: see ``restore``.
    """
    return planned(RecordedPath(repo, revision), trust)


def planned(path: RecordedPath, trust: Trust) -> RestorePlan:
    """Return how the last state of a path would be reached; see ``plan``."""
    with closing(path.make(trust)) as env:
        found = next(plans(path, env, trust), None)
    if found is None:
        raise _nothing(path, trust)
    seconds = noted(path.recorded_in, STEP_SECONDS, int, float)
    return replace(found, step_seconds=seconds)


def plans(path: RecordedPath, env: Any, trust: Trust) -> Iterator[RestorePlan]:
    """Yield plans to reach a state, the best first; each is tried if the one before diverges.

    Snapshots that were found to continue inexactly are not among them, unless nothing of the run
    comes out the same again: then they are the last plan, with a warning.
    """
    nearest = from_snapshot(path, trust, path.step)
    if path.is_live:
        if nearest is not None and nearest.cost == 0:
            yield replace(nearest, doubt="")
        return
    found = nearest
    if found is not None and snapshots_fail(path.recorded_in, found.driver):
        found = None
    if found is not None:
        yield from _compared(path, env, trust, found)
    yield from _reexecutions(path, env)
    verdict = verdict_of(path.recorded_in)
    if nearest is not None and verdict is not None and verdict.result in (BY_PROCESS, DIVERGES):
        # it has what was; what follows will be something else in any case, and is warned of
        yield replace(nearest, doubt="")


def _compared(
    path: RecordedPath, env: Any, trust: Trust, found: RestorePlan
) -> Iterator[RestorePlan]:
    """Yield the plans that begin at a snapshot, in the order in which more is compared.

    A restore that begins at the state's own snapshot would compare nothing. Where no verdict
    vouches for the snapshots, all of a short run is re-executed, and of a long one what follows the
    snapshot before; where one does, only once for a run in a process. If that costs too much, the
    plan has a doubt.
    """
    vouched = is_vouched_for(path, found)
    if vouched and _key(path, found) in _seen:
        yield found
        return
    may = noted(path.recorded_in, REEXECUTE) is not False
    if may and not vouched:
        short = (each for each in _reexecutions(path, env) if each.how == "creation")
        yield from (each for each in short if _is_cheap(path, each.cost))
    first = found.start if found.lead is None else found.lead
    earlier = from_snapshot(path, trust, first - 1) if may and first else None
    enough = found.step - found.start >= MOST_STEPS
    if enough or (found.step > found.start and earlier is None):
        yield found
    elif earlier is not None and _is_cheap(path, earlier.cost):
        yield earlier
    elif earlier is not None or not may:
        why = (
            "its environment is marked not to be re-executed"
            if not may
            else (f"that would re-execute {earlier.cost if earlier else 0} actions")
        )
        yield replace(found, doubt=why)
    elif is_vouched_for(path, found):
        yield found
    else:  # the run's first snapshot: re-execution from the beginning costs no more
        yield from _reexecutions(path, env)
        yield replace(found, doubt="it is the first snapshot of its run")


MOST_STEPS: Final = 200
MOST_SECONDS: Final = 1.0
"""The actions, or the seconds, that may be re-executed only to compare."""
_in_memory: Final[WeakKeyDictionary[Repository, object]] = WeakKeyDictionary()
"""Something that stands for each repository in memory."""
_seen: Final[set[tuple[Any, ...]]] = set()
"""Runs and drivers whose snapshots continued as recorded in this process.

What an environment keeps in classes and modules is the process's, and so is this.
"""


def _key(path: RecordedPath, plan: RestorePlan) -> tuple[Any, ...]:
    run = path.recorded_in[0].name if path.recorded_in else ""
    directory = path.repo.directory
    where = _in_memory.setdefault(path.repo, object()) if directory is None else directory
    return where, path.trajectory[0].oid, run, plan.driver


def is_vouched_for(path: RecordedPath, plan: RestorePlan) -> bool:
    """Return True if the run's verdict says that snapshots such as a plan's continue exactly."""
    form = path.snapshot(plan.start).get("version")
    return vouches(path.recorded_in, plan.driver, form, plan.start)


def _is_cheap(path: RecordedPath, cost: int) -> bool:
    seconds = noted(path.recorded_in, STEP_SECONDS, int, float)
    return cost <= MOST_STEPS if seconds is None else cost * seconds <= MOST_SECONDS


def try_ahead(path: RecordedPath, plan: RestorePlan, trust: Trust) -> None:
    """Try a plan in another environment, and continue with the recorded steps after the state.

    Only where no verdict vouches for the plan: a part of the state that a snapshot lacks may show
    only later, and so may what a reset did not forget, or a seed that the environment draws itself
    when it is made. What cannot be tried is left to the comparison on the way to the state.

    Raises:
        Divergence: the steps differ.
    """
    if plan.how != "snapshot" and not plan.tried and not replay_differs(path.recorded_in):
        return  # in this process it would be the second one, and classes count
    if plan.how == "snapshot" and is_vouched_for(path, plan):
        return
    if noted(path.recorded_in, REEXECUTE) is False or not _is_cheap(path, plan.cost):
        return
    following = _following(path)
    if plan.tried:  # up to the end of the episode
        ends = [i for i, state in enumerate(following) if state.reset is not None]
        following = following[: min(ends, default=len(following))]
    if not len(following):
        return
    before = randomness.capture_globals()
    try:
        env = path.make(trust)
    except SimgitError:
        return
    with closing(env):
        try:
            replay, until = execute(path, env, plan), monotonic() + MOST_SECONDS
            for _ in replay.steps(following):
                if monotonic() > until:
                    break
        finally:
            randomness.apply_globals(before)


def _is_judged(path: RecordedPath) -> bool:
    """Return True if a verdict says whether re-execution repeats the run of a state."""
    verdict = verdict_of(path.recorded_in)
    return verdict is not None and verdict.result in (EXACT, BY_REPLAY, BY_PROCESS, DIVERGES)


def _following(path: RecordedPath) -> Trajectory:
    """Return the recorded states that follow a state, given by the same environment."""
    for run in sorted(path.recorded_in, key=lambda each: each.name != path.run):
        states = path.repo.trajectory(run.name)
        if len(states) > path.step + 1 and states[path.step].oid == path.oid:
            end = min(len(states), path.step + 1 + MOST_STEPS)
            later = RecordedPath(path.repo, states[end - 1].oid, run.name)
            new = [step for step in later.begun(end - 1) if step > path.step]
            gaps = [step for step in range(path.step + 1, end) if states[step].message]
            return states[path.step + 1 : min([end, *new, *gaps])]
    return path.trajectory[path.step + 1 :]


def _note_kept(path: RecordedPath, plan: RestorePlan, error: SimgitError) -> None:
    """Note that resets of a run do not forget, although that was tried; say so once.

    With the run too: in the next process another attempt could spoil what is kept in a class.
    (Not what the environment raised: the next process may have what it lacked.)
    """
    kind, found = _kind(path, plan.start), details(error)
    _kept.add((*_key(path, plan), kind))
    if not is_difference(found):
        warn(
            f"re-executed from the creation of the environment, since it could not be from the "
            f"reset of step {plan.start}: {error}",
            Unverified,
        )
        return
    found = {kind: {"forget": False, "from": plan.start, **found}}
    for run in [] if path.repo.read_only else path.recorded_in:
        verdict = verdict_of([run])
        if verdict is not None and resets_tried([run], kind):
            with suppress(SimgitError):
                note(path.repo, run.name, replace(verdict, details=verdict.details | found))
    warn(
        f"the reset of step {plan.start} does not forget what was before it, although {plan.tried} "
        f"agreed ({error}): states are re-executed from the creation of the environment",
        Unverified,
    )


def _settle_doubt(path: RecordedPath, plan: RestorePlan, env: Any) -> None:
    """Remember that a plan's snapshots were compared, or warn that nothing was."""
    if plan.doubt:
        warn(
            f"state '{path.oid.short()}' was restored from a snapshot, and nothing was compared: "
            f"{plan.doubt}; check its run with 'simgit verify'",
            Unverified,
        )
    elif plan.tried:
        warn(
            f"state '{path.oid.short()}' was restored from the reset of step {plan.start}: that "
            f"such resets forget was tried ({plan.tried}), and is not proved; say it by "
            f"'{FORGETS}' in the environment's metadata",
            Unverified,
        )
    elif (
        plan.doubt is None
        and plan.how == "snapshot"
        and plan.step > plan.start
        and not path.is_reset(plan.start)  # where there is little that a snapshot could lack
    ):
        _seen.add(_key(path, plan))
    elif (
        plan.how != "snapshot"
        and plan.step == plan.start
        and not _is_judged(path)
        and not _known_to_forget(path, env, plan.start)
    ):
        warn(
            f"state '{path.oid.short()}' was restored by a reset, and no step was compared; check "
            "its run with 'simgit verify'",
            Unverified,
        )


def _reexecutions(path: RecordedPath, env: Any) -> Iterator[RestorePlan]:
    """Yield the plans that need no snapshot.

    If the environment is known to forget at a reset, the last one is best. If that was only tried,
    it is taken where re-execution from creation would be felt; or else a plan from a reset comes
    last, and begins at the first seeded one: state that survives a reset shows only later, and from
    the first one most steps are compared.
    """
    made, seed = path.creation()
    resets = path.seeded_resets(made)
    whole = None if seed is None else RestorePlan(path.step, "creation", made, seed=seed)
    is_enough = False
    for start in (*islice(path.drawn_resets(max([made, *resets])), 1), *resets[-1:]):
        nearest = RestorePlan(path.step, "episode", start)
        if _known_to_forget(path, env, start):
            is_enough = is_enough or start in resets
            yield nearest
        elif whole is not None and (tried := _tried(path, env, nearest, whole)) is not None:
            yield replace(nearest, tried=tried)
    if whole is not None:
        yield whole
    if resets and not is_enough and not keeps_all(env):
        yield RestorePlan(path.step, "episode", resets[0])


FELT: Final = 0.2
"""The seconds from which on a re-execution is felt."""
_kept: Final[set[tuple[Any, ...]]] = set()
"""Runs whose resets turned out in this process not to forget, although that was tried."""


def _kind(path: RecordedPath, start: int) -> str:
    return RESETS if (path.trajectory[start].reset or {}).get("seed") is not None else UNSEEDED


def _known_to_forget(path: RecordedPath, env: Any, start: int) -> bool:
    """Return True if resets as that of a step are known or declared to forget, and not refuted."""
    kind = _kind(path, start)
    if _fails(path, kind):
        return False
    known = forgets(env, kind)
    return bool(declares(path.recorded_in, kind) if known is None else known)


def _fails(path: RecordedPath, kind: str) -> bool:
    """Return True if resets of a kind were found not to forget; without a seed they do no more."""
    kinds = {RESETS, kind}
    return any(resets_fail(path.recorded_in, each) for each in kinds)


def _tried(path: RecordedPath, env: Any, nearest: RestorePlan, whole: RestorePlan) -> str | None:
    """Return how often it was tried whether resets forget, if a plan from one is to be taken."""
    kind = _kind(path, nearest.start)
    tried = resets_tried(path.recorded_in, kind)
    if tried is None or _fails(path, kind) or (*_key(path, nearest), kind) in _kept:
        return None
    if forgets(env, kind) is False or declares(path.recorded_in, kind) is False:
        return None
    seconds = noted(path.recorded_in, STEP_SECONDS, int, float)
    is_felt = whole.cost > MOST_STEPS if seconds is None else whole.cost * seconds > FELT
    # it is made twice, once up to the end of the episode
    is_shorter = 2 * nearest.cost + MOST_STEPS < whole.cost
    return tried if is_felt and is_shorter else None


def from_snapshot(path: RecordedPath, trust: Trust, newest: int) -> RestorePlan | None:
    """Return the plan from the nearest snapshot up to a step, None if there is no snapshot.

    (Also None if it is an untrusted pickle.)
    """
    for step in path.attached(SNAPSHOT, newest):
        stored = path.attachment(step, SNAPSHOT)
        data = drivers.unpack(stored)
        name = data.get("driver")
        if name == KEEPS_ALL or (name == _BETWEEN and not path.is_reset(step + 1)):
            continue
        if not path.is_own(step, stored):
            continue
        if not path.may_load(step, trust):
            return None
        lead = data.get("lead", 0)
        if not lead or path.is_reset(step):
            return RestorePlan(path.step, "snapshot", step, driver=name)
        earlier = _earlier(path, step, lead)
        if earlier is not None and path.may_load(earlier, trust):
            return RestorePlan(path.step, "snapshot", step, earlier, driver=name)
    return None


def _earlier(path: RecordedPath, step: int, lead: int) -> int | None:
    """Return the step of the newest snapshot ``lead`` steps before another, or at a reset."""
    for earlier in path.attached(SNAPSHOT, step - 1):
        if not path.is_own(earlier, path.attachment(earlier, SNAPSHOT)):
            continue
        if earlier <= step - lead or path.is_reset(earlier):
            return earlier
    return None


def settled(paths: Sequence[RecordedPath], trust: Trust, *, makes: bool = False) -> Trust:
    """Return the trust for other processes, which cannot ask; ask here if that is needed.

    Args:
        paths: the paths to the states that they will restore.
        trust: see ``restore``.
        makes: they make the environments too.

    Raises:
        Untrusted: making the environment of a path is not permitted.
    """
    if not callable(trust):
        return trust
    answers: list[bool] = []

    def asked() -> bool:
        answers.append(trust())
        return answers[-1]

    for path in paths:
        if makes:
            path.check_make(asked)
        from_snapshot(path, asked, path.step)
    return True if any(answers) else None


def _nothing(path: RecordedPath, trust: Trust) -> InvalidInput:
    short = path.oid.short()
    for step in path.attached(SNAPSHOT, path.step):
        if not path.may_load(step, trust):
            return Untrusted(
                f"state '{short}' can only be restored by loading a pickle, which runs code of "
                "whoever recorded it: trust what is in this repository with 'simgit trust'",
                oid=path.oid,
            )
    if path.is_live:
        return InvalidInput(
            f"cannot restore state '{short}': it has no snapshot, and is not re-executed (live)",
            oid=path.oid,
        )
    return InvalidInput(
        f"cannot restore state '{short}': no state before it has a snapshot, and its first "
        "reset had no seed",
        oid=path.oid,
    )


# --- executing a plan -----------------------------------------------------------------------------


def execute(
    path: RecordedPath, env: Any, plan: RestorePlan, progress: Progress | None = None
) -> Reexecution:
    """Put an environment into a state as planned; return the re-execution, which can continue.

    Raises:
        Divergence: it does not repeat the recorded steps.
    """
    replay = begin(path, env, plan, progress)
    first = plan.start + (plan.how == "snapshot")
    replay.replay(path.trajectory[first:], seed=plan.seed)
    return replay


def begin(
    path: RecordedPath, env: Any, plan: RestorePlan, progress: Progress | None = None
) -> Reexecution:
    """Put an environment where a plan begins to compare; return the re-execution from there."""
    replay = Reexecution(
        env, reseeds=path.reseeds, total=plan.cost, progress=progress, ignore=path.ignored
    )
    if plan.how == "creation":
        path.put_back_start(env)
    elif plan.how == "episode":
        try:
            path.put_back_start(env)  # what a script draws from is where creation would leave it
            path.put_back_generators(env, plan.start)
        except Exception as error:  # an attachment is whatever someone made it
            raise raised(plan.start, error) from error
    if plan.how != "snapshot":
        return replay
    assert plan.driver is not None
    driver = drivers.serving(env, plan.driver)
    if plan.lead is not None:
        _put_back(path, env, driver, plan.lead)
        replay.replay(path.trajectory[plan.lead + 1 : plan.start + 1], compare=False)
    _put_back(path, env, driver, plan.start)
    return replay


def _put_back(path: RecordedPath, env: Any, driver: drivers.Driver, step: int) -> None:
    data = path.snapshot(step)
    try:
        driver.restore(env, data)
        path.put_back_torch(data)
    except SimgitError:
        raise
    except Exception as error:  # of the environment's methods, or of a class in a pickle
        raise raised(step, error) from error


def _warn_of_start(path: RecordedPath) -> None:
    """Warn if the seed of another run may have replaced that of a state's, as it once could."""
    made, seed = path.creation()
    reset = path.trajectory[made].reset or {}
    if seed is None or reset.get("seed") is not None or at(path.sessions, made) is not None:
        return
    runs = map(path.repo.runs.get, path.repo.contains(path.trajectory[made].oid))
    begun = [each.name for each in runs if each and not each.branch_point and not noted_in(each)]
    if len(begun) > 1:
        warn(
            f"state '{path.oid.short()}' follows a reset without a seed that runs "
            f"'{begun[0]}' and '{begun[1]}' share: one of their seeds was kept, and it may "
            "continue otherwise than recorded",
            Unverified,
        )


def _warn_of_process(path: RecordedPath) -> None:
    """Warn if the run of a state is live, depends on the process, or is not deterministic."""
    if path.is_live:
        warn(
            f"state '{path.oid.short()}' is of a live run: its trace and counts are restored, and "
            "what follows may be otherwise than recorded",
            Unverified,
        )
        return
    verdict = verdict_of(path.recorded_in)
    known = {BY_PROCESS: "depends on the process", DIVERGES: "is not deterministic"}
    if verdict is not None and verdict.result in known:
        warn(
            f"state '{path.oid.short()}' is of a run that {known[verdict.result]}: it may continue "
            "otherwise than recorded",
            Unverified,
        )


def _warn_of_wrappers(path: RecordedPath) -> None:
    """Warn if the spec lacks a wrapper, and no verdict says that the run repeats without it."""
    missing = noted(path.recorded_in, LEFT_OUT, list, tuple)
    if missing and not _is_judged(path):
        warn(
            f"state '{path.oid.short()}' is restored without '{visible(str(missing[0]))}': a "
            "wrapper that has no step or reset of its own is not recorded; if it changes the "
            "environment when it is made, give yours with 'env='",
            Unverified,
        )


def warn_of_changes(repo: Repository, path: RecordedPath) -> None:
    """Warn if packages have other versions than when a state was recorded."""
    recorded = noted(path.recorded_in, "provenance", dict) or {}
    recorded = recorded.get("versions")
    if not isinstance(recorded, dict):
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
        warn(message, EnvironmentChanged)


def step_seconds(repo: Repository, revision: str | Oid) -> float | None:
    """Return the seconds of a step when a run was recorded, None if unknown."""
    found: float | None = noted(runs_of(repo, repo.resolve(revision)), STEP_SECONDS, int, float)
    return found


__all__ = ["EnvironmentChanged", "NotFound", "RestorePlan", "Untrusted", "plan", "restore"]
