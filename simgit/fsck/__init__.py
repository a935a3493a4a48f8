"""Checking a store, and repairing what can be repaired."""

from __future__ import annotations

from simgit.fsck.check import Fsck, Progress
from simgit.fsck.problems import FsckReport, Problem, Sample
from simgit.fsck.repair import Repaired, repair

__all__ = ["Repaired", "repair", "Fsck", "FsckReport", "Problem", "Progress", "Sample"]
