"""What has to hold beside every Gymnasium that pyproject.toml admits.

`make test-all` runs this with the newest one, `make test-gymnasium` with the oldest. It needs no other
package than Gymnasium, NumPy and pytest, and has a fresh process where the order of imports counts.
"""

from __future__ import annotations

import functools
import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from simgit import Conflict, NotFound, Repository
from simgit.gym import Lane, Recorder, VectorRecorder, judge, plan, restore, verify
from simgit.gym.spec import spaces
from simgit.gym.spec.spec import describe, make
from simgit.objects.codec import encode_value

pytestmark = pytest.mark.slow

ID = "simgit.gym:simgit/SimKube-v0"
TIP = "5f39f0e0afc7cf189f72f6b18ae1ef37"


def python(code: str) -> str:
    """Run code in a new process; return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def repo(tmp_path: Path) -> Any:
    with Repository.init(tmp_path) as made:
        yield made


def lane() -> Lane:
    return Lane(gymnasium.make("CartPole-v1"))


def record(repo: Repository, run: str, steps: int = 12) -> None:
    env = Recorder(gymnasium.make("CartPole-v1"), repo, run, provenance=False, snapshots=5)
    env.reset(seed=1)
    for number in range(steps):
        env.step(number % 2)
    env.close()


# --- imports -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order", ["simgit, gymnasium", "gymnasium, simgit", "simgit.gym, gymnasium"]
)
def test_environments_are_found_in_either_order_of_imports(order: str) -> None:
    python(f"import {order}; gymnasium.make({ID!r}).reset(seed=1); gymnasium.make('CartPole-v1')")


def test_the_short_prefix_does_where_gymnasium_is_there_first() -> None:
    python("import gymnasium; gymnasium.make('simgit:simgit/SimKube-v0').reset(seed=1)")


@pytest.mark.parametrize(
    "fault",
    [
        "sys.modules['gymnasium'] = None",
        "sys.modules['gymnasium.envs.registration'] = None",
        "sys.modules['gymnasium.envs.registration'] = object()",
        "import gymnasium.envs.registration as r; del r.register, r.registry",
    ],
)
def test_a_broken_gymnasium_keeps_nobody_from_importing_simgit(fault: str) -> None:
    code = f"import sys; {fault}; import simgit; print(simgit.Repository.__name__)"
    assert python(code).strip() == "Repository"


# --- recording and back ---------------------------------------------------------------------------


def test_a_state_has_the_same_oid_beside_every_version(repo: Repository) -> None:
    env = Recorder(gymnasium.make(ID, trace="cpu-slight"), repo, provenance=False)
    env.reset(seed=3)
    env.step(0)
    env.step(1)
    assert env.tip is not None
    assert env.tip.hex()[:32] == TIP
    env.close()


def test_a_recorded_state_lives_again_and_is_verified(repo: Repository) -> None:
    record(repo, "main")
    judge(repo, "main")
    assert plan(repo, "main@11").how == "snapshot"
    env = restore(repo, "main@11")
    after = repo.state("main@12")
    assert np.array_equal(env.step(int(after.action))[0], after.observation)
    assert verify(repo, "main").divergence is None


def test_a_run_is_resumed_as_if_it_had_not_stopped(repo: Repository) -> None:
    record(repo, "straight")
    record(repo, "broken", 7)
    env = Recorder.resume(repo, "broken", provenance=False)
    for number in range(7, 12):
        env.step(number % 2)
    env.close()
    assert repo.resolve("broken") == repo.resolve("straight")


@pytest.mark.slow
def test_a_fresh_process_finds_what_a_recorded_run_names(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        env = Recorder(gymnasium.make(ID, trace="cpu-slight"), repo, provenance=False)
        env.reset(seed=3)
        env.step(0)
        env.close()
    opened = f"from simgit import Repository; repo = Repository.open({str(tmp_path)!r}); "
    python(opened + "from simgit.gym import restore; restore(repo, 'main').step(0)")
    python(opened + "from simgit.gym import verify; assert verify(repo, 'main').divergence is None")
    python(opened + "from simgit.gym import Recorder; Recorder.resume(repo, 'main').close()")


@pytest.mark.parametrize("space", [
    gymnasium.spaces.Discrete(3, start=-1),
    gymnasium.spaces.MultiDiscrete([2, 3]),
    gymnasium.spaces.Dict(b=gymnasium.spaces.Box(-1, 1, (2,)), a=gymnasium.spaces.Text(4)),
    gymnasium.spaces.Sequence(gymnasium.spaces.MultiBinary(2)),
], ids=lambda space: type(space).__name__)  # fmt: skip
def test_spaces_come_back_from_their_description(space: Any) -> None:
    assert spaces.decode(spaces.encode(space)) == space


def test_an_environment_is_made_again_from_its_description() -> None:
    env = gymnasium.wrappers.FrameStackObservation(gymnasium.make("CartPole-v1"), 3)
    described = describe(env)
    assert encode_value(describe(make(described))) == encode_value(described)


# --- vectors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_lanes_are_recorded_restored_and_resumed(repo: Repository, kind: Any) -> None:
    def made() -> Any:
        return kind([functools.partial(lane)] * 2)

    chosen = np.random.default_rng(4).integers(0, 2, (40, 2))
    straight = VectorRecorder(made(), repo, "straight", provenance=False, snapshots=10)
    straight.reset(seed=7)
    for each in chosen:
        straight.step(each)
    straight.close()
    assert any(repo.state(f"straight/0@{n}").terminated for n in range(39))
    broken = VectorRecorder(made(), repo, "broken", provenance=False, snapshots=10)
    broken.reset(seed=7)
    for upto in (0, 17):
        for each in chosen[upto : upto + 17]:
            broken.step(each)
        broken.close()
        mode = "sync" if kind is SyncVectorEnv else "async"
        broken = VectorRecorder.resume(repo, "broken", provenance=False, vectorization_mode=mode)
    for each in chosen[34:]:
        broken.step(each)
    broken.close()
    for i in range(2):
        assert repo.resolve(f"broken/{i}") == repo.resolve(f"straight/{i}")
        assert "snapshot" in repo.attachments(f"straight/{i}@0")
        assert verify(repo, f"straight/{i}").divergence is None


def test_a_refused_recorder_leaves_the_environment_open(repo: Repository) -> None:
    first = VectorRecorder(SyncVectorEnv([lane]), repo, provenance=False)
    env = SyncVectorEnv([lane])
    with pytest.raises(Conflict):
        VectorRecorder(env, repo, provenance=False)
    gc.collect()
    assert not env.closed
    first.close()
    env.close()


def test_another_autoreset_mode_is_refused_where_gymnasium_has_none(repo: Repository) -> None:
    env = VectorRecorder(SyncVectorEnv([lane]), repo, provenance=False)
    env.reset(seed=1)
    env.close()
    repo.configure("main/0", metadata={"vector": {"autoreset_mode": "SameStep"}})
    if hasattr(gymnasium.vector, "AutoresetMode"):
        VectorRecorder.resume(repo, "main", provenance=False).close()
    else:
        with pytest.raises(NotFound):
            VectorRecorder.resume(repo, "main", provenance=False)
