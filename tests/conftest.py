"""What all tests start from, however they are started."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest

from tests.support.examples import register_profiles, share
from tests.support.patience import PATIENCE
from tests.support.shared import differences, shared

register_profiles()

# no test knows the user's key and list of trusted repositories, or changes them
os.environ["SIMGIT_CONFIG_DIR"] = tempfile.mkdtemp(prefix="simgit-config-")
atexit.register(shutil.rmtree, os.environ["SIMGIT_CONFIG_DIR"], ignore_errors=True)
# where Stable-Baselines3 makes a folder for each training, which nobody removes
os.environ["SB3_LOGDIR"] = f"{os.environ['SIMGIT_CONFIG_DIR']}/sb3"

# a shell's background job ignores Ctrl-C, and so would every process that a test starts and stops
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def seed() -> int:
    """A random seed, another one each time; pytest shows it when the test fails.

    SIMGIT_SEED repeats a run. Where CI is set, it is always the same: a change lands or not for
    what is in it, and new seeds are tried by people, and by the campaigns of ``make faults``.
    """
    given = os.environ.get("SIMGIT_SEED") or ("1" if os.environ.get("CI") else None)
    drawn = int(given or random.SystemRandom().randrange(1 << 32))
    print(f"SIMGIT_SEED={drawn}")
    return drawn


@pytest.fixture(scope="module", autouse=True)
def what_all_tests_share_is_left_as_it_was() -> Iterator[None]:
    """Fail a module that leaves a registry, the environment or a handler of signals changed."""
    before = shared()
    yield
    assert not (changed := [*differences(before, shared())]), changed


@pytest.fixture(scope="session", autouse=True)
def closing_waits_for_checks() -> None:
    """Let closing a recorder wait for its checks, however busy the machine is."""
    if importlib.util.find_spec("gymnasium") is not None:
        from simgit.gym.recording import selfcheck, session

        session.PATIENCE = PATIENCE  # type: ignore[misc]
        selfcheck.REST = PATIENCE  # type: ignore[misc]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what ``make test`` leaves out, or does less of: what ``make test-long`` has to run."""
    for item in items:
        if (
            any(item.iter_markers("slow"))
            or getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
            or "seed" in getattr(item, "fixturenames", ())
            or getattr(getattr(item, "module", None), "share", None) is share
        ):
            item.add_marker("thorough")
    # first what takes long: in the end no worker is alone with it
    items.sort(key=lambda item: not any(item.iter_markers("slow")))


def pytest_collection_finish() -> None:
    """Leave what there is now to no collection again: it is much, and a second for each."""
    gc.collect()
    gc.freeze()
