"""Where the tests find what they read."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

TRACES = ROOT / "traces"
GOLDEN = ROOT / "tests" / "golden"

RECORDED = Path(os.environ.get("SIMGIT_SHARED", ROOT.parent / "shared")) / "simkube"
"""Traces and outcomes of real clusters; the tests that need them are skipped without."""

REAL_TRACES = RECORDED / "traces"
