"""The permission to execute code that a repository names, and what needs none.

The spec in a root state names an environment, wrappers, and their arguments. It may come from a
stranger: to import its module, or to construct its class with his arguments, is to run his code.
Without trust only environments are made that are registered already, with plain arguments.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any, Final

import gymnasium
import numpy as np

from simgit.errors import InvalidInput, Untrusted
from simgit.gym.spec.entry_points import PACKAGES, entry_text
from simgit.kube.task.catalogue import is_content
from simgit.objects.oid import Oid
from simgit.repository import Repository

Trust = bool | Callable[[], bool] | None
"""None: what the user's trust in the repository says; a function: is asked where that says no."""
LARGEST: Final = 100_000
"""The greatest number, and number of items, in a plain argument."""
SECONDS: Final = 60.0
"""The time that the constructor of an untrusted spec may take."""
_LONGEST: Final = 64
_SIMKUBE: Final = "simgit/SimKube-v0"


class Permit:
    """The permission to execute what one object of a repository names."""

    def __init__(self, repo: Repository, oid: Oid | None, trust: Trust = None) -> None:
        """Note what to ask for: ``oid`` is the spec, or the binding of a snapshot."""
        self._repo = repo
        self._oid = oid
        self._trust = trust

    @property
    def is_given(self) -> bool:
        """True if there is trust already; nobody is asked."""
        return self._trust is True or (
            self._trust is not False and self._repo.is_trusted(self._oid)
        )

    def __call__(self) -> bool:
        """Return True if there is trust, or the function that was given for it says so."""
        return self.is_given or (callable(self._trust) and bool(self._trust()))


def check(data: Mapping[str, Any], permit: Permit | bool) -> bool:
    """Check that an environment may be made from its spec; return True if its recorder is trusted.

    Raises:
        InvalidInput: the spec is malformed.
        Untrusted: it may not.
    """
    check_form(data)
    given = permit if isinstance(permit, bool) else permit.is_given
    reason = None if given else why_unsafe(data)
    if reason is not None and (isinstance(permit, bool) or not permit()):
        raise refusal(reason)
    return given or reason is not None


def check_form(data: Mapping[str, Any]) -> None:
    """Check that a spec has the parts that it is made from; it may be of any program.

    Raises:
        InvalidInput: it is malformed.
    """
    environment, wrappers = data.get("environment"), data.get("wrappers", ())
    if not (
        _has_form(environment, "id")
        and isinstance(wrappers, (list, tuple))
        and all(_has_form(each, "entry_point") for each in wrappers)
    ):
        raise InvalidInput("malformed spec: it does not describe an environment")


def _has_form(part: Any, *needed: str) -> bool:
    """Return True for a map with texts for its names and a map for its arguments."""
    if not isinstance(part, Mapping) or not isinstance(part.get("kwargs"), (Mapping, NoneType)):
        return False
    names = {key: part.get(key) for key in ("id", "entry_point", "name")}
    is_named = any(names[key] is not None for key in (*needed, "entry_point"))
    return is_named and all(isinstance(each, (str, NoneType)) for each in names.values())


def refusal(reason: str) -> Untrusted:
    """Return the error for what would run a stranger's code."""
    return Untrusted(
        f"{reason}, and this repository is not trusted to name code: pass an environment with "
        "env=, or trust what is in it with 'simgit trust'"
    )


def why_unsafe(data: Mapping[str, Any]) -> str | None:
    """Return why making an environment from a spec needs trust, None if it needs none."""
    described = data["environment"]
    name, entry = described.get("id"), described.get("entry_point")
    if not _is_known(name, entry):
        return f"environment '{name or entry}' is not registered here"
    if name == _SIMKUBE and (described.get("kwargs") or {}).get("cluster") is not None:
        return f"environment '{name}' runs on a live cluster"
    if not are_plain(described.get("kwargs"), name):
        return f"environment '{name or entry}' was made with arguments that may name files"
    for each in data.get("wrappers", ()):
        if not _is_of_package(each["entry_point"]):
            return f"wrapper '{each['entry_point']}' is not Gymnasium's"
        if not are_plain(each.get("kwargs")):
            return f"wrapper '{each['entry_point']}' was made with arguments that may name files"
    return None


def are_plain(arguments: Mapping[str, Any] | None, name: str | None = None) -> bool:
    """Return True if arguments are small numbers and words, which name no file or module.

    SimKube checks its own; only its traces may be files, which then are not read.
    """
    if arguments is None:
        return True
    if name != _SIMKUBE:
        return _is_plain(dict(arguments))
    trace = arguments.get("trace")
    rest = {key: value for key, value in arguments.items() if key != "trace"}
    is_safe = trace is None or is_content(trace) or (isinstance(trace, str) and _is_word(trace))
    return is_safe and _is_plain(rest, with_text=True)


def _is_known(name: Any, entry: Any) -> bool:
    """Return True if an environment is registered under this id with this entry point.

    An installed package has done that, or the user's program. What was made without an id has to
    be a class of a known package.
    """
    if name is None:
        return _is_of_package(entry)
    found = gymnasium.registry.get(name)
    if found is None:
        return False
    is_open = entry is None or "<" in entry or entry.startswith("__main__:")
    return is_open or entry_text(found.entry_point) == entry


def _is_of_package(entry: str) -> bool:
    parts = entry.partition(":")[0].split(".")
    return parts[0] in PACKAGES and "__main__" not in parts  # which is a program


def _is_plain(value: Any, with_text: bool = False) -> bool:
    """Return True for numbers, words, and not too many of them."""
    waiting, count = [value], 0
    while waiting:
        each = waiting.pop()
        count += 1
        if isinstance(each, dict):
            waiting += [*each, *each.values()]
        elif isinstance(each, (list, tuple)):
            waiting += each
        elif isinstance(each, np.ndarray):
            count += each.size
        elif isinstance(each, str):
            if not (with_text or _is_word(each)):
                return False
        elif isinstance(each, (int, np.integer)):
            if abs(int(each)) > LARGEST:
                return False
        elif each is not None and not isinstance(each, (float, complex, np.generic)):
            return False
        if count > LARGEST:
            return False
    return True


def _is_word(text: str) -> bool:
    """Return True for a text that no path or module is written as, and that no file has."""
    if len(text) > _LONGEST or text[:1] in (".", "~") or not set("/\\:").isdisjoint(text):
        return False
    return text.isprintable() and not Path(text or "x").exists()


@contextmanager
def time_limit(what: str, seconds: float = SECONDS) -> Iterator[None]:
    """Interrupt what takes longer, in the main thread of a POSIX system; elsewhere nothing does.

    Raises:
        InvalidInput: it took longer.
    """
    is_possible = (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    )
    if not is_possible:
        yield
        return

    def late(number: int, frame: Any) -> None:
        raise InvalidInput(f"{what} takes more than {seconds:g} s to make: stopped")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
