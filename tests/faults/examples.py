"""The tests of Hypothesis with the seeds that no run of CI has; a unit is a folder of tests once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEEDS = 10


def folders() -> list[str]:
    """Return the folders whose tests draw what they try."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if "hypothesis" in text or "share" in text or "seed: int" in text:
            found.add(str(path.parent.relative_to(ROOT)))
    return sorted(found)


def unit(number: int, directory: Path) -> tuple[Counter[str], list[str]]:
    """Run the next folder's quick tests that the profile ``full`` does more of, each with more."""
    names = folders()
    name = names[number % len(names)]
    env = {key: value for key, value in os.environ.items() if key != "CI"}  # whose seeds are fixed
    command = [
        sys.executable, "-m", "pytest", *sorted(map(str, (ROOT / name).glob("test_*.py"))),
        "-m", "thorough and not slow", "--hypothesis-profile", "full",
        f"--hypothesis-seed={number}", f"--basetemp={directory / 'tests'}",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env={**env, "SIMGIT_SEED": str(number)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    failures = [] if done.returncode in (0, 5) else [f"{name}, {number}: {done.stdout[-3000:]}"]
    return Counter({"folders": 1}), failures
