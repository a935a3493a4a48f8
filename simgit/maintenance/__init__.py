"""Maintenance: removing what nothing needs, joining what is small, giving back the space."""

from __future__ import annotations

from simgit.maintenance.collect import GcOptions, GcReport, collect, dry_run, gc, window
from simgit.maintenance.consolidation import Progress
from simgit.maintenance.lost import Lost, lost
from simgit.maintenance.plan import Window
from simgit.maintenance.retention import Rule, parse_rules
from simgit.maintenance.stats import Part, Stats, stats
from simgit.maintenance.sweep import Removed
from simgit.sizes import Size

__all__ = [
    "DAY",
    "GcOptions",
    "GcReport",
    "Lost",
    "Progress",
    "Removed",
    "Part",
    "Size",
    "Stats",
    "stats",
    "Rule",
    "parse_rules",
    "Window",
    "collect",
    "dry_run",
    "gc",
    "lost",
    "window",
]
