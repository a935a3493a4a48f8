"""Golden runs: recorded runs in a file beside a simulator's tests, compared with what it does now.

The file is a bundle of tags ``golden/RUN``. Of its attachments only ``golden`` is read, plain data
that says how the runs were made; nothing in it is executed, and no environment is made from it.
docs/golden.md states its form.
"""

from __future__ import annotations

import io
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from simgit.errors import (
    Divergence,
    EnvironmentChanged,
    IntegrityError,
    InvalidInput,
    NotFound,
    plural,
    shown,
    visible,
)
from simgit.history.diff.arrays import compare_arrays
from simgit.history.diff.bits import ignoring
from simgit.history.diff.values import MISSING
from simgit.history.trajectory import Trajectory
from simgit.repository import Repository

PREFIX: Final = "golden/"
NOTE: Final = "golden"
"""The attachment that says how the runs were made; it is bound to the first run's newest state."""
NOW: Final = "now/"
MAX_OBJECT: Final = 64 << 20
_ENVIRONMENT, _STATES = "environment", "states"
_LFS: Final = b"version https://git-lfs"


class Golden:
    """A file of golden runs.

    Attributes:
        path: the file.
        title: what messages call it.
        update: record anew instead of comparing.
        done: what became of the file with ``update``: "recorded" or "unchanged"; else None.
    """

    def __init__(self, path: Path, *, title: str | None = None, update: bool = False) -> None:
        self.path = path
        self.title = str(path) if title is None else title
        self.update = update
        self.done: str | None = None

    def environment(
        self,
        make: Any,
        *,
        seeds: Sequence[int] = (0,),
        steps: int = 200,
        policy: Callable[[Any], Any] | None = None,
        ignore: Sequence[str] = (),
    ) -> None:
        """Re-execute the recorded actions in an environment, and compare each state.

        With ``update`` it is recorded: for each seed a seeded reset and a number of steps, with
        resets in between. A function that makes environments is called twice then, and the second
        one has to repeat the first.

        Args:
            make: an environment's id, a function that makes one, or an environment; it is closed.
            seeds: the seeds of the resets.
            steps: the actions after each of them.
            policy: returns the action for an observation; random actions if None.
            ignore: paths of fields that are not compared, such as ``info.seconds``.

        Raises:
            Divergence: a state differs; ``report`` has the lines that show it.
            NotFound: there is no such file.
            IntegrityError: it is damaged.
            InvalidInput: it is another file, or was recorded with other arguments.
        """
        seeds = [int(each) for each in seeds]
        asked = {"kind": _ENVIRONMENT, "seeds": seeds, "steps": steps}
        if not self.update:
            with closing(self._load()) as repo:
                self._check_note(_note(repo), asked)
                self._reexecute(repo, make, ignore)
            return
        with closing(Repository.init(":memory:")) as repo, _fixed_generators():
            used = _play(repo, make, seeds, steps, policy)
            if isinstance(make, (type, str)) or not hasattr(make, "step"):
                self._tag(repo, ["run"], asked)
                self._reexecute(repo, make, ignore, "does not repeat itself, nothing is recorded")
            self._update(repo, ["run"], asked | {"versions": used}, ignore)

    def compare(self, repo: Repository, *runs: str, ignore: Sequence[str] = ()) -> None:
        """Compare runs of a repository, all their states, with the recorded ones.

        Args:
            repo: the repository; it is not changed.
            runs: the names of the runs.
            ignore: paths of fields that are not compared.

        Raises:
            See ``environment``.
        """
        for run in runs:
            if run not in repo.runs or repo.runs[run].step is None:
                raise InvalidInput(f"run '{run}' has no states to compare")
        asked = {"kind": _STATES}
        with closing(Repository.init(":memory:") if self.update else self._load()) as kept:
            if self.update:
                _copy(repo, runs, kept)
                versions = {"versions": versions_of(_caller())}
                self._update(kept, runs, asked | versions, ignore)
            else:
                self._check_note(_note(kept), asked)
                self._check_states(kept, repo, runs, ignore)

    # --- comparing ---

    def _reexecute(
        self, repo: Repository, make: Any, ignore: Sequence[str], what: str = "differs"
    ) -> None:
        from simgit.gym.restoring.reexecute import Reexecution
        from simgit.gym.spec.spec import compare_spaces, describe_spaces

        states = repo.trajectory(f"{PREFIX}run")
        origin = repo.origin(f"{PREFIX}run")
        if states.has("reset.options") or not {"observation_space", "action_space"} <= {*origin}:
            raise InvalidInput(f"'{self.title}' was not recorded from an environment by this test")
        with _fixed_generators(), closing(_made(make)) as env:
            try:
                compare_spaces(describe_spaces(env), origin)
                Reexecution(env, ignore=ignore).replay(states)
            except Divergence as error:
                versions = _changed(_note(repo), versions_of(_module(env)))
                place = _Place.of(error)
                raise _difference(self.title, what, states, place, versions) from None
            except InvalidInput as error:
                raise InvalidInput(f"golden run '{self.title}' {what}: {error}") from error

    def _check_states(
        self, kept: Repository, repo: Repository, runs: Sequence[str], ignore: Sequence[str]
    ) -> None:
        """Compare the golden runs in a repository with runs of another one."""
        tags = {tag.removeprefix(PREFIX) for tag in kept.tags()}
        if tags != {*runs}:
            raise InvalidInput(
                f"'{self.title}' has the runs {shown(sorted(tags))}, the test has "
                f"{shown(sorted(runs))}"
            )
        _copy(repo, runs, kept, NOW)
        for run in runs:
            found = _first_change(kept, PREFIX + run, NOW + run, ignore)
            if found is not None:
                what = "differs" if len(runs) == 1 else f"differs in run '{run}'"
                versions = _changed(_note(kept), versions_of(_caller()))
                raise _difference(self.title, what, repo.trajectory(run), found, versions)

    # --- the file ---

    def _load(self) -> Repository:
        """Return a repository in memory with what the file has.

        Raises:
            NotFound, IntegrityError, InvalidInput: see ``environment``.
        """
        if not self.path.exists():
            raise NotFound(f"golden run '{self.title}' not found", path=self.path)
        if not self.path.is_file():
            raise InvalidInput(f"'{self.title}' is not a file")
        repo = Repository.init(":memory:")
        try:
            repo.import_bundle(self.path, max_object=MAX_OBJECT)
            tags = repo.tags()
            if not tags or repo.runs or not all(tag.startswith(PREFIX) for tag in tags):
                raise InvalidInput(f"'{self.title}' is a bundle, but not of golden runs")
        except IntegrityError as error:
            repo.close()
            with self.path.open("rb") as file:
                is_pointer = file.read(len(_LFS)) == _LFS
            hint = "; it is a pointer of Git LFS: fetch the file with 'git lfs pull'"
            raise IntegrityError(
                f"golden run '{self.title}' is damaged: {error}{hint if is_pointer else ''}",
                path=self.path,
            ) from None
        except NotFound:
            repo.close()
            raise InvalidInput(f"'{self.title}' is a part of other runs, not golden runs") from None
        except BaseException:
            repo.close()
            raise
        return repo

    def _check_note(self, note: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        for name, value in asked.items():
            if note.get(name) != value:
                raise InvalidInput(
                    f"'{self.title}' was recorded with {name} {shown(note.get(name))}, the test "
                    f"has {shown(value)}"
                )

    def _tag(self, repo: Repository, runs: Sequence[str], note: Mapping[str, Any]) -> list[str]:
        tags = [PREFIX + run for run in runs]
        for tag, run in zip(tags, runs, strict=True):
            repo.tag(tag, run, force=True)
        repo.attach(sorted(tags)[0], NOTE, dict(note))
        return tags

    def _update(
        self, repo: Repository, runs: Sequence[str], note: Mapping[str, Any], ignore: Sequence[str]
    ) -> None:
        """Write the file, unless the one that is there has the same states."""
        if self._has_same(repo, runs, note, ignore):
            self.done = "unchanged"
            return
        tags = self._tag(repo, runs, note)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        repo.create_bundle(self.path, tags, attachments=(NOTE,))
        self.done = "recorded"

    def _has_same(
        self, repo: Repository, runs: Sequence[str], note: Mapping[str, Any], ignore: Sequence[str]
    ) -> bool:
        """Return True if the file has these runs; other versions of packages do not matter."""
        try:
            with closing(self._load()) as kept:
                asked = {name: value for name, value in note.items() if name != "versions"}
                self._check_note(_note(kept), asked)
                self._check_states(kept, repo, runs, ignore)
        except (NotFound, IntegrityError, InvalidInput, Divergence):
            return False
        return True


def _copy(source: Repository, runs: Sequence[str], target: Repository, prefix: str = "") -> None:
    """Copy the states of runs, without attachments."""
    data = io.BytesIO()
    source.create_bundle(data, runs, attachments=())
    data.seek(0)
    target.import_bundle(data, prefix=prefix)


def _note(repo: Repository) -> dict[str, Any]:
    """Return how golden runs were made; every part that is used has its type."""
    first = min(repo.tags())
    note = repo.attachment(first, NOTE) if NOTE in repo.attachments(first) else None
    if not isinstance(note, dict) or not isinstance(note.get("versions", {}), dict):
        raise InvalidInput("the file does not say how its golden runs were made")
    return note


# --- playing -------------------------------------------------------------------------------------


def _play(
    repo: Repository,
    make: Any,
    seeds: Sequence[int],
    steps: int,
    policy: Callable[[Any], Any] | None,
) -> dict[str, str]:
    """Record an environment; return the versions of the packages that its code uses."""
    from simgit.gym.recording.recorder import Recorder

    env = Recorder(
        _made(make), repo, "run", snapshots=None, provenance=False, self_check=False,
        flush_seconds=None,
    )  # fmt: skip
    with closing(env):
        for seed in seeds:
            observation, _ = env.reset(seed=seed)
            env.action_space.seed(seed)
            ended = False
            for _ in range(steps):
                if ended:
                    observation, _ = env.reset()
                action = env.action_space.sample() if policy is None else policy(observation)
                observation, _, terminated, truncated, _ = env.step(action)
                ended = bool(terminated or truncated)
        return versions_of(_module(env))


def _made(make: Any) -> Any:
    if isinstance(make, str):
        from simgit.gym.tools.collect import make_environment

        return make_environment(make)
    is_made = hasattr(make, "step") and not isinstance(make, type)
    env = make() if callable(make) and not is_made else make
    if not all(hasattr(env, name) for name in ("reset", "step", "action_space")):
        raise InvalidInput(
            f"an environment, its id or a function that makes one is needed, got {shown(env)}"
        )
    return env


@contextmanager
def _fixed_generators() -> Iterator[None]:
    """Seed the global generators of Python, NumPy and (if it is loaded) torch; then restore them.

    Environments that draw from them repeat themselves then.
    """
    from simgit.gym.drivers import randomness

    before = randomness.capture_globals()
    random.seed(0)
    np.random.seed(0)
    if "torch" in before:
        randomness.seed_torch(0)
    try:
        yield
    finally:
        randomness.apply_globals(before)


# --- versions ------------------------------------------------------------------------------------


def _module(env: Any) -> Any:
    return sys.modules.get(type(env.unwrapped).__module__)


def _caller() -> Any:
    """Return the module that called this package: the test's."""
    frame = sys._getframe()
    own = ("simgit", "contextlib")
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] in own:
        frame = frame.f_back
    return sys.modules.get(str(frame.f_globals.get("__name__")))


def versions_of(module: Any) -> dict[str, str]:
    """Return the versions of Python, NumPy and the packages that a module imports.

    (Not of all that are loaded: that depends on which other tests ran before.)
    """
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    values = [] if module is None else [module, *vars(module).values()]
    names = (getattr(each, "__name__", None) for each in values if type(each) is type(sys))
    owners = (getattr(each, "__module__", None) for each in values)
    tops = {str(name).partition(".")[0] for name in (*names, *owners) if isinstance(name, str)}
    for top in sorted(({"numpy"} | tops) - {*sys.stdlib_module_names, "simgit", "pytest"}):
        try:
            found[top] = metadata.version(top)
        except metadata.PackageNotFoundError:
            continue
    return found


def _changed(note: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """Return the versions that are others now than those in a note."""
    was = note.get("versions", {})
    return [
        f"{name} {was.get(name, 'none')} → {now.get(name, 'none')}"
        for name in sorted({*was, *now} if was else (), key=str)
        if was.get(name) != now.get(name)
    ]


# --- differences ---------------------------------------------------------------------------------


class _Place(NamedTuple):
    """The first difference of two runs."""

    step: int
    field: str
    recorded: Any
    found: Any

    @classmethod
    def of(cls, error: Divergence) -> _Place:
        """Return the place of a divergence."""
        return cls(*(getattr(error, name) for name in cls._fields))


def _first_change(
    repo: Repository, recorded: str, found: str, ignore: Sequence[str]
) -> _Place | None:
    """Return the first difference of two histories, None if their states are equal."""
    diff = repo.diff_runs(recorded, found, whole=False)
    ignored = ignoring(ignore) if ignore else lambda path: False
    lengths = len(repo.trajectory(recorded)), len(repo.trajectory(found))
    if diff.first_step is not None:
        for step in range(diff.first_step, min(lengths)):
            changes = repo.diff_states(f"{recorded}@{step}", f"{found}@{step}").changes
            for change in changes:
                if not ignored(change.name):
                    return _Place(step, change.name, change.before, change.after)
    if lengths[0] != lengths[1]:
        return _Place(min(lengths), "number of states", *lengths)
    return None


def _difference(
    title: str, what: str, states: Trajectory, place: _Place, versions: Sequence[str]
) -> Divergence:
    """Return the error for the first difference, with the lines that show it."""
    step, field, recorded, found = place
    detail = None
    if isinstance(recorded, np.ndarray) and isinstance(found, (np.ndarray, np.generic)):
        field, recorded, found, detail = _first_element(field, recorded, np.asarray(found))
    before, after = ("absent" if each is MISSING else shown(each) for each in (recorded, found))
    lines = [
        f"golden run '{title}' {what}",
        f"  step      {step}{_where(states, step)}",
        f"  field     {field}{'' if detail is None else f' ({detail})'}",
        f"  before    {before}",
        f"  after     {after}",
    ]
    lines += [f"  versions  {', '.join(versions)}"] if versions else []
    return Divergence(
        f"golden run '{title}' {what} at step {step}: '{field}' was {before}, is {after}",
        step=step, field=field, recorded=recorded, found=found, report=tuple(map(visible, lines)),
    )  # fmt: skip


def _first_element(field: str, recorded: Any, found: Any) -> tuple[str, Any, Any, str | None]:
    """Return the first element that differs, and how many do; arrays of other shapes as they are.

    An environment may return another dtype than that of its space.
    """
    if found.shape == recorded.shape and found.dtype != recorded.dtype:
        with np.errstate(all="ignore"):
            found = found.astype(recorded.dtype)
    change = compare_arrays(recorded, found)
    if change is None or not change.first:
        return field, recorded, found, None
    at = change.first[0]
    detail = f"{change.different} of {plural(recorded.size, 'element')} differ"
    detail += "" if change.max_abs is None else f", by {change.max_abs:.6g} at most"
    name = f"{field}[{', '.join(map(str, at))}]" if at else field
    return name, recorded[at], found[at], detail


def _where(states: Trajectory, step: int) -> str:
    """Return the episode that a step is in, its seed, and the action that led to the step."""
    if step >= len(states):
        return ""
    starts = np.flatnonzero(states[: step + 1].episode_starts).tolist()
    told = []
    if starts:
        told += [f"episode {len(starts)}", f"step {step - starts[-1]} of it"]
        marks = (states[at].reset or {} for at in reversed(starts))
        seed = next((mark["seed"] for mark in marks if mark.get("seed") is not None), None)
        told += [] if seed is None else [f"seed {seed}"]
    action = states[step].action
    told += [] if action is None else [f"action {shown(action)}"]
    return f" ({', '.join(told)})" if told else ""


# --- bundles -------------------------------------------------------------------------------------


@contextmanager
def load_bundle(path: Path) -> Iterator[Repository]:
    """Yield a repository in memory with what a bundle has.

    Raises:
        IntegrityError: it is damaged.
        InvalidInput: it has no runs.
    """
    with closing(Repository.init(":memory:")) as repo:
        repo.import_bundle(path, max_object=MAX_OBJECT)
        if not repo.runs:
            raise InvalidInput(f"bundle '{path}' has no runs to re-execute")
        yield repo


def check_bundled(path: Path, run: str) -> None:
    """Re-execute a run of a bundle, whose environment has to be registered, and compare it.

    Raises:
        Divergence: a state differs; ``report`` has the lines that show it.
        InvalidInput: it was not recorded from an environment that is registered here.
    """
    from simgit.gym.restoring.verify import verify
    from simgit.gym.spec.permit import Untrusted
    from simgit.gym.spec.provenance import versions

    with load_bundle(path) as repo:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", EnvironmentChanged)
                found = verify(repo, run, trust=False, snapshots=0)
        except Untrusted:
            raise InvalidInput(
                f"the environment of '{run}' in '{path.name}' is not registered here: register it "
                "in conftest.py, or pass it to the fixture simgit_golden"
            ) from None
        if found.divergence is None:
            return
        noted = repo.runs[run].metadata.get("provenance", {})
        was = {name: noted.get("versions", {}).get(name) for name in versions()}
        changed = _changed({"versions": was}, versions())
        states, place = repo.trajectory(run), _Place.of(found.divergence)
        raise _difference(path.name, f"differs in run '{run}'", states, place, changed)
