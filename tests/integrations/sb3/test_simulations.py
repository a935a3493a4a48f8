"""Learning can be watched, paused and stopped: by names with a tracker, and in a script."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from simgit import Repository

pytest.importorskip("stable_baselines3")

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from simgit.errors import Conflict, InvalidInput
from simgit.integrations.sb3 import SimgitCallback, record
from simgit.live import Tracker, find

pytestmark = pytest.mark.filterwarnings("ignore")
SETTINGS = {
    "environment.id": "CartPole-v1", "agent.n_steps": 64, "agent.batch_size": 32,
    "agent.n_epochs": 1, "training.total": 512, "training.every": 128,
}  # fmt: skip
PATIENCE = 240.0


def oids(repo: Repository, run: str) -> list[str]:
    return [each.oid.hex() for each in repo.trajectory(run)]


@pytest.mark.slow
def test_a_type_that_is_stopped_and_restarted_is_the_undisturbed_one(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "r") as repo, Tracker(repo, workers=2) as tracker:
        whole = tracker.start("sb3", "whole", config=SETTINGS, seed=1)
        one = tracker.start("sb3", "one", config=SETTINGS, seed=1)
        deadline = time.monotonic() + PATIENCE
        while repo.runs["one"].step is None and one.phase != "ended":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if one.phase != "ended":
            with pytest.raises((InvalidInput, Conflict)):
                one.configure({"agent.n_steps": 32})
            assert one.stop(timeout=60) in ("stopped", "completed"), one.lines()[0]
        if one.outcome == "stopped":
            assert repo.runs["one"].status == "paused"
            assert tracker.restart("one").wait(PATIENCE) == "completed", one.lines()[0]
        assert whole.wait(PATIENCE) == "completed", whole.lines()[0]
        assert repo.runs["whole"].step >= 512
        assert oids(repo, "one") == oids(repo, "whole")


@pytest.mark.slow
def test_learn_of_a_script_is_paused_and_stopped_from_elsewhere(tmp_path: Path) -> None:
    seen: list[object] = []

    def steer() -> None:
        with Repository.open(tmp_path / "r") as other:
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                try:
                    one = find(other, "ppo/0")
                    seen.append(one.pause(30))
                    break
                except Exception:
                    time.sleep(0.02)
            status = one.status
            seen.append((status["phase"], status["progress"]["stage"], one.record.type))
            seen.append(other.runs["ppo/0"].step)  # what it has is stored for who looks
            one.resume()
            one.stop(60)

    with Repository.init(tmp_path / "r") as repo:
        envs = make_vec_env("CartPole-v1", 2, seed=1, wrapper_class=record(repo, "ppo"))
        model = PPO("MlpPolicy", envs, n_steps=64, batch_size=32, seed=1, device="cpu")
        thread = threading.Thread(target=steer)
        thread.start()
        callback = SimgitCallback(128, controlled=True)
        model.learn(10**7, callback)  # ends, and nothing more
        thread.join()
        assert callback.is_stopped and find(repo, "ppo/0").outcome == "stopped"
        step, (phase, stage, kind), stored = seen
        assert (phase, stage, kind) == ("paused", "timesteps", "sb3")
        assert stored == step  # the step that it said is that of the run
        model.learn(64, reset_num_timesteps=False, callback=SimgitCallback(128))
        assert find(repo, "ppo/0").outcome == "stopped"  # without the switch it is none
        envs.close()
        assert len(find(repo, "ppo/0").usage) > 0
        why = r"sb3\.resume\(repo, 'ppo/0'\)"  # not 'simgit train --resume': it is a script's
        with Tracker(repo, workers=0) as tracker, pytest.raises(InvalidInput, match=why):
            tracker.restart("ppo/0")


@pytest.mark.slow
def test_listing_the_types_loads_no_library_of_learners() -> None:
    code = (
        "import sys; from simgit.live import types; assert 'sb3' in types(); "
        "import simgit.live.tracker, simgit; from simgit.live.views import type_records; "
        "found = {each['name']: each for each in type_records(simgit.Repository.init(':memory:'))}; "
        "assert found['sb3']['help'].startswith('Train an algorithm'), found; "
        "assert not {'stable_baselines3', 'torch'} & sys.modules.keys()"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=100).returncode == 0
