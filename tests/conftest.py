"""What all tests start from, however they are started."""

from __future__ import annotations

import os
import random
import signal

import pytest

from tests.support.examples import register_profiles

register_profiles()

# a shell's background job ignores Ctrl-C, and so would every process that a test starts and stops
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def seed() -> int:
    """A random seed, another one each time; pytest shows it when the test fails.

    SIMGIT_SEED repeats a run.
    """
    drawn = int(os.environ.get("SIMGIT_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"SIMGIT_SEED={drawn}")
    return drawn
