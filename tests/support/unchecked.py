"""Recordings without the process that checks them, for tests that are not about verdicts.

A ``conftest`` imports the fixture; a test that is about verdicts asks for ``checked``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


@pytest.fixture
def checked() -> None:
    """Let recordings be checked."""


@pytest.fixture(autouse=True)
def unchecked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no process for the self-check, and try no snapshots in ``verify``."""
    if "checked" in request.fixturenames:
        return
    from simgit.gym.recording.selfcheck import SelfCheck
    from simgit.gym.restoring import verify
    from simgit.gym.restoring.run_notes import EXACT, Verdict

    def start(self: SelfCheck, repo: Any, runs: Sequence[str]) -> dict[str, Verdict]:
        self.is_waiting = False
        return dict.fromkeys(runs, Verdict(EXACT))  # which vouches for no snapshot

    monkeypatch.setattr(SelfCheck, "start", start)
    monkeypatch.setattr(verify, "SNAPSHOTS", 0)


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let recordings take torch as not loaded, whatever other tests loaded: checks load it too."""
    from simgit.gym.drivers import randomness
    from simgit.gym.restoring import check_process

    monkeypatch.setattr(randomness, "_loaded_torch", lambda: None)
    monkeypatch.setattr(check_process, "_SLOW", ())
