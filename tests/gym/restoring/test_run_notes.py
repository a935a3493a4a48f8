"""What a run's metadata say is believed if this user noted it here, and if it is of its kind."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from simgit import Repository, SimgitError
from simgit.gym import Recorder, VectorRecorder, restore, verify
from simgit.gym.restoring.run_notes import (
    DIVERGES,
    EXACT,
    NOT_CHECKED,
    replay_differs,
    runs_of,
    snapshots_fail,
    verdict_of,
    vouches,
)
from simgit.gym.restoring.verify import note
from simgit.gym.tools.collect import collect
from tests.gym.restoring.test_restore import vouch

ODD: list[Any] = [
    "exact", 7, 1.5, True, [1], [], {}, {"result": []},
    {"result": "exact", "snapshots": 3, "upto": "9", "driver": "generic", "format": 2},
    {"result": "exact", "snapshots": 3, "upto": None, "driver": []},
    {"result": "exact by replay", "resets": [7]},
    {"result": "exact by replay", "resets": {"forget": True, "episodes": "3", "steps": None}},
]  # fmt: skip


def record(repo: Repository) -> None:
    env = Recorder(gym.make("CartPole-v1"), repo, snapshots=3, provenance=False, self_check=False)
    env.reset(seed=1)
    for _ in range(6):
        env.step(0)
    env.close()


def believed(repo: Repository) -> bool:
    return vouches(runs_of(repo, repo.resolve("main")), "generic", 2, 6)


def test_a_verdict_that_this_user_noted_is_believed(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        record(repo)
        assert not believed(repo)
        vouch(repo)
        assert believed(repo)


@pytest.mark.parametrize("how", ["bundle", "clone"])
def test_a_verdict_from_elsewhere_is_as_if_not_checked(how: str, tmp_path: Path) -> None:
    packed = BytesIO()
    with Repository.init(tmp_path / "theirs") as theirs:
        record(theirs)
        vouch(theirs)
        theirs.create_bundle(packed, ["main"])
        theirs.distrust()
    if how == "bundle":
        repo = Repository.init(tmp_path / "ours")
        packed.seek(0)
        repo.import_bundle(packed)
    else:
        repo = Repository.clone(tmp_path / "theirs", tmp_path / "ours")
    with repo:
        assert repo.is_trusted() and not believed(repo)
        found = verdict_of(runs_of(repo, repo.resolve("main")))
        assert found is not None and found.result == NOT_CHECKED
        # what is noted beside it, or a reset, makes it no truer
        repo.configure("main", {"lr": 1}, metadata={"note": "mine"})
        assert not believed(repo)
        vouch(repo)
        assert believed(repo)
        repo.undo()
        assert not believed(repo)
        repo.trust()
        assert believed(repo)


def test_a_run_whose_verdict_came_from_elsewhere_is_branched_off_as_not_checked() -> None:
    packed = BytesIO()
    with Repository.init(":memory:") as theirs, Repository.init(":memory:") as repo:
        record(theirs)
        vouch(theirs)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            theirs.branch("off", "main@2")
        theirs.create_bundle(packed, ["main"])
        packed.seek(0)
        repo.import_bundle(packed)
        with pytest.warns(UserWarning, match="was not checked"):
            repo.branch("off", "main@2")


def test_no_verdict_is_believed_in_a_store_that_is_not_trusted(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        record(repo)
        vouch(repo)
        repo.distrust()
        assert not believed(repo)
        repo.trust()
        assert believed(repo)


def test_a_bad_verdict_from_elsewhere_is_not_believed_either() -> None:
    with Repository.init(":memory:") as theirs, Repository.init(":memory:") as repo:
        record(theirs)
        theirs.configure(
            "main", metadata={"verdict": {"result": DIVERGES, "driver": "generic", "step": 1}}
        )
        assert snapshots_fail([theirs.runs["main"]])
        packed = BytesIO()
        theirs.create_bundle(packed, ["main"])
        packed.seek(0)
        repo.import_bundle(packed)
        assert not snapshots_fail([repo.runs["main"]])


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.filterwarnings("ignore")
def test_metadata_of_another_kind_are_passed_over(odd: Any) -> None:
    with Repository.init(":memory:") as repo:
        record(repo)
        for key in (
            "verdict", "provenance", "step_seconds", "torch_seed", "ignore", "what-if",
            "reset_forgets",
        ):  # fmt: skip
            repo.configure("main", metadata={key: odd})
            runs = [repo.runs["main"]]
            assert not vouches(runs, "generic", 2, 6)
            assert not snapshots_fail(runs) and not replay_differs(runs)
            restore(repo, "main@5", trust=True).close()
            repo.configure("main", metadata={key: None})


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.filterwarnings("ignore")
def test_verify_and_collect_pass_over_a_verdict_of_another_kind(odd: Any) -> None:
    with Repository.init(":memory:") as repo:
        record(repo)
        repo.configure("main", metadata={"verdict": odd})
        note(repo, "main", verify(repo, "main", snapshots=0))
        found = verdict_of([repo.runs["main"]])
        assert found is not None and found.result.startswith(EXACT)
        repo.branch("more", metadata={"verdict": odd})
        done = collect(
            repo, gym.make("CartPole-v1"), lambda _: 0, run="new", steps=1, self_check=False,
            snapshots=None, provenance=False,
        )  # fmt: skip
        assert done.verdict is None


@pytest.mark.parametrize("odd", [*ODD, {"autoreset_mode": 7}, {"autoreset_mode": ["NextStep"]}])
@pytest.mark.filterwarnings("ignore")
def test_a_vector_environment_is_resumed_or_refused_whatever_its_runs_say(odd: Any) -> None:
    with Repository.init(":memory:") as repo:
        made = gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
        env = VectorRecorder(made, repo, "lanes", self_check=False)
        env.reset(seed=1)
        env.step(env.action_space.sample())
        env.close()
        repo.configure("lanes/0", metadata={"vector": odd})
        try:
            VectorRecorder.resume(repo, "lanes").close()
        except SimgitError as error:
            assert isinstance(odd, dict) and "autoreset mode" in str(error)
