"""Taking snapshots of an environment while it is recorded: when, by which driver, at what cost."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from operator import index
from time import perf_counter as _clock
from typing import Any, Final, Protocol

from simgit.errors import Conflict, InvalidInput, StorageError, shown
from simgit.gym.drivers import pack, select
from simgit.gym.recording.snapshot_schedule import NEVER, SnapshotSchedule

SNAPSHOT: Final = "snapshot"
"""The name of the attachment."""
Trigger = Callable[[int], bool]
Note = Callable[[Mapping[str, Any]], None]


class SnapshotTaker(Protocol):
    """What takes snapshots; see ``simgit.gym.drivers.Driver``, which says what the parts mean."""

    name: str

    def snapshot(self, env: Any) -> Any:
        """Return the state of an environment as nested data, None if it has none."""


class Target(Protocol):
    """The recorder that snapshots are given to."""

    def attach(self, name: str, data: Any) -> None:
        """Bind data to the newest state."""


class Snapshots:
    """Decides for each state whether a snapshot is taken, and takes it.

    ``next`` is the step from which on it has to be asked again.
    """

    def __init__(
        self,
        choice: str | int | SnapshotTaker | None,
        episode_trigger: Trigger | None,
        step_trigger: Trigger | None,
        driver: SnapshotTaker | None = None,
    ) -> None:
        """Take the user's choice; see ``Recorder``. ``driver`` is one that is known already.

        Raises:
            InvalidInput: there is no such choice.
        """
        triggered = episode_trigger is not None or step_trigger is not None
        choice = checked_choice(choice)
        self._driver = None if isinstance(choice, (str, int)) else choice
        self._known = driver
        self._form = pack if self._driver is None and driver is None else _as_it_is
        self._is_on = choice is not None or triggered
        self._episode_trigger = episode_trigger
        self._step_trigger = step_trigger
        self._note: Note = _ignore
        self._schedule = SnapshotSchedule(
            NEVER if triggered else choice if isinstance(choice, int) else None
        )
        self._first = not triggered
        self._second = NEVER

    @property
    def next(self) -> int:
        """The first step at which there is something to do."""
        if not self._is_on:
            return self._schedule.next if self._schedule.is_timing else NEVER
        return -1 if self._step_trigger is not None else min(self._schedule.next, self._second)

    @property
    def driver(self) -> SnapshotTaker | None:
        """What takes the snapshots, None if nothing does."""
        return self._driver

    @property
    def step_seconds(self) -> float:
        """What a step costs, as far as that was looked at."""
        return self._schedule.step_seconds

    def start(self, count: int, note: Note) -> None:
        """Begin to count from a step on; ``note`` adds to what is known of the run."""
        self._note = note
        self._schedule.last = count

    def start_over(self) -> None:
        """Take one at the next episode's start: nothing leads there from those before."""
        self._first = True

    def before_reset(self, env: Any, count: int, episode: int, target: Target) -> None:
        """Take a snapshot of what the next reset starts from, where that is what is needed."""
        if self._is_on and self._where() == "end" and not self._first:
            asked = self._episode_trigger is not None and self._episode_trigger(episode)
            if asked or self._schedule.is_due(count, False):
                self._take(env, count, target)

    def after_reset(self, env: Any, count: int, episode: int, target: Target) -> None:
        """Take a snapshot of an episode's start if it is time to."""
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
        self._first = False
        self._schedule.plan(count)

    def after_step(self, env: Any, count: int, seconds: float, ended: bool, target: Target) -> None:
        """Note what a step took, and take a snapshot if it is time to."""
        self._schedule.stepped(seconds)
        if self._is_on:
            self._choose(env)
            if self._is_on and self._where() == "any" and not ended:
                self._after_plain_step(env, count, target)
        self._schedule.plan(count)

    def _after_plain_step(self, env: Any, count: int, target: Target) -> None:
        if count >= self._second:
            self._second = NEVER
            self._take(env, count, target)
        elif self._is_due(count):
            self._take(env, count, target)
            # a restore goes to this snapshot, and from there on to the one that is taken then
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
        assert self._driver is not None
        start = _clock()
        try:
            data = self._driver.snapshot(env)
            if data is not None:
                target.attach(SNAPSHOT, self._form(data))
        except (Conflict, StorageError):  # of what was recorded before
            raise
        except Exception as error:
            self._give_up(error)
            return
        if data is not None:
            self._schedule.took(count, _clock() - start)

    def _give_up(self, error: Exception) -> None:
        """Take no more snapshots: the script goes on, re-execution can still restore the run."""
        self._is_on = False
        reason = f"{type(error).__name__}: {error}"
        name = getattr(self._driver, "name", "given" if self._driver else None)
        self._note({"snapshots": {"driver": name, "failed": reason}})
        warnings.warn(f"no snapshots are taken any more: {reason}", stacklevel=5)


def _as_it_is(data: Any) -> Any:
    return data


def _ignore(_: Mapping[str, Any]) -> None:
    pass


def checked_choice(choice: Any) -> Any:
    """Return a choice of snapshots, a number as an int.

    Raises:
        InvalidInput: there is no such choice.
    """
    if hasattr(choice, "__index__") and not isinstance(choice, bool) and choice > 0:
        return index(choice)
    if choice is None or choice == "auto" or callable(getattr(choice, "snapshot", None)):
        return choice
    raise InvalidInput(
        f"snapshots: {shown(choice)} is neither 'auto', a number of steps, None nor a driver"
    )


def trigger_name(trigger: Trigger | str) -> str:
    """Return a trigger as "module:name"."""
    if isinstance(trigger, str):
        return trigger
    return f"{trigger.__module__}:{getattr(trigger, '__qualname__', type(trigger).__qualname__)}"


def load_trigger(trigger: Trigger | str | None) -> Trigger | None:
    """Return the function that a trigger names, if it is a name.

    Raises:
        InvalidInput: there is no such function.
    """
    if trigger is None:
        return None
    found: Any = _imported(trigger) if isinstance(trigger, str) else trigger
    if not callable(found):
        raise InvalidInput(f"trigger {shown(trigger)} cannot be called: give a function")
    return found  # type: ignore[no-any-return]


def _imported(name: str) -> Any:
    module, _, function = name.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInput(f"trigger '{name}' is no 'module:name' here: {error}") from error
