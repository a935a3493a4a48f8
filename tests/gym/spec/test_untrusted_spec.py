"""Specs, snapshots and reset options of a stranger run none of his code, and read no files."""

from __future__ import annotations

import contextlib
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from simgit import InvalidInput, NotFound, Repository
from simgit.errors import IntegrityError, SimgitError
from simgit.gym import Recorder, Untrusted, VectorRecorder, judge, plan, restore, step_batch, verify
from simgit.gym.drivers import needs_trust, pack, select, unpack
from simgit.gym.drivers.stored_form import padded
from simgit.gym.envs.simkube import SimKubeEnv
from simgit.gym.restoring.recorded_path import RecordedPath
from simgit.gym.restoring.restore import execute, from_snapshot
from simgit.gym.spec import permit
from simgit.gym.spec.permit import Permit, are_plain, time_limit, why_unsafe
from simgit.gym.spec.spec import describe, make
from simgit.gym.tools.film import Film
from simgit.objects.codec import encode_value
from simgit.odb import foreign

EVIL = """
import pathlib, gymnasium
pathlib.Path(MARK).write_text("imported")
class Env(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Discrete(2)
    def __init__(self, **kwargs): pathlib.Path(MARK).write_text("made")
class Wrapper(gymnasium.Wrapper):
    pass
"""


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module ``evilmod`` in the work tree, from which Python imports, leaves this mark."""
    work = tmp_path / "work"
    (work / "evilpack").mkdir(parents=True)
    text = EVIL.replace("MARK", repr(str(tmp_path / "mark")))
    for name in ("evilmod.py", "evilpack/__init__.py", "evilpack/inner.py"):
        (work / name).write_text(text)
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(str(work))
    yield tmp_path / "mark"
    for name in ("evilmod", "evilpack", "evilpack.inner"):
        sys.modules.pop(name, None)


def spec_of(**environment: Any) -> dict[str, Any]:
    """Return a spec with the spaces of CartPole; ``wrapper`` is the entry point of one."""
    found = describe(gym.make("CartPole-v1"))
    wrapper = environment.pop("wrapper", None)
    kwargs = environment.pop("wrapper_kwargs", {})
    found["environment"] = {"id": None, "kwargs": {}, **environment}
    if wrapper is not None:
        found["wrappers"] = [{"name": "W", "entry_point": wrapper, "kwargs": kwargs}]
    return found


CARTPOLE = {"id": "CartPole-v1", "entry_point": None}
UNSAFE = [
    spec_of(entry_point="evilmod:Env"),
    spec_of(entry_point="evilpack.inner:Env"),
    spec_of(id="Evil-v0", entry_point="evilmod:Env"),
    spec_of(id="CartPole-v1", entry_point="evilmod:Env"),
    spec_of(id="evilmod:Evil-v0", entry_point=None),
    spec_of(id="evilmod:CartPole-v1", entry_point="gymnasium.envs.classic_control:CartPoleEnv"),
    spec_of(id="evilmod:Evil-v0", entry_point="<lambda>"),
    spec_of(id="Evil-v0", entry_point="__main__:Env"),
    spec_of(entry_point="gymnasium_evil:Env"),
    spec_of(entry_point="venv.__main__:x"),
    spec_of(entry_point="simgit.__main__:main"),
    spec_of(**CARTPOLE, wrapper="simgit.__main__:main"),
    spec_of(**CARTPOLE, wrapper="evilmod:Wrapper"),
    spec_of(**CARTPOLE, wrapper="evilpack:Wrapper"),
    spec_of(**CARTPOLE, wrapper="stable_baselines3.common.monitor:Monitor"),
    spec_of(**CARTPOLE, wrapper="gymnasium.wrappers:TimeLimit",
            wrapper_kwargs={"max_episode_steps": 10**9}),
    spec_of(**CARTPOLE, kwargs={"xml_file": "/etc/passwd"}),
    spec_of(**CARTPOLE, kwargs={"xml_file": "../up"}),
    spec_of(**CARTPOLE, kwargs={"xml_file": "~root"}),
    spec_of(**CARTPOLE, kwargs={"xml_file": "evilmod.py"}),  # which is there
    spec_of(**CARTPOLE, kwargs={"reward": "evilmod:f"}),
    spec_of(**CARTPOLE, kwargs={"deep": [{"x": ("/etc/passwd",)}]}),
    spec_of(**CARTPOLE, kwargs={"/etc/passwd": 1}),
    spec_of(**CARTPOLE, kwargs={"size": 10**12}),
    spec_of(**CARTPOLE, kwargs={"size": -(10**12)}),
    spec_of(**CARTPOLE, kwargs={"desc": ["F" * 8] * 200_000}),
    spec_of(**CARTPOLE, kwargs={"map": np.zeros(200_000)}),
    spec_of(**CARTPOLE, kwargs={"data": b"raw"}),
    spec_of(**CARTPOLE, kwargs={"name": "a\nb"}),
    spec_of(id="simgit/SimKube-v0", entry_point=None, kwargs={"trace": "/etc/passwd"}),
    spec_of(id="simgit/SimKube-v0", entry_point=None, kwargs={"trace": ["/etc/passwd"]}),
    spec_of(id="simgit/SimKube-v0", entry_point=None, kwargs={"trace": {"a": "/etc/passwd"}}),
    spec_of(id="simgit/SimKube-v0", entry_point=None, kwargs={"trace": "evilmod.py"}),
    spec_of(id="simgit/SimKube-v0", entry_point=None, kwargs={"nodes": 10**9}),
    spec_of(id="simgit/Replay-v0", entry_point=None, kwargs={"repository": "."}),
]  # fmt: skip
SAFE: list[Callable[[], Any]] = [
    lambda: gym.make("CartPole-v1"),
    lambda: gym.make("CartPole-v1", max_episode_steps=7, sutton_barto_reward=True),
    lambda: gym.make("FrozenLake-v1", desc=["SFFF", "FHFH", "FFFH", "HFFG"], is_slippery=False),
    lambda: gym.make("FrozenLake-v1", map_name="8x8"),
    lambda: gym.wrappers.TimeAwareObservation(gym.make("CartPole-v1")),
    lambda: gym.wrappers.FrameStackObservation(gym.make("CartPole-v1"), 4),
    lambda: SimKubeEnv(),
    lambda: SimKubeEnv("cpu-slight", nodes=2),
]


@pytest.mark.parametrize("spec", UNSAFE, ids=lambda spec: str(spec["environment"])[:60])
def test_a_strangers_spec_runs_nothing(mark: Path, spec: dict[str, Any]) -> None:
    with pytest.raises(Untrusted, match="not trusted to name code: pass an environment with env="):
        make(spec)
    assert not mark.exists()


@pytest.mark.parametrize("build", SAFE)
def test_what_is_registered_and_has_plain_arguments_needs_no_trust(
    build: Callable[[], Any],
) -> None:
    spec = describe(build())
    assert why_unsafe(spec) is None
    make(spec).close()


def test_what_the_users_program_registered_needs_no_trust(mark: Path) -> None:
    gym.register("Mine-v0", entry_point="evilmod:Env")
    try:
        assert why_unsafe(spec_of(id="Mine-v0", entry_point="evilmod:Env")) is None
        assert why_unsafe(spec_of(id="Mine-v0", entry_point="evilmod:Another")) is not None
    finally:
        gym.registry.pop("Mine-v0")
    assert not mark.exists()


@pytest.mark.parametrize(
    "part",
    [
        None,
        1,
        "x",
        [],
        {},
        {"id": 1, "kwargs": {}},
        {"kwargs": {}},
        {"id": "CartPole-v1", "kwargs": [1]},
        {"entry_point": b"a:b"},
    ],
)
def test_a_malformed_spec_is_an_error_of_simgits(part: Any) -> None:
    whole = spec_of(**CARTPOLE)
    for spec in (
        {**whole, "environment": part},
        {**whole, "wrappers": [part]},
        {"environment": part},
        {**whole, "wrappers": part or "x"},
    ):
        for trusted in (False, True):
            with pytest.raises(InvalidInput, match="malformed spec"):
                make(spec, trusted)


@pytest.mark.parametrize(
    "kwargs", [{"no such": 1}, {"render_mode": 5}, {"sutton_barto_reward": {}}]
)
def test_arguments_that_the_environment_refuses_are_an_error_of_simgits(kwargs: Any) -> None:
    with contextlib.suppress(InvalidInput, NotFound):
        make(spec_of(**CARTPOLE, kwargs=kwargs)).close()


# --- every way to an environment ---


@pytest.fixture
def evil(tmp_path: Path) -> Repository:
    """A stranger's repository, opened here."""
    with Repository.init(tmp_path / "his") as repo:
        for run in ("main", "main/0"):
            with repo.recorder(run, spec=spec_of(entry_point="evilmod:Env")) as recorder:
                recorder.append(0, reset={"seed": 1})
                for _ in range(3):
                    recorder.append(1, 1, 1.0, False, False, {})
        repo.distrust()
    return Repository.open(tmp_path / "his")


WAYS: dict[str, Callable[[Repository], Any]] = {
    "restore": lambda repo: restore(repo, "main"),
    "restore by oid": lambda repo: restore(repo, repo.resolve("main@1")),
    "plan": lambda repo: plan(repo, "main@2"),
    "verify": lambda repo: verify(repo, "main"),
    "verify a part": lambda repo: verify(repo, "main@1..2"),
    "resume": lambda repo: Recorder.resume(repo, "main"),
    "resume from the start": lambda repo: Recorder.resume(repo, "main", at=-1),
    "branch": lambda repo: Recorder.branch(repo, "x", "main@1"),
    "resume lanes": lambda repo: VectorRecorder.resume(repo, "main"),
    "what-if": lambda repo: step_batch(repo, ["main@1"], [1], workers=1),
    "what-if in processes": lambda repo: step_batch(repo, ["main@1"] * 2, [1, 0], workers=2),
    "film": lambda repo: Film(repo, "main"),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
def test_no_way_to_a_strangers_environment_runs_his_code(
    evil: Repository, mark: Path, way: str
) -> None:
    with pytest.raises(Untrusted):
        WAYS[way](evil)
    assert not mark.exists() and "evilmod" not in sys.modules


@pytest.mark.filterwarnings("ignore")
def test_trust_is_asked_once_and_lets_it_run(evil: Repository, mark: Path) -> None:
    asked: list[int] = []
    with pytest.raises(Untrusted):
        restore(evil, "main", trust=lambda: bool(asked.append(1)))
    assert asked == [1] and not mark.exists()
    with pytest.raises(InvalidInput, match="observation space"):
        restore(evil, "main", trust=True)
    assert mark.read_text() == "made"


def test_trust_false_refuses_also_what_is_mine(mark: Path) -> None:
    repo = Repository.init(":memory:")
    with repo.recorder("main", spec=spec_of(entry_point="evilmod:Env")) as recorder:
        recorder.append(0, reset={"seed": 1})
    with pytest.raises(Untrusted):
        restore(repo, "main", trust=False)
    assert not mark.exists()


@pytest.mark.parametrize("entry", ["venv.__main__:x", "simgit.__main__:main", "__main__:x"])
def test_a_program_is_not_imported_with_trust_either(entry: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be made outside its script"):
        make(spec_of(entry_point=entry), True)


# --- code that ends the program ---


@pytest.mark.parametrize("where", ["", "def __init__(self): "])
def test_code_that_ends_the_program_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    name = f"ends{len(where)}"
    text = "import sys, gymnasium\nclass Env(gymnasium.Env):\n    " + (where or "x = ")
    (tmp_path / f"{name}.py").write_text(text + "sys.exit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InvalidInput, match="its code ends the program"):
        make(spec_of(entry_point=f"{name}:Env"), True)


def test_what_has_no_end_is_stopped() -> None:
    stopped = pytest.raises(InvalidInput, match=r"'x' takes more than 0\.05 s to make: stopped")
    with stopped, time_limit("environment 'x'", 0.05):
        while True:
            time.sleep(0.01)


def test_only_untrusted_specs_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[str] = []
    real = permit.time_limit

    def noted(what: str) -> Any:
        limits.append(what)
        return real(what)

    monkeypatch.setattr("simgit.gym.spec.spec.time_limit", noted)
    spec = describe(gym.make("CartPole-v1"))
    make(spec, True)
    assert not limits
    make(spec)
    assert limits == ["environment 'CartPole-v1'"]


# --- options of resets, and snapshots ---


def test_a_strangers_options_of_a_reset_read_no_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("the user's own words")
    repo = Repository.init(":memory:")
    with repo.recorder("main", spec=describe(SimKubeEnv())) as recorder:
        recorder.append(np.zeros(3), reset={"seed": 1, "options": {"trace": str(secret)}})
    with repo.odb.write() as txn:
        foreign.mark_all(txn)
    with pytest.raises(Untrusted, match="options that may name files"):
        restore(repo, "main")
    with pytest.raises(Untrusted, match="options that may name files"):
        verify(repo, "main")


def test_plain_options_of_resets_need_no_trust() -> None:
    for plain in ({"low": -0.1, "high": 0.1}, {"mode": "easy", "ids": [1, 2]}, {}):
        assert are_plain(plain)
    assert are_plain({"trace": "cpu-slight", "target": 4}, "simgit/SimKube-v0")


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def snapshot_with(env: Any, body: Any, **more: Any) -> dict[str, Any]:
    taken = dict(unpack(select(env).snapshot(env)))
    return {**taken, "form": "pickle", "body": padded(body), **more}


@pytest.mark.slow
def test_no_pickle_is_hidden_in_a_snapshot(tmp_path: Path) -> None:
    """Packed once, packed twice, in the snapshot before, under a form that reads as another."""
    env = gym.make("CartPole-v1")
    env.reset(seed=1)
    body = pickle.dumps(Bomb(tmp_path / "mark"))
    open_ = snapshot_with(env, body)
    twice = {**open_, "form": "plain", **pack(open_)}
    for hidden in (open_, pack(open_), twice, pack(twice), {**pack(open_), "form": "plain"}):
        repo = Repository.init(":memory:")
        recorder = Recorder(gym.make("CartPole-v1"), repo, self_check=False, snapshots=None)
        recorder.reset(seed=1)
        for action in (1, 0, 1):
            recorder.step(action)
        recorder.close()
        for name, step in (("snapshot", 2), ("snapshot", 1)):
            repo.attach(f"main@{step}", name, hidden)
        with repo.odb.write() as txn:
            foreign.mark_all(txn)
        for given in (None, gym.make("CartPole-v1")):
            try:
                restore(repo, "main", env=given)
                verify(repo, "main")
            except (IntegrityError, InvalidInput):
                pass
            with contextlib.suppress(SimgitError):
                judge(repo, "main")  # in a process that gets a bundle of it
            assert not (tmp_path / "mark").exists()


def test_the_snapshot_before_needs_trust_of_its_own(tmp_path: Path) -> None:
    """A plain snapshot says that an earlier one is restored first: that one is a pickle."""
    env = gym.make("CartPole-v1")
    env.reset(seed=1)
    bomb = snapshot_with(env, pickle.dumps(Bomb(tmp_path / "mark")))
    repo = Repository.init(":memory:")
    recorder = Recorder(gym.make("CartPole-v1"), repo, self_check=False, snapshots=1)
    recorder.reset(seed=1)
    for action in (1, 0, 1, 0):
        recorder.step(action)
    recorder.close()
    path = RecordedPath(repo, "main")
    plain = {**path.snapshot(3), "lead": 1}
    assert not needs_trust(plain)
    repo.attach("main@3", "snapshot", plain)
    for step in (0, 1, 2):
        repo.attach(f"main@{step}", "snapshot", bomb)
    with repo.odb.write() as txn:
        foreign.mark_all(txn)
    restore(repo, "main@3")
    assert not (tmp_path / "mark").exists()
    path = RecordedPath(repo, "main")
    assert from_snapshot(path, None, 3) is None
    found = from_snapshot(path, True, 3)
    assert found is not None and found.lead == 2
    with contextlib.suppress(SimgitError):
        execute(path, gym.make("CartPole-v1"), found)
    assert (tmp_path / "mark").exists(), "the attack does not work: it shows nothing"


def test_a_snapshot_that_is_packed_twice_is_refused() -> None:
    inner = {"packed": padded(encode_value({"snapshot": {}, "apart": []}, "s"))}
    with pytest.raises(IntegrityError, match="packed twice"):
        unpack(pack({"driver": "x", **inner}))


def test_permission_is_of_the_object(tmp_path: Path) -> None:
    repo = Repository.init(tmp_path)
    recorder = Recorder(gym.make("CartPole-v1"), repo, self_check=False)
    recorder.reset(seed=1)
    recorder.close()
    origin = RecordedPath(repo, "main").origin
    assert Permit(repo, origin).is_given and not Permit(repo, origin, False).is_given
    with repo.odb.write() as txn:
        foreign.mark_all(txn)
    assert not Permit(repo, origin)() and Permit(repo, origin, True)()
    assert Permit(repo, origin, lambda: True)() and not Permit(repo, origin, lambda: True).is_given
    assert Permit(repo, None).is_given
