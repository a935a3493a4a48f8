"""A training can be watched, paused and stopped while it runs, started by a tracker or by hand."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from simgit import Repository, training
from simgit.errors import InvalidInput
from simgit.live import Stopped, Tracker, find
from tests.support.patience import PATIENCE

SETTINGS = {
    "environment.id": "CartPole-v1", "training.episodes": 8, "training.checkpoint": 2,
    "training.trials": 0,
}  # fmt: skip


@pytest.mark.slow
def test_a_training_that_is_stopped_and_restarted_is_the_undisturbed_one(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "r") as repo, Tracker(repo) as tracker:
        whole = tracker.start("train", "whole", config=SETTINGS, seed=1)
        assert whole.wait(PATIENCE) == "completed", whole.lines()[0]
        assert any("episode 8: return" in line for line in whole.lines()[0])
        one = tracker.start("train", "one", config=SETTINGS, seed=1)
        while (repo.runs["one"].episodes < 4) and one.phase != "ended":
            time.sleep(0.01)
        if one.phase != "ended":
            with pytest.raises(InvalidInput, match="reads its settings when it begins"):
                one.configure({"agent.lr": 0.5})
            assert one.stop(timeout=PATIENCE) == "stopped"
            assert repo.runs["one"].status == "paused"
            assert tracker.restart("one").wait(PATIENCE) == "completed"
        assert repo.resolve("one") == repo.resolve("whole")


@pytest.mark.slow
def test_a_training_by_hand_can_be_stopped_from_elsewhere(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "r") as repo:
        config = training.Config(episodes=10_000, trials=0)
        work = training.train(repo, "main", config, "CartPole-v1")

        def stop() -> None:
            with Repository.open(tmp_path / "r") as other:
                while "main" not in other.runs or other.runs["main"].oid is None:
                    time.sleep(0.01)
                one = find(other, "main")
                assert one.record.type == "train"
                assert one.status["progress"]["stage"] == "episodes"
                one.stop(timeout=60, by="me")

        thread = threading.Thread(target=stop)
        thread.start()
        work.env.flush()
        with pytest.raises(Stopped):
            work.finish(lambda _: work.env.flush())
        thread.join()
        assert repo.runs["main"].status == "paused"
        assert find(repo, "main").outcome == "stopped"
        again = training.resume(repo, "main", episodes=1 + repo.runs["main"].episodes)
        again.finish()
        assert repo.runs["main"].status == "completed"
