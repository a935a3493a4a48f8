"""The recorded states that lead to a state: where the environment was made, where to restore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from simgit.errors import InvalidInput
from simgit.gym.drivers import layers, needs_trust, randomness, unpack
from simgit.gym.restoring.reseeding import Seeds, marked, reseeds, unmarked
from simgit.gym.restoring.run_notes import ignored, noted, runs_of
from simgit.gym.restoring.sessions import SESSION, Sessions, at, of_run, sessions
from simgit.gym.spec import spec as specs
from simgit.gym.spec.permit import Permit, Trust, are_plain, check, refusal
from simgit.history.trajectory import Trajectory
from simgit.objects.kinds import Spec
from simgit.objects.oid import Oid
from simgit.recording.attached_steps import attached_steps
from simgit.refs import attachments
from simgit.refs.names import REMOTES
from simgit.refs.own_names import OWN, own_name, session_of
from simgit.refs.revision import split_revision
from simgit.refs.runs import RunInfo
from simgit.repository import Repository

SNAPSHOT: Final = "snapshot"
GENERATORS: Final = "generators"
"""The attachment of an unseeded reset's state; it has the generators that the reset draws from."""
TORCH: Final = "torch_seed"
"""The key of a run's metadata for torch's seed, if torch was loaded while the run was recorded."""


class RecordedPath:
    """The recorded states that lead to a state.

    Attributes:
        repo: the repository.
        oid: the state's oid.
        run: the run in the revision, None for an oid.
        trajectory: the states, the last being the state itself.
        step: the state's step.
    """

    def __init__(self, repo: Repository, revision: str | Oid, run: str | None = None) -> None:
        """Find the states.

        Args:
            repo: the repository.
            revision: the state.
            run: the run whose history is meant, if the revision does not name one.

        Raises:
            NotFound: no such state.
        """
        self.repo = repo
        self.oid = repo.resolve(revision)
        self.run = run or run_named(repo, revision)
        self.trajectory: Trajectory = repo.trajectory(self.oid)
        self.step = len(self.trajectory) - 1
        self._by_run: dict[str, Sessions | None] = {}
        self.known: dict[str, list[int]] = {}
        """The steps that have an attachment, by its name, newest first, where they were given."""

    @property
    def origin(self) -> Oid | None:
        """The oid of the spec of the environment that the history began with."""
        origin: Oid | None = self.trajectory[0].origin
        return origin

    def make(self, trust: Trust, **changes: Any) -> Any:
        """Make the environment that the history began with; see ``simgit.gym.spec.spec.make``.

        Raises:
            Untrusted: making or resetting it would run code of whoever recorded it, or read files
                that he names.
        """
        return specs.make(self.spec, self.check_make(trust), **changes)

    def check_make(self, trust: Trust) -> bool:
        """Check that the environment may be made; return True if who recorded it is trusted.

        Raises:
            Untrusted: see ``make``.
        """
        permit = Permit(self.repo, self.origin, trust)
        is_trusted = check(self.spec, permit)
        if not is_trusted and not self._has_plain_resets() and not permit():
            raise refusal("environments were reset with options that may name files")
        return is_trusted

    def _has_plain_resets(self) -> bool:
        """Return True if the options of all resets are small numbers and words."""
        if not any(path[:2] == ("reset", "options") for path in self.trajectory.paths()):
            return True
        name = self.spec["environment"].get("id")
        resets = self.trajectory.present("reset").nonzero()[0].tolist()
        options = ((self.trajectory[step].reset or {}).get("options") for step in resets)
        return all(are_plain(each, name) for each in options if each is not None)

    def may_load(self, step: int, trust: Trust) -> bool:
        """Return True if the snapshot of a state is plain data, or its pickle may be loaded."""
        if not needs_trust(self.snapshot(step)):
            return True
        return Permit(self.repo, self.binding(step, SNAPSHOT), trust)()

    @cached_property
    def spec(self) -> Mapping[str, Any]:
        """The spec of the environment that the history began with.

        Raises:
            InvalidInput: the states were not recorded from an environment.
        """
        found = self.repo.object(self.origin) if self.origin is not None else None
        if not isinstance(found, Spec) or "environment" not in found.fields:
            raise InvalidInput(
                f"state '{self.oid.short()}' was not recorded from an environment: "
                "there is nothing to restore",
                oid=self.oid,
            )
        return found.fields

    @cached_property
    def is_live(self) -> bool:
        """True if the states were recorded on a live cluster: they are not re-executed."""
        return specs.is_live(self.spec)

    @cached_property
    def reseeds(self) -> Seeds:
        """The steps on the way to the state at which random generators were reseeded."""
        return reseeds(self.repo, self.oid, self.run, self.runs)

    @cached_property
    def sessions(self) -> Sessions:
        """The sessions on the way to the state, by the steps where they begin, if they are noted.

        Sessions that an earlier version recorded have no names, and are not among them.
        """
        return sessions(self.repo, self.oid, self.run, self._containing, self._sessions_of)

    @cached_property
    def runs(self) -> list[str]:
        """The names of the runs that contain the state, without those of other sessions."""
        if len(self._containing) < 2 or not self._is_shared:
            return self._containing
        each = ((name, self._sessions_of(name)) for name in self._containing)
        return [name for name, found in each if found is None or found == self.sessions]

    def _sessions_of(self, run: str) -> Sessions | None:
        if run not in self._by_run:
            self._by_run[run] = of_run(self.repo, run, self.oid)
        return self._by_run[run]

    @cached_property
    def _containing(self) -> list[str]:
        return self.repo.contains(self.oid)

    @property
    def _is_known(self) -> bool:
        """True if it is known which sessions are on the way to the state."""
        return bool(self.sessions or self.runs)

    @cached_property
    def _is_shared(self) -> bool:
        """True if other sessions begin where those of the path do."""
        with self.repo.odb.read() as txn:
            return any(
                attachments.has_others(
                    self.repo.odb, txn, self.trajectory[step].oid, self.sessions.get(step)
                )
                for step in self.sessions or [0]
            )

    @cached_property
    def recorded_in(self) -> list[RunInfo]:
        """The runs that recorded the state, and those they were branched off."""
        return runs_of(self.repo, self.oid, self.runs)

    @cached_property
    def ignored(self) -> list[str]:
        """The paths of fields that are not compared, as the runs' recorders were told."""
        return ignored(self.recorded_in)

    def is_own(self, step: int, stored: Any) -> bool:
        """Return True if a snapshot, or noted generators, of a state belong to this path.

        Another run, begun or reseeded otherwise, may have reached the same state: what its recorder
        attached holds the other generators, and says so. (What is not marked does not, or is older:
        then it is taken for that of the run with the fewest reseedings, if no other one begins with
        the same states.)
        """
        session = session_of(stored)
        says = (session is not None and self._is_known) or self._is_shared
        if says and session != at(self.sessions, step):
            return False
        before = {at: seed for at, seed in self.reseeds.items() if at < step}
        noted = marked(stored)
        if noted is not None or not before:
            return before == (noted or {})
        return before == reseeds(self.repo, self.trajectory[step].oid)

    def upto(self, step: int) -> RecordedPath:
        """Return the path to a state on the way, of the same sessions and reseedings."""
        found = RecordedPath(self.repo, self.trajectory[step].oid, self.run)
        found.sessions = {begun: each for begun, each in self.sessions.items() if begun <= step}
        found.reseeds = {before: seed for before, seed in self.reseeds.items() if before < step}
        return found

    def attached(self, name: str, upto: int, oldest: int = 0) -> Iterator[int]:
        """Return the steps up to ``upto`` whose states have an attachment, the newest first.

        Those before ``oldest`` are left out.
        """
        known = self.known.get(name)
        if known is not None:
            return (step for step in known if oldest <= step <= upto)
        own = {at: own_name(name, each) for at, each in self.sessions.items() if name in OWN}
        return attached_steps(self.repo.odb, self.trajectory, name, upto, oldest, own)

    def begun(self, upto: int, oldest: int = 0) -> Iterator[int]:
        """Return the steps up to ``upto`` where a session of this path begins, the newest first."""
        for step in self.attached(SESSION, upto, oldest):
            session = session_of(self.attachment(step, SESSION))
            if not self._is_known or session == self.sessions.get(step):
                yield step

    def attachment(self, step: int, name: str) -> Any:
        """Return an attachment of a state, that of this path's session if there are several."""
        return self.repo.attachment(self.trajectory[step].oid, self._name(step, name))

    def binding(self, step: int, name: str) -> Oid:
        """Return the oid of the binding of an attachment of a state."""
        with self.repo.odb.read() as txn:
            return attachments.binding(txn, self.trajectory[step].oid, self._name(step, name))

    def _name(self, step: int, name: str) -> str:
        session = at(self.sessions, step) if name in OWN else None
        if session is None:
            return name
        own = own_name(name, session)
        with self.repo.odb.read() as txn:
            return own if attachments.is_bound(txn, self.trajectory[step].oid, own) else name

    def snapshot(self, step: int) -> Any:
        """Return the snapshot attached to a state, unpacked."""
        return unpack(unmarked(self.attachment(step, SNAPSHOT)))

    def is_reset(self, step: int) -> bool:
        """Return True if a state is that of a reset."""
        return step <= self.step and self.trajectory[step].reset is not None

    def seeded_resets(self, after: int) -> list[int]:
        """Return the steps of the seeded resets after a step."""
        if not self.trajectory.has("reset.seed"):
            return []
        steps = self.trajectory.present("reset.seed").nonzero()[0]
        found: list[int] = steps[steps > after].tolist()
        return found

    def drawn_resets(self, after: int) -> Iterator[int]:
        """Yield the steps of the unseeded resets with noted generators, the newest first."""
        noted = filter(self.is_reset, self.attached(GENERATORS, self.step, after + 1))
        return (step for step in noted if self.is_own(step, self.attachment(step, GENERATORS)))

    def put_back_generators(self, env: Any, step: int) -> None:
        """Give an environment the generators that were noted before a reset, if they were."""
        if not list(self.attached(GENERATORS, step, step)):
            return
        stored = self.attachment(step, GENERATORS)
        if self.is_own(step, stored):
            randomness.apply_layers(layers(env), unpack(stored))

    def creation(self) -> tuple[int, int | None]:
        """Return the step of the reset of the new environment, and its seed.

        For a restored environment these are of the original one. The seed is None where no seed
        was given or noted.
        """
        for step in self.begun(self.step):
            if self.is_reset(step):
                return step, self._seed(step, self.attachment(step, SESSION))
        return 0, self._seed(0, {})

    def put_back_start(self, env: Any) -> None:
        """Give a new environment the generators that its first reset may draw from.

        They were noted before the reset of ``creation``.
        """
        step, _ = self.creation()
        session = self.attachment(step, SESSION) if step in self.begun(step, step) else {}
        if "random" in session:
            start = unpack(session["random"])
            randomness.apply_start(layers(env), start)
            self.put_back_torch(start)

    def put_back_torch(self, noted_before: Mapping[str, Any]) -> None:
        """Load torch with the recorded seed, if it was loaded only after some data were noted."""
        seed = noted(self.recorded_in, TORCH, int)
        if (
            "globals" in noted_before
            and "torch" not in noted_before["globals"]
            and seed is not None
        ):
            randomness.seed_torch(seed)

    def _seed(self, step: int, session: Any) -> int | None:
        reset = self.trajectory[step].reset or {}
        given = reset.get("seed")
        noted = session.get("seed") if isinstance(session, dict) else None
        return given if given is not None else noted


def path_to_last(repo: Repository, states: Trajectory, revision: str) -> RecordedPath:
    """Return the path to the newest of some states, with the run in their range."""
    left, dots, _ = revision.partition("..")
    run = run_named(repo, revision) or (run_named(repo, left) if dots and left else None)
    return RecordedPath(repo, states[len(states) - 1].oid, run)


def run_named(repo: Repository, revision: str | Oid) -> str | None:
    """Return the run that a revision leads through, None for an oid or a tag.

    ``HEAD`` leads through its run; that of a remote is named as ``remotes/origin/main``.
    """
    name = repo.trajectory(revision).name
    if name or isinstance(revision, Oid):
        return name or None
    base = split_revision(revision.rpartition("..")[2])[0].removeprefix(REMOTES)
    return REMOTES + base if base in repo.remote_runs() else None
