"""Bundles: states with all that they lead to, and refs, in one file. See docs/bundle-format.md."""

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
