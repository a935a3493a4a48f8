"""What all tests of a process share: a module that leaves it changed breaks others, or hides them.

Which tests share a process, and in which order, is another each time.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

REGISTRIES: Final = {
    "simgit.kube.task.actions": "ACTIONS", "simgit.kube.task.reward": "REWARDS",
    "simgit.kube.task.vectors": "VECTORS", "simgit.kube.task.scenarios": "SCENARIOS",
}  # fmt: skip
SIGNALS: Final = (
    signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPIPE, signal.SIGXFSZ
)  # fmt: skip


def shared() -> dict[str, Any]:
    """Return what is shared now, by name; of modules that are not imported nothing."""
    found: dict[str, Any] = {f"environ {name}": value for name, value in os.environ.items()}
    found.pop("environ PYTEST_CURRENT_TEST", None)
    found["directory"] = Path.cwd()
    found.update({f"handler of {each.name}": signal.getsignal(each) for each in SIGNALS})
    if "gymnasium" in sys.modules:
        registry = sys.modules["gymnasium"].registry
        found.update({f"environment {name}": spec for name, spec in registry.items()})
    for module, name in REGISTRIES.items():
        if module in sys.modules:
            registry = getattr(sys.modules[module], name)
            found.update({f"{name} {each}": registry.get(each) for each in registry})
    if "simgit.gym.drivers.choose" in sys.modules:
        engines = sys.modules["simgit.gym.drivers.choose"]._registered
        found.update({f"engine {each!r}": each for each in engines})
    return found


def differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what is gone, is another, or was added and is of tests.

    What a library adds when it is imported stays; so does what simgit's own modules register.
    """
    for name in before:
        if name not in after:
            yield f"{name} is gone"
        elif before[name] is not after[name] and before[name] != after[name]:
            yield f"{name} is another"
    for name in after.keys() - before.keys():
        kind, _, rest = name.partition(" ")
        entry = getattr(after[name], "entry_point", after[name])
        module = entry if isinstance(entry, str) else getattr(entry, "__module__", "")
        if kind == "environ":
            is_of_tests = rest.startswith("SIMGIT_")
        elif kind in ("environment", "engine", *REGISTRIES.values()):
            is_of_tests = module.startswith("tests.")
        else:
            is_of_tests = False
        if is_of_tests:
            yield f"{name} was added"
