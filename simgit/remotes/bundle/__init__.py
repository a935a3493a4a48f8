"""Bundles: states, all objects reachable from them, and refs in a file: docs/bundle-format.md.

- ``creation``, ``select``: writing a bundle, and what goes into it.
- ``loading``, ``objects``, ``import_refs``: importing states, objects and refs.
- ``verification``: checking a bundle without a repository.
- ``records``, ``manifest``, ``states``, ``pieces``, ``limits``, ``files``: the format.
"""

from simgit.remotes.bundle.creation import BundleInfo, create
from simgit.remotes.bundle.loading import Imported, ImportedRef, load
from simgit.remotes.bundle.manifest import Manifest
from simgit.remotes.bundle.records import MAX_OBJECT, Progress
from simgit.remotes.bundle.verification import Verified, read_manifest, verify

__all__ = [
    "MAX_OBJECT",
    "BundleInfo", "Imported", "Manifest", "ImportedRef", "Progress", "Verified",
    "create", "load", "read_manifest", "verify",
]  # fmt: skip
