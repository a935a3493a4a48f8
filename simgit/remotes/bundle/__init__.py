"""Bundles: states, all objects reachable from them, and refs in a file: docs/bundle-format.md.

- ``creation``, ``select``: writing a bundle, and what goes into it.
- ``loading``, ``objects``, ``import_refs``: importing states, objects and refs.
- ``decoding``, ``worker``: decoding states in several processes.
- ``verification``: checking a bundle without a repository.
- ``records``, ``manifest``, ``states``, ``pieces``, ``limits``, ``files``: the format.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simgit.remotes.bundle.creation import BundleInfo, create, create_of_states
    from simgit.remotes.bundle.loading import Imported, ImportedRef, load
    from simgit.remotes.bundle.manifest import Manifest
    from simgit.remotes.bundle.records import MAX_OBJECT, Progress
    from simgit.remotes.bundle.verification import Verified, read_manifest, verify

__all__ = [
    "MAX_OBJECT",
    "BundleInfo", "Imported", "Manifest", "ImportedRef", "Progress", "Verified",
    "create", "create_of_states", "load", "read_manifest", "verify",
]  # fmt: skip

_LAZY = {
    "creation": ("BundleInfo", "create", "create_of_states"),
    "loading": ("Imported", "ImportedRef", "load"),
    "manifest": ("Manifest",),
    "records": ("MAX_OBJECT", "Progress"),
    "verification": ("Verified", "read_manifest", "verify"),
}


def __getattr__(name: str) -> Any:
    # imported when it is first used: a worker needs only the format
    for module, names in _LAZY.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
