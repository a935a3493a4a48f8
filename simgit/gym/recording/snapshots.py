"""Taking snapshots of an environment while it is recorded, by the chosen driver."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from operator import index
from time import perf_counter as _clock
from typing import Any, Final, Protocol

import numpy as np

from simgit.errors import Conflict, InvalidInput, StorageError, shown
from simgit.gym.drivers import pack, select
from simgit.gym.restoring.reseeding import Seeds, mark
from simgit.recording.snapshot_schedule import NEVER, SnapshotSchedule

SNAPSHOT: Final = "snapshot"
"""The name of the attachment of a snapshot."""
Trigger = Callable[[int], bool]
Note = Callable[[Mapping[str, Any]], None]


class SnapshotTaker(Protocol):
    """The part of ``simgit.gym.drivers.Driver`` that takes snapshots."""

    name: str

    def snapshot(self, env: Any) -> Any:
        """Return the state of an environment as nested data, None if there is no snapshot."""


class Target(Protocol):
    """The recorder that attaches snapshots."""

    def attach(self, name: str, data: Any) -> None:
        """Attach data to the newest state."""


class Snapshots:
    """Takes snapshots when they are due.

    Before step ``next`` nothing is due.
    """

    def __init__(
        self,
        choice: str | int | SnapshotTaker | None,
        episode_trigger: Trigger | None,
        step_trigger: Trigger | None,
        driver: SnapshotTaker | None = None,
        *,
        at_ends: bool = False,
    ) -> None:
        """Take the user's choice, see ``Recorder``, and a driver if it is known already.

        ``at_ends`` also takes snapshots of an episode's last state, which is otherwise re-executed.

        Raises:
            InvalidInput: the choice is malformed.
        """
        triggered = episode_trigger is not None or step_trigger is not None
        choice = checked_choice(choice)
        self._driver = None if isinstance(choice, (str, int)) else choice
        self._known = driver
        self._at_ends = at_ends
        self._is_packed = self._driver is None and driver is None
        self._reseeds: Seeds = {}
        self.session: str | None = None
        self._taken: tuple[int, Any, float] | None = None
        """A snapshot that was taken before it could be attached: step, data, seconds."""
        self._is_on = choice is not None or triggered
        self._is_triggered = triggered
        self._episode_trigger = episode_trigger
        self._step_trigger = step_trigger
        self._note: Note = _ignore
        self._schedule = SnapshotSchedule(
            NEVER if triggered else choice if isinstance(choice, int) else None
        )
        self._first = not triggered
        self._second = NEVER
        self._begun = 0

    @property
    def next(self) -> int:
        """The first step at which something is due."""
        if not self._is_on:
            return self._schedule.next if self._schedule.is_timing else NEVER
        return -1 if self._step_trigger is not None else min(self._schedule.next, self._second)

    @property
    def next_start(self) -> int:
        """The first step at which something is due if an episode begins there."""
        if not self._is_on:
            return NEVER
        is_asked = self._first or self._is_triggered or self._second != NEVER
        if is_asked or self._driver is None or self._where() != "any":
            return -1
        return min(self._schedule.next, self._schedule.next_start)

    @property
    def is_of_ends(self) -> bool:
        """True if snapshots are taken of what a reset starts from; see ``before_reset``."""
        return self._is_on and self._where() == "end"

    @property
    def driver(self) -> SnapshotTaker | None:
        """The driver, None if no snapshots are taken."""
        return self._driver

    @property
    def step_seconds(self) -> float:
        """The median seconds of the timed steps, 0 if no step was timed."""
        return self._schedule.step_seconds

    def start(
        self, count: int, note: Note, seeds: Seeds | None = None, session: str | None = None
    ) -> None:
        """Begin to count from a step on.

        Args:
            count: the step.
            note: adds to the run's metadata.
            seeds: the reseedings on the way there, with which what is attached is marked.
            session: likewise, the session that continues there.
        """
        self._note, self._reseeds, self.session = note, seeds or {}, session
        self._schedule.last = count
        self._begun = max(0, count)

    def packed(self, data: Any) -> Any:
        """Return data in their stored form, marked with the reseedings on the way."""
        return mark(pack(data), self._reseeds, self.session)

    def _marked(self, data: Any) -> Any:
        # no method that is kept in a field: a circle would keep the recorder from ending at once
        is_used = self._is_packed or self._known is not None
        is_used = is_used or (isinstance(data, Mapping) and "driver" in data)
        return mark(data, self._reseeds, self.session) if is_used else data

    def start_over(self) -> None:
        """Take a snapshot at the next episode's start: earlier ones do not lead over a gap."""
        self._first = True

    def asks_for_generators(self, count: int) -> bool:
        """Return True if the generators of an unseeded reset should be noted, at a step.

        That is where only the root has a snapshot, and the newest reset from which later states can
        be re-executed is far.
        """
        has_none = self._driver is not None and self._where() == "root"
        return has_none and self._schedule.is_far(count - self._begun)

    def begun(self, count: int) -> None:
        """Take note of a reset from which later states can be re-executed."""
        self._begun = count

    def first(self, env: Any, count: int) -> Any:
        """Return the snapshot of a session's first state, None if there is none.

        ``after_reset`` attaches it, if it is due there.
        """
        self._choose(env)
        if not self._is_on:
            return None
        start = _clock()
        try:
            data = self._snapshot(env)
        except Exception as error:
            self._give_up(error)
            return None
        self._taken = count, data, _clock() - start
        return data

    def before_reset(self, env: Any, count: int, episode: int, target: Target) -> None:
        """Take a snapshot of what the next reset starts from, for drivers that need that."""
        if self._is_on and self._where() == "end" and not self._first:
            asked = self._episode_trigger is not None and self._episode_trigger(episode)
            if asked or self._schedule.is_due(count, False):
                self._take(env, count, target)

    def after_reset(self, env: Any, count: int, episode: int, target: Target) -> None:
        """Take a snapshot of an episode's start if one is due."""
        if not self._is_on:
            return
        self._choose(env)
        self._second = NEVER
        asked = self._episode_trigger is not None and self._episode_trigger(episode)
        asked = asked or (self._step_trigger is not None and self._step_trigger(count))
        where = self._where()
        due = asked or self._schedule.is_due(count, True)
        wanted = (self._first and where != "never") or (due and where == "any")
        if self._is_on and wanted:
            self._take(env, count, target)
        self._first, self._taken = False, None
        self._schedule.plan(count)

    def after_step(self, env: Any, count: int, seconds: float, ended: bool, target: Target) -> None:
        """Note the seconds of a step, and take a snapshot if one is due."""
        self._schedule.stepped(seconds)
        if self._is_on:
            self._choose(env)
            if self._is_on and self._where() == "any" and (self._at_ends or not ended):
                self._after_plain_step(env, count, target)
        self._schedule.plan(count)

    def take_now(self, env: Any, count: int, target: Target) -> None:
        """Take a snapshot of the newest state, if the driver can take one there."""
        if self._is_on and count > self._schedule.last:
            self._choose(env)
            if self._is_on and self._where() == "any":
                self._take(env, count, target)
                self._schedule.plan(count)

    def _after_plain_step(self, env: Any, count: int, target: Target) -> None:
        if count >= self._second:
            self._second = NEVER
            self._take(env, count, target)
        elif self._is_due(count):
            self._take(env, count, target)
            # a restore begins at this snapshot and goes on to the one that is taken then
            self._second = count + self._lead() if self._lead() else NEVER

    def _is_due(self, count: int) -> bool:
        if self._step_trigger is not None and self._step_trigger(count):
            return True
        return self._schedule.is_due(count, False)

    def _where(self) -> str:
        return str(getattr(self._driver, "where", "any"))

    def _lead(self) -> int:
        return int(getattr(self._driver, "lead", 0))

    def _choose(self, env: Any) -> None:
        if self._driver is not None or not self._is_on:
            return
        try:
            self._driver = self._known or select(env)
        except Exception as error:
            self._give_up(error)
            return
        self._is_on = self._where() != "never"
        self._schedule.together = 2 if self._lead() else 1

    def _take(self, env: Any, count: int, target: Target) -> None:
        start = _clock()
        taken, self._taken = self._taken, None
        try:
            if taken is not None and taken[0] == count:
                _, data, seconds = taken
                start -= seconds
            else:
                data = self._snapshot(env)
            if data is not None:
                target.attach(SNAPSHOT, self._marked(data))
        except (Conflict, StorageError):  # a verdict of earlier recording
            raise
        except Exception as error:
            self._give_up(error)
            return
        if data is not None:
            self._schedule.took(count, _clock() - start)

    def _snapshot(self, env: Any) -> Any:
        """Return a snapshot in its stored form, without marks; None if there is none."""
        assert self._driver is not None
        data = self._driver.snapshot(env)
        return pack(data) if self._is_packed and data is not None else data

    def _give_up(self, error: Exception) -> None:
        """Take no more snapshots: the script continues, and re-execution can restore the run."""
        self._is_on = False
        reason = f"{type(error).__name__}: {error}"
        name = getattr(self._driver, "name", "given" if self._driver else None)
        self._note({"snapshots": {"driver": name, "failed": reason}})
        warnings.warn(f"no more snapshots are taken: {reason}", stacklevel=5)


def _ignore(_: Mapping[str, Any]) -> None:
    pass


def checked_choice(choice: Any) -> Any:
    """Return a checked choice of snapshots, a number as an int.

    Raises:
        InvalidInput: the choice is malformed.
    """
    is_number = isinstance(choice, (int, np.integer)) and not isinstance(choice, bool)
    if is_number and choice > 0:
        return index(choice)
    is_auto = isinstance(choice, str) and choice == "auto"
    if choice is None or is_auto or callable(getattr(choice, "snapshot", None)):
        return choice
    raise InvalidInput(
        f"snapshots must be 'auto', a number of steps, None or a driver, got {shown(choice)}"
    )


def trigger_name(trigger: Trigger | str) -> str:
    """Return a trigger as "module:name"."""
    if isinstance(trigger, str):
        return trigger
    return f"{trigger.__module__}:{getattr(trigger, '__qualname__', type(trigger).__qualname__)}"


def load_trigger(trigger: Trigger | str | None) -> Trigger | None:
    """Return a trigger as a function; a name is imported.

    Raises:
        InvalidInput: the function does not exist.
    """
    if trigger is None:
        return None
    found: Any = _imported(trigger) if isinstance(trigger, str) else trigger
    if not callable(found):
        raise InvalidInput(f"a trigger must be a function or 'module:name', got {shown(trigger)}")
    return found  # type: ignore[no-any-return]


def _imported(name: str) -> Any:
    module, _, function = name.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInput(f"cannot import trigger '{name}' as 'module:name': {error}") from error
