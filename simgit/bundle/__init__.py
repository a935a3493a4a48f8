"""Bundles: states with all that they lead to, and refs, in one file. See docs/bundle-format.md."""

from simgit.bundle.creation import BundleInfo, create
from simgit.bundle.loading import Imported, Outcome, load
from simgit.bundle.manifest import Manifest
from simgit.bundle.records import MAX_OBJECT, Progress
from simgit.bundle.verification import Verified, read_manifest, verify

__all__ = [
    "MAX_OBJECT",
    "BundleInfo", "Imported", "Manifest", "Outcome", "Progress", "Verified",
    "create", "load", "read_manifest", "verify",
]  # fmt: skip
