"""Ctrl-C or SIGTERM wherever a step waits: it ends at once, and nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.support.interrupted import SITUATIONS
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

THEIRS = {
    "namespace terminates": ["virtual-default"], "lease is held": ["simgit"],
    "blocked by a dead one": ["sk-lease"],
}  # fmt: skip
"""What is not ours, and has to be there still."""
CASES = [(each, signal.SIGINT) for each in SITUATIONS] + [
    ("driver never starts", signal.SIGTERM), ("cleaning up", signal.SIGTERM),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("situation", "number"), CASES)
def test_a_step_that_is_interrupted_leaves_nothing(situation: str, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.interrupted", situation],
        cwd=ROOT, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n", process.communicate()
        process.send_signal(number)
        out, err = process.communicate("go on\n", timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert json.loads(out) == {"ended": "KeyboardInterrupt", "left": THEIRS.get(situation, [])}
