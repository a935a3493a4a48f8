"""Entry points of environments and wrappers as text, "module:name", as they are recorded."""

from __future__ import annotations

import sys
from typing import Any, Final

PACKAGES: Final = ("gymnasium", "simgit")
"""Packages whose environments need only their ids: they are registered wherever this runs."""
RECORDED_AS: Final = {
    "simgit.gym.envs.replay:ReplayEnv": "simgit.gym.replay:ReplayEnv",
    "simgit.gym.envs.simkube:SimKubeEnv": "simgit.gym.simkube:SimKubeEnv",
}
"""Environments that have moved since the format was frozen, with the entry points in oids."""


def entry_text(entry: Any) -> str | None:
    """Return an entry point as text: "module:name"."""
    if entry is None:
        return None
    if not isinstance(entry, str):
        name = getattr(entry, "__qualname__", type(entry).__qualname__)
        entry = f"{entry.__module__}:{name}"
    return public_path(entry)


def public_path(entry: str) -> str:
    """Return an entry point by the shortest module that exports it, which rarely moves."""
    module, _, name = entry.partition(":")
    thing = getattr(sys.modules.get(module), name, None)
    parts = module.split(".")
    for end in range(1, len(parts)):
        shorter = ".".join(parts[:end])
        if thing is not None and getattr(sys.modules.get(shorter), name, None) is thing:
            return f"{shorter}:{name}"
    return RECORDED_AS.get(entry, entry)
