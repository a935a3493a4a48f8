"""Training on a live cluster: what is recorded, restored and resumed where nothing repeats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from simgit.errors import ClusterError, InvalidInput, Untrusted, Unverified
from simgit.gym import Recorder, restore
from simgit.gym.envs.agent_view import make
from simgit.gym.envs.simkube import SimKubeEnv
from simgit.gym.restoring.recorded_path import RecordedPath
from simgit.gym.restoring.verify import judge, verify
from simgit.gym.spec.permit import check
from simgit.gym.tools.drift import drift
from simgit.gym.tools.whatif import what_if
from simgit.kube.hooks import Hooks
from simgit.kube.live import opened
from simgit.kube.live.driver import LiveSettings
from simgit.repository import Repository
from simgit.training import Config, resume, train
from tests.support.embedded_driver import EmbeddedDriver

LIVE = {"context": "kind-test", "settle": 0.0}


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedDriver]:
    """Return the driver behind all live clusters of the test."""
    made = EmbeddedDriver(LiveSettings.of(LIVE))

    def open_again(_: LiveSettings) -> opened._Opened:
        made.is_open = True
        return opened._Opened(cast(Any, made), made)

    monkeypatch.setattr(opened, "_drivers", {})
    monkeypatch.setattr(opened, "_open", open_again)
    yield made
    assert made.left == 0


@pytest.fixture
def repo(tmp_path: Any) -> Iterator[Repository]:
    with Repository.init(tmp_path / "repo") as made:
        yield made


def _config(**given: Any) -> Config:
    return Config("dqn", {"batch": 4, "updates": 1}, episodes=3, checkpoint=1, trials=0, **given)


def _train(repo: Repository, run: str = "main", **given: Any) -> Any:
    return train(repo, run, _config(**given), arguments={"cluster": LIVE, "max_steps": 4})


def test_nothing_is_asked_of_a_cluster_until_the_environment_is_used(
    driver: EmbeddedDriver,
) -> None:
    env = SimKubeEnv(cluster=LIVE)
    assert opened._drivers == {}
    _, info = env.reset(seed=1)
    assert (info["ready"], info["pending"], info["total"]) == (0, 3, 3)
    assert driver.replays == 1
    assert "3 Insufficient cpu" not in env.metadata
    env.close()
    assert not driver.is_open


def test_the_spec_names_the_cluster_and_nothing_of_the_embedded_one(
    driver: EmbeddedDriver,
) -> None:
    settings = SimKubeEnv(cluster={**LIVE, "speed": 10}, simulation={"duration": 60}).settings()
    assert settings["cluster"]["context"] == "kind-test"
    assert "nodes" not in settings and "faults" not in settings
    assert settings["simulation"]["speed"] == 10
    assert SimKubeEnv(**settings).settings() == settings
    assert "cluster" not in SimKubeEnv().settings()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cluster": {"driver": "replayer"}}, "needs a context"),
        ({"cluster": LIVE, "nodes": 4}, "nodes are of the embedded cluster"),
        ({"cluster": LIVE, "faults": {"error_rate": 0.1}}, "faults are of the embedded cluster"),
        ({"cluster": {**LIVE, "speeed": 1}}, "did you mean 'speed'"),
        ({"cluster": LIVE, "simulation": {"speed": 3.0}}, "simulation.speed is '3.0'"),
        ({"cluster": "kind"}, "must be a map"),
    ],
)
def test_settings_that_a_live_cluster_does_not_have_are_refused(
    driver: EmbeddedDriver, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        SimKubeEnv(**given)


def test_hooks_run_around_each_replay(
    driver: EmbeddedDriver, repo: Repository, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    told = Hooks(*(("sh", "-c", f"echo {word} $SIMGIT_STEP >> {log}") for word in ("pre", "post")))
    env = Recorder(make("simgit/SimKube-v0", cluster=LIVE), repo)
    with opened.hooked(told):
        env.reset(seed=1)
        assert [line.split()[0] for line in log.read_text().splitlines()] == ["pre", "post"]
        driver.errors = {1: ClusterError("it broke")}
        assert env.step(np.int64(0))[-1]["failure"] == "it broke"
    assert len(log.read_text().splitlines()) == 4, "after an error too"
    with opened.hooked(Hooks(pre=("false",))):
        info = env.step(np.int64(0))[-1]
    assert info["failure"] == "pre-hook 'false' exited with 1"
    assert driver.replays == 2, "nothing is replayed then"
    env.step(np.int64(0))
    assert len(log.read_text().splitlines()) == 4
    env.close()


def test_a_failed_observation_has_a_reason_and_no_counts(
    driver: EmbeddedDriver, repo: Repository
) -> None:
    env = Recorder(make("simgit/SimKube-v0", cluster=LIVE), repo)
    env.reset(seed=1)
    driver.errors = {
        1: ClusterError("no time is left", timeout=True),
        2: ClusterError("blocked by 'sim-7'"),
    }
    late, wrong, right = (env.step(np.int64(4))[-1] for _ in range(3))
    env.close()
    assert (late["validity"], late["failure"]) == ("timeout", "no time is left")
    assert (wrong["validity"], wrong["failure"]) == ("error", "blocked by 'sim-7'")
    assert "ready" not in late and "ready" not in wrong
    assert (right["ready"], right["total"]) == (3, 3)
    assert repo.state("main@1").info["validity"] == "timeout"


def test_a_cluster_that_is_lost_ends_the_run_which_is_resumed_from_there(
    driver: EmbeddedDriver, repo: Repository
) -> None:
    env = Recorder(make("simgit/SimKube-v0", cluster=LIVE), repo)
    env.reset(seed=1)
    driver.always = ClusterError("127.0.0.1 does not answer: refused")
    env.step(np.int64(4))
    env.step(np.int64(4))
    with pytest.raises(ClusterError, match=r"no observation in 3 tries: .* refused"):
        env.step(np.int64(4))
    env.close()
    driver.always = None
    with pytest.warns(Unverified, match="live run"):
        again = Recorder.resume(repo, "main")
    assert again.step_count == 2
    info = again.step(np.int64(4))[-1]
    again.close()
    assert info["cpu"] == "15500m"  # of 17000m: the two recorded steps count, the third does not
    assert repo.runs["main"].step == 3


def test_an_episode_that_cannot_begin_says_so_after_three_tries(driver: EmbeddedDriver) -> None:
    driver.always = ClusterError("refused")
    with pytest.raises(ClusterError, match="no observation in 3 tries: refused"):
        SimKubeEnv(cluster=LIVE).reset(seed=1)
    assert driver.replays == 3


def test_a_training_is_recorded_and_nothing_else_is_simulated(
    driver: EmbeddedDriver, repo: Repository
) -> None:
    with _train(repo) as training:
        training.finish()
    states = repo.trajectory("main")
    assert driver.replays == len(states)  # no trial, no check
    info = repo.runs["main"]
    assert info.metadata["cluster"] == {"server": "v1.99.0", "nodes": 3}
    assert info.metadata["reexecute"] is False
    assert info.metadata["verdict"]["result"] == "live"
    for step in range(len(states)):
        assert "snapshot" in repo.attachments(f"main@{step}")


@pytest.mark.slow
def test_every_state_is_restored_without_a_simulation(
    driver: EmbeddedDriver, repo: Repository
) -> None:
    with _train(repo) as training:
        training.finish()
    before = driver.replays
    for state in repo.trajectory("main"):
        with pytest.warns(Unverified, match="is of a live run"):
            env = restore(repo, state.oid)
        assert env.unwrapped.loop.state()["edit"] == (state.info.get("edit") or {})
    assert driver.replays == before


def test_verify_says_live_and_compares_nothing(driver: EmbeddedDriver, repo: Repository) -> None:
    with _train(repo) as training:
        training.finish()
    before = driver.replays
    found = verify(repo, "main")
    assert found.is_live
    assert not found.is_exact
    assert found.to_json()["exact"] is None
    assert judge(repo, "main").result == "live"
    with pytest.raises(InvalidInput, match="not re-executed"):
        drift(repo, "main")
    assert driver.replays == before


@pytest.mark.slow
@pytest.mark.parametrize("stop", [2, 4, 7])
def test_a_training_that_was_interrupted_resumes_with_the_same_agent(
    driver: EmbeddedDriver, repo: Repository, stop: int
) -> None:
    with _train(repo, "whole") as training:
        training.finish()
    driver.replays = 0
    driver.errors = {stop: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt), _train(repo) as training:
        training.finish()
    assert repo.runs["main"].step == stop - 1
    assert repo.runs["main"].status == "paused"
    driver.errors, driver.replays = {}, stop
    with pytest.warns(Unverified, match="live run"):
        again = resume(repo, "main")
    with again:
        again.finish()
    assert driver.replays == len(repo.trajectory("main"))  # no state was simulated twice
    whole, both = repo.trajectory("whole"), repo.trajectory("main")
    assert [each.oid for each in both] == [each.oid for each in whole]
    names = [f"{run}@{len(both) - 1}" for run in ("whole", "main")]
    one, two = (repo.attachment(each, "agent") for each in names)
    assert str(one) == str(two)


@pytest.mark.slow
def test_a_branch_goes_on_live_from_the_edited_trace(
    driver: EmbeddedDriver, repo: Repository
) -> None:
    with _train(repo) as training:
        training.finish()
    with pytest.warns(Unverified, match="run 'main' is live"):
        repo.branch("other", "main@2", overrides={"agent.lr": 0.1})
    before = driver.replays
    with pytest.warns(Unverified, match="live run"):
        again = resume(repo, "other")
    with again:
        again.finish()
    assert driver.replays - before == len(repo.trajectory("other")) - 3
    assert repo.state("other@2").oid == repo.state("main@2").oid


@pytest.mark.slow
def test_a_stranger_does_not_choose_what_is_applied_to_a_cluster(
    driver: EmbeddedDriver, repo: Repository
) -> None:
    with _train(repo) as training:
        training.finish()
    spec = RecordedPath(repo, "main").spec
    with pytest.raises(Untrusted, match="runs on a live cluster"):
        check(spec, False)
    with pytest.raises(Untrusted), pytest.warns(Unverified, match="live run"):
        restore(repo, "main", trust=False)


def test_rollouts_are_not_run_on_a_live_cluster(driver: EmbeddedDriver, repo: Repository) -> None:
    with _train(repo) as training:
        training.finish()
    before = driver.replays
    with pytest.raises(InvalidInput, match="live: rollouts are not run"):
        what_if(repo, "main@1", [np.int64(0)], horizon=1)
    assert driver.replays == before
