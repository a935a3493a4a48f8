"""Checking a store, and repairing what can be repaired."""

from __future__ import annotations

from simgit.maintenance.fsck.check import Fsck, Progress
from simgit.maintenance.fsck.repair import Repaired, repair
from simgit.maintenance.fsck.report import FsckReport, Problem, Sample

__all__ = ["Repaired", "repair", "Fsck", "FsckReport", "Problem", "Progress", "Sample"]
