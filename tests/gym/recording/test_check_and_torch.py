"""The self-check loads torch, which a script has for its agent, only where that matters."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from simgit import Repository
from simgit.gym import Recorder
from simgit.gym.drivers import randomness
from simgit.gym.recording import selfcheck
from simgit.gym.restoring import check_process
from simgit.gym.restoring.check_process import NeedsTorch, apart
from simgit.recording.verdicts import Outcome
from tests.gym.recording import checked_envs
from tests.gym.recording.test_selfcheck import play
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("checked")


@pytest.fixture
def asked() -> Iterator[None]:
    """Let this process be one that was asked to check: its standard input stays open."""
    saved, (source, target) = os.dup(0), os.pipe()
    os.dup2(source, 0)
    yield
    os.dup2(saved, 0)
    for each in (saved, source, target):
        os.close(each)


@pytest.mark.skipif(not check_process._CAN_FORK, reason="the system has no forks")
@pytest.mark.usefixtures("asked")
def test_a_check_without_torch_counts_unless_it_fails_or_loads_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(randomness, "_missed", True)
    fine = Outcome(0, compared=3)

    def loading() -> Outcome:
        sys.modules["torch"] = ModuleType("torch")
        return fine

    def raising() -> Outcome:
        raise RuntimeError("torch is not there")

    assert apart(lambda: fine, 0, PATIENCE) == fine
    failed = [lambda: Outcome(0, 3, {"step": 4, "field": "reward"}), loading, raising]
    for check in failed:
        with pytest.raises(NeedsTorch):
            apart(check, 0, PATIENCE)
    monkeypatch.setattr(randomness, "_missed", False)  # nothing was left out
    for check in failed:
        apart(check, 0, PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "is_needed"),
    [
        (checked_envs.Counting, False),
        (checked_envs.OfTorch, True),
        (checked_envs.KnowsTorch, True),
    ],
)
def test_what_a_script_with_torch_recorded_is_exact(
    kind: type[checked_envs.Counting], is_needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(3)
    for name in ("PATIENCE", "REST"):
        monkeypatch.setattr(selfcheck, name, PATIENCE)
    monkeypatch.setattr("simgit.gym.recording.session.PATIENCE", PATIENCE)
    monkeypatch.setattr(check_process, "_needs_torch", False)
    repo = Repository.init(":memory:")
    play(Recorder(kind(), repo, snapshots=2, provenance=False))
    found = repo.runs["main"].metadata["verdict"]
    assert (found["result"], found["upto"], found["snapshots"]["checked"]) == ("exact", 10, 3)
    assert check_process._needs_torch is is_needed
