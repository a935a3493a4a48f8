"""A recorder that knows its simulator: it saves it, and puts it back where its run stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from secrets import token_hex
from time import perf_counter
from typing import Any, Final

from simgit.errors import Conflict, InvalidInput, StorageError, shown, warn
from simgit.objects.coerce import check_number, coerce
from simgit.objects.columns import ABSENT
from simgit.objects.oid import Oid
from simgit.odb.database import ObjectDatabase
from simgit.recording.catch_up import CatchUp
from simgit.recording.flush import FlushPolicy, RunWriter
from simgit.recording.recorder import RunRecorder
from simgit.recording.simulators.history import SNAPSHOT, SimulatorHistory, writable
from simgit.recording.simulators.hooks import SimulatorHooks, as_fields
from simgit.recording.simulators.replay import put_back
from simgit.recording.snapshot_schedule import SnapshotSchedule
from simgit.recording.states import coerce_reset
from simgit.refs.own_names import marked
from simgit.refs.sessions import at, note_of

AUTO: Final = "auto"


class SimulatorRecorder(RunRecorder):
    """A recorder of a simulator: ``reset`` and ``step`` move and record it, or ``append`` records.

    If the run has states, the simulator is put back. With ``advance`` it stands at the newest one.
    Without, it stands at a snapshot or a reset before it, and the next states that are appended
    are compared with the recorded ones until the newest is reached; then recording goes on.

    Attributes:
        simulator: the simulator, None before the first ``reset``; whoever makes it himself sets it.
        position: the number of states that the simulator has given; 0 for a new one.
    """

    def __init__(
        self,
        odb: ObjectDatabase,
        lane: RunWriter,
        policy: FlushPolicy,
        background: bool,
        hooks: SimulatorHooks,
        every: int | None,
    ) -> None:
        super().__init__(odb, lane, policy, background)
        self.simulator: Any = None
        self.position = 0
        self._hooks = hooks
        self._schedule = SnapshotSchedule(every)
        self._catch_up: CatchUp | None = None
        self._history: SimulatorHistory | None = None
        self._is_lost = False
        self._refused: str | None = None
        self._session: str | None = None
        """Its name; other runs that share states have snapshots of their own there."""
        self._before = perf_counter()

    def continue_from(self, history: SimulatorHistory, attach: Any) -> None:
        """Put the simulator back where the run stands.

        Args:
            history: the run's states.
            attach: attaches data to a state, as ``Repository.attach`` does.

        Raises:
            InvalidInput, Divergence: see ``put_back``.
        """
        replay = put_back(self._hooks, history, moves=False)
        self.simulator, self.position = replay.simulator, replay.position
        self._history = history
        self._session = at(history.sessions, len(history.states) - 1)
        compared = CatchUp(history.states, self.position - 1, history.ignored, attach)
        self._catch_up = None if compared.is_done else compared
        self._schedule.last = self.position

    @property
    def is_catching_up(self) -> bool:
        """True while appended states are compared with recorded ones, not stored."""
        return self._catch_up is not None

    @property
    def recorded_action(self) -> Any:
        """The action that was recorded next; None if none was, or nothing is recorded there."""
        if self._catch_up is None or self._history is None:
            return None
        return self._history.states[self.position].action

    def reset(self, seed: Any = None, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make a new simulator by ``rebuild``, record it as the start of an episode.

        Args:
            seed: the seed, an integer; ``rebuild`` is given it, now and whenever the state is
                restored.
            options: further arguments of ``rebuild``, under this name.

        Returns:
            What was recorded of it.

        Raises:
            InvalidInput: there is no ``rebuild``, or what a hook returned cannot be recorded.
            Divergence: while catching up, it gives something else than recorded.
        """
        self._check_open()
        mark = coerce_reset({"seed": seed, "options": options})
        given = writable(mark)

        def moved() -> None:
            self.simulator = self._hooks.rebuilt(given, self.simulator)

        return self._recorded(moved, reset=mark or True)

    def step(self, action: Any = None) -> dict[str, Any]:
        """Move the simulator by ``advance``, and record what it gives.

        Returns:
            What was recorded of it.

        Raises:
            InvalidInput: there is no ``advance``, no simulator yet, what a hook returned cannot be
                recorded, or that of an earlier step could not be and there was no reset since.
            Divergence: while catching up, it gives something else than recorded.
        """
        self._check_open()
        if self._hooks.advance is None:
            raise InvalidInput("a step needs advance=, or append the state", path="advance")
        if self.simulator is None:
            raise InvalidInput("there is no simulator yet: begin with reset()")
        if self._is_lost:
            raise InvalidInput(
                "the simulator has moved, and that is not recorded since a hook raised: begin with "
                "reset(), or open its recorder again"
            )
        if self._refused is not None:
            warn(
                f"the simulator raised {self._refused} of run '{self.run}': if that moved it, what "
                "follows does not repeat itself"
            )
        try:
            kept = coerce(action, "action")  # a copy: the simulator may change it
        except Exception:
            kept = self.simplifier.simplify(action, "action")
        return self._recorded(partial(self._hooks.advance, self.simulator, action), action=kept)

    def _recorded(self, move: Callable[[], Any], **given: Any) -> dict[str, Any]:
        """Move the simulator, record what it gives, and return that."""
        was_lost, self._is_lost = self._is_lost, True
        try:
            returned = move()
        except Exception as error:  # a move that it refuses, perhaps
            self._is_lost = was_lost
            self._refused = f"{type(error).__name__} at step {self.position}"
            raise
        seen = self._hooks.observed(self.simulator, returned)
        try:
            self.append(**given, **seen)
        except (Conflict, StorageError):  # it is buffered
            self._is_lost = False
            raise
        self._is_lost, self._refused = False, None
        return seen

    def append(
        self,
        observation: Any = None,
        action: Any = None,
        reward: Any = None,
        terminated: Any = None,
        truncated: Any = None,
        info: Any = None,
        *,
        time: Any = None,
        reset: Any = None,
        files: Oid | None = None,
        message: str | None = None,
        attachments: Mapping[str, Any] | None = None,
    ) -> None:
        """Buffer one state, or compare it with the recorded one; see ``RunRecorder.append``.

        Raises:
            InvalidInput: some value cannot be recorded, or ``save`` has no simulator.
            Divergence: while catching up, the state is not the recorded one.
            Conflict: an automatic flush met another writer.
        """
        fields = {
            "observation": observation, "action": action, "reward": reward,
            "terminated": terminated, "truncated": truncated, "info": info, "reset": reset,
            "time": time,
        }  # fmt: skip
        if self._catch_up is not None:
            self._check_open()
            self._catch_up.append(**as_fields(fields))
            self.position += 1
            if self._catch_up.is_done:
                self._catch_up = None
            return
        if self._hooks.save is not None and self.simulator is None:
            raise InvalidInput("save= has no simulator yet: set the recorder's 'simulator' first")
        try:
            super().append(**fields, files=files, message=message, attachments=attachments)
        except (Conflict, StorageError):  # it is buffered
            self.position += 1
            raise
        self.position += 1
        if self._hooks.save is not None:
            self._save(self._hooks.save, reset is not None and reset is not False)

    def attach(
        self, name: str, data: Any = ABSENT, *, path: str | PathLike[str] | None = None
    ) -> None:
        """Bind data to the state that the simulator stands at; see ``RunRecorder.attach``.

        Raises:
            NotFound, InvalidInput: see ``RunRecorder.attach``.
        """
        if self._catch_up is None:
            super().attach(name, data, path=path)
            return
        self._check_open()
        if not self.position:
            raise InvalidInput(f"cannot attach '{name}': append a state first", name=name)
        self._catch_up.attach(name, data, path=path)

    def _save(self, save: Any, reset: bool) -> None:
        """Take a snapshot of the simulator if one is due; the first state has one in any case."""
        schedule = self._schedule
        if self.position < schedule.next and not reset:
            return
        now = perf_counter()
        if schedule.is_timing:
            schedule.stepped(now - self._before)
        if self.position == 1 or schedule.is_due(self.position, reset):
            super().attach(SNAPSHOT, marked(save(self.simulator), self._begun_session()))
            schedule.took(self.position, perf_counter() - now)
        schedule.plan(self.position)
        self._before = perf_counter()

    def _begun_session(self) -> str:
        """Return the name of the session; a new one is noted with the run.

        It is a random one: what a simulator draws from may be neither in what it shows nor in what
        it saves.
        """
        if self._session is None:
            self._session = token_hex(8)
            run = None if self._history is None else self._history.run
            self.note(note_of({self.position - 1: self._session}, run))
        return self._session


def snapshot_interval(snapshots: Any) -> int | None:
    """Return the number of steps between two snapshots; None to derive it from their cost.

    Raises:
        InvalidInput: it is neither "auto" nor a positive number.
    """
    if isinstance(snapshots, str) and snapshots == AUTO:
        return None
    if isinstance(snapshots, (str, bool)) or snapshots is None:
        raise InvalidInput(f"snapshots must be 'auto' or a number of steps, got {shown(snapshots)}")
    check_number(snapshots, "snapshots", 1, whole=True)
    return int(snapshots)
