"""Check of a store, and its repair.

- ``check``: the whole check; ``states``, ``tables``, ``oplog``, ``findings``: its parts.
- ``report``: problems, and the commands that repair them.
- ``repair``: the whole repair; ``repair_lines``, ``repair_refs``, ``donor``: its parts.
- ``quarantine``: the file that keeps replaced entries.
"""

from __future__ import annotations

from simgit.maintenance.fsck.check import Fsck, Progress
from simgit.maintenance.fsck.repair import Repaired, repair
from simgit.maintenance.fsck.report import FsckReport, Problem, Sample

__all__ = ["Repaired", "repair", "Fsck", "FsckReport", "Problem", "Progress", "Sample"]
