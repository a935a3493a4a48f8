"""Where the tests find what they read."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

TRACES = ROOT / "traces"
GOLDEN = ROOT / "tests" / "golden"

RECORDED = ROOT.parent / "shared" / "simkube"
"""Traces and outcomes of real clusters; the tests that need them are skipped without."""

REAL_TRACES = RECORDED / "traces"
