"""The hooks of a simulator: functions of the user's that make, move, look at, save and load it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, Final

from simgit.errors import InvalidInput, NotFound, near_or_known, shown
from simgit.odb.clock import with_time

_GIVEN: Final = ("observation", "reward", "terminated", "truncated", "info", "time")
"""What a hook may return to be recorded."""


@dataclass(frozen=True)
class SimulatorHooks:
    """Functions that make, move, look at, save and load a simulator; None for those it lacks.

    Attributes:
        rebuild: returns a new simulator for a reset; called with the ``seed`` and ``options`` that
            the reset's state has, as far as it has them.
        advance: moves a simulator by one step; called with it and the action (None without one).
            May return a mapping of what is recorded of the step, as ``observe`` does.
        observe: returns what is recorded of a simulator: a mapping with any of observation,
            reward, terminated, truncated, info and time. It must not change the simulator.
        save: returns the whole state of a simulator as plain data: numbers, texts, bytes, arrays,
            and dicts, lists and tuples of these.
        load: returns a simulator made from such data.
        restart: returns a simulator after a reset without a seed, which goes on with its own
            random numbers; called with it and the mark. Without it, ``rebuild`` is called.
    """

    rebuild: Callable[..., Any] | None = None
    advance: Callable[[Any, Any], Any] | None = None
    observe: Callable[[Any], Any] | None = None
    save: Callable[[Any], Any] | None = None
    load: Callable[[Any], Any] | None = None
    restart: Callable[[Any, Any], Any] | None = None

    def __post_init__(self) -> None:
        """Check the hooks.

        Raises:
            InvalidInput: one is no function, or another one is missing.
        """
        for each in fields(self):
            hook = getattr(self, each.name)
            if hook is not None and not callable(hook):
                raise InvalidInput(
                    f"{each.name} must be a function, got {shown(hook)}", path=each.name
                )
        if (self.save is None) != (self.load is None):
            missing, there = ("load", "save") if self.load is None else ("save", "load")
            raise InvalidInput(f"{there} needs {missing} too: pass {missing}=", path=missing)
        if self.rebuild is None and self.load is None:
            raise InvalidInput("a simulator is put back by rebuild=, or by save= and load=")

    def is_start(self, mark: Any) -> bool:
        """Return True if the mark of a reset says all that a simulator begins with."""
        seeded = isinstance(mark, Mapping) and mark.get("seed") is not None
        return self.restart is None or seeded

    def rebuilt(self, mark: Any, simulator: Any = None) -> Any:
        """Return a simulator for the mark of a reset: a new one, or the given one restarted.

        Raises:
            InvalidInput: there is no hook for it.
        """
        if self.restart is not None and simulator is not None and not self.is_start(mark):
            return self.restart(simulator, mark)
        if self.rebuild is None:
            raise InvalidInput("a reset needs rebuild=", path="rebuild")
        given = mark if isinstance(mark, Mapping) else {}
        return self.rebuild(**{key: value for key, value in given.items() if value is not None})

    def observed(self, simulator: Any, returned: Any = None) -> dict[str, Any]:
        """Return what is recorded of a simulator, as arguments of ``append``.

        Args:
            simulator: the simulator.
            returned: what ``advance`` returned.

        Raises:
            InvalidInput: a hook returned something else than a mapping, or an unknown field.
        """
        seen = None if self.observe is None else self.observe(simulator)
        found: dict[str, Any] = {}
        for name, part in (("observe", seen), ("advance", returned)):
            if part is None or (name == "advance" and not isinstance(part, Mapping)):
                continue
            if not isinstance(part, Mapping):
                raise InvalidInput(
                    f"{name} must return a mapping such as {{'observation': …}}, got {shown(part)}",
                    path=name,
                )
            for key in part:
                if key not in _GIVEN:
                    near = near_or_known(str(key), _GIVEN)
                    raise InvalidInput(
                        f"{name} returned the unknown field '{key}'{near}", path=name
                    )
            found |= part
        return found

    def names(self) -> dict[str, str] | None:
        """Return the hooks as "module:name"; None if one cannot be found in that way again."""
        found = {}
        for each in fields(self):
            hook = getattr(self, each.name)
            if hook is None:
                continue
            module, name = getattr(hook, "__module__", ""), getattr(hook, "__qualname__", "")
            if module in ("", "__main__") or _named(sys.modules.get(module), name) != hook:
                return None
            found[each.name] = f"{module}:{name}"
        return found

    @classmethod
    def named(cls, names: Mapping[str, Any]) -> SimulatorHooks:
        """Import the hooks that a run notes. This runs code: whoever noted them must be trusted.

        Raises:
            NotFound: one is not there.
            InvalidInput: what is noted are no hooks.
        """
        known = {each.name for each in fields(cls)}
        found = {}
        for hook, text in names.items():
            if hook not in known or not isinstance(text, str):
                raise InvalidInput(f"malformed hooks of a simulator: {shown(dict(names))}")
            module, _, name = text.partition(":")
            try:
                found[hook] = _named(import_module(module), name)
            except (ImportError, ValueError) as error:
                raise NotFound(
                    f"cannot import '{module}', which has the simulator's hooks: {error}; is its "
                    "directory in PYTHONPATH?",
                    name=module,
                ) from None
            if found[hook] is None:
                raise NotFound(f"module '{module}' has no '{name}', the hook {hook}", name=text)
        return cls(**found)


def _named(found: Any, name: str) -> Any:
    """Return what a dotted name leads to, None if to nothing."""
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def as_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of ``append`` with the time in the info."""
    found = dict(given)
    time = found.pop("time", None)
    if time is not None:
        found["info"] = with_time(found.get("info"), time)
    return found
