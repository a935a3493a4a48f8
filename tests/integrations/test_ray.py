"""Ray: actors that record, what-if on a cluster; on a real one of two CPUs.

Ray brings a Gymnasium of its own: these tests run where it is installed (``make test-rllib``).
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simgit import InvalidInput, NotFound, Repository, SimgitError
from simgit.errors import ClusterError, StorageError, TransportError
from simgit.gym import Arm, verify
from simgit.gym import fan_out as in_one_process
from tests.gym.tools.test_executors import Leaning, facts
from tests.gym.tools.test_whatif import record

ray = pytest.importorskip("ray")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

from simgit.integrations.ray import RayExecutor, RolloutWorker, cluster, fan_out, rollouts  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def two_cpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before, handler = os.environ.get("TMPDIR"), signal.getsignal(signal.SIGTERM)
    os.environ["TMPDIR"] = str(tmp_path_factory.mktemp("scratch"))  # of the workers' repositories
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=200 << 20, log_to_driver=False
    )
    yield
    ray.shutdown()
    signal.signal(signal.SIGTERM, handler)
    if before is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = before


class Balancing:
    """A policy without memory, with weights that turn it round."""

    def __init__(self) -> None:
        self.turned = False

    def set_weights(self, weights: bool) -> None:
        self.turned = weights

    def __call__(self, observation: Any) -> int:
        leans = bool(observation[2] + observation[3] > 0)
        return int(leans != self.turned)


STEPS = 600


def recorded(remote: Path, to: Path) -> Repository:
    """Return what is at the remote, after a look that it is whole."""
    clone = Repository.clone(remote, to)
    assert clone.fsck().is_clean
    return clone


def check_ranges(repo: Repository, found: list[Any], run: str) -> None:
    """Check that the results of a run are its states, each once."""
    ranges = [each for each in found if each.run == run]
    steps = [step for each in ranges for step in range(each.first, each.last + 1)]
    assert steps == list(range(len(repo.trajectory(run))))
    assert (
        sum(len(repo.trajectory(each.revision)) for each in ranges[1:])
        == len(steps) - ranges[0].last - 1
    )
    assert sum(each.steps for each in repo.episodes(run)) == STEPS
    assert repo.runs[run].status == "completed"


def test_two_actors_and_one_that_is_killed(tmp_path: Path) -> None:
    """The run of an actor that was killed and restarted is the one that would have been."""
    options = {"policy": Balancing(), "steps": STEPS, "chunk": 100, "seed": 5}
    with rollouts("CartPole-v1", 2, tmp_path / "whole", **options) as results:
        whole = list(results)
    assert [each["states"] for each in results.closed] == [
        sum(e.last - e.first + 1 for e in whole if e.run == f"worker/{i}") for i in (0, 1)
    ]
    with rollouts("CartPole-v1", 2, tmp_path / "killed", **options) as results:
        found, pid = [], None
        for each in results:
            found.append(each)
            if each.run == "worker/1" and pid is None:
                pid = ray.get(results.workers[1].ready.remote())["pid"]
                os.kill(pid, signal.SIGKILL)
    with (
        recorded(tmp_path / "whole", tmp_path / "a") as a,
        recorded(tmp_path / "killed", tmp_path / "b") as b,
    ):
        assert list(a.runs) == list(b.runs) == ["worker/0", "worker/1"]
        for run in a.runs:
            check_ranges(a, whole, run)
            check_ranges(b, found, run)
            assert a.resolve(run) == b.resolve(run)
        assert verify(b, "worker/1").divergence is None
    with rollouts("CartPole-v1", 1, tmp_path / "stopped", **options) as results:
        first = next(iter(results))
    with recorded(tmp_path / "stopped", tmp_path / "c") as c:
        assert c.runs["worker/0"].status == "paused"
    with rollouts("CartPole-v1", 1, tmp_path / "stopped", **options) as results:
        rest = list(results)
    with (
        recorded(tmp_path / "whole", tmp_path / "d") as d,
        recorded(tmp_path / "stopped", tmp_path / "e") as e,
    ):
        assert d.resolve("worker/0") == e.resolve("worker/0")
        assert rest[-1].last == e.state("worker/0").step and rest[0].first > first.last


def test_new_weights_reach_an_actor_that_is_restarted(tmp_path: Path) -> None:
    with rollouts(
        "CartPole-v1", 1, tmp_path / "remote", Balancing(), 60, chunk=20, name="w"
    ) as results:
        turns = []
        for each in results:
            turns.append(each)
            if len(turns) == 1:
                results.set_weights(True)
                os.kill(ray.get(results.workers[0].ready.remote())["pid"], signal.SIGKILL)
    with recorded(tmp_path / "remote", tmp_path / "a") as repo:
        plain = Balancing()
        states = list(repo.trajectory("w/0"))
        turned = [
            plain(before.observation) != int(after.action)
            for before, after in itertools.pairwise(states)
            if after.reset is None
        ]
    assert len(turned) == 60 and not any(turned[:20]) and all(turned[40:])


def test_a_worker_on_its_own(tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    actor = RolloutWorker.remote("CartPole-v1", remote, "mine", Balancing(), seed=2)
    assert ray.get(actor.ready.remote())["step"] == -1
    first = ray.get(actor.rollout.remote(steps=30))
    assert first == ("mine", 0, 30) and first.revision == "mine@30"
    ray.get(actor.set_weights.remote(ray.put(True)))
    second = ray.get(actor.rollout.remote(episodes=1))
    assert second.first == 31 and second.last < 60
    revision = ray.get(actor.snapshot.remote())
    assert revision == f"mine@{second.last}"
    ended = fan_out(remote, "mine@30", [0, [1, 1]], 5, repeat=2)
    assert [each.run.rpartition("/")[2] for each in ended] == ["0-1", "0-2", "1-1", "1-2"]
    assert ray.get(actor.close.remote())["states"] == second.last + 1
    with recorded(remote, tmp_path / "a") as repo:
        assert repo.resolve(ended[3].run) == ended[3].oid
        assert "snapshot" in repo.attachments(revision)
        here = in_one_process(repo, "mine@30", [0, [1, 1]], 5, repeat=2, workers=1)
        assert [each.oid for each in here] == [each.oid for each in ended]
    ray.kill(actor)


def test_a_fan_out_of_200_arms_is_that_of_one_process(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        record(repo)
        arms = [Arm((i % 2,) * (i % 4), overrides={"every": 2 + i % 7}) for i in range(200)]
        here = in_one_process(repo, "main@5", arms, 20, policy=Leaning(), workers=1)
        with RayExecutor() as pool:
            there = fan_out(repo, "main@5", arms, 20, Leaning(), pool=pool)
        assert len(there) == 200
        for one, other in zip(here, there, strict=True):
            assert other._replace(run="") == one._replace(run="")
            assert facts(repo, other.run) == facts(repo, one.run)
        assert repo.fsck().is_clean


def test_an_executor_waits_for_its_calls_at_the_end() -> None:
    with RayExecutor() as pool:
        futures = [pool.submit(time.sleep, 0.5) for _ in range(3)]
    assert [each.done() and each.result() for each in futures] == [None] * 3
    pool = RayExecutor()
    left = pool.submit(time.sleep, 600)
    pool.shutdown(cancel_futures=True)
    assert left.cancelled()


class Lethal:
    def __call__(self, observation: Any) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def refused(error: type[SimgitError], match: str, call: Any) -> None:
    with pytest.raises(error, match=match) as found:
        call()
    assert "\n" not in str(found.value)


def test_what_cannot_be_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = tmp_path / "remote"
    locked = threading.Lock()

    def policy(observation: Any) -> int:
        return int(locked.locked())

    refused(
        InvalidInput,
        "policy cannot be sent to other processes",
        lambda: rollouts("CartPole-v1", 1, remote, policy),
    )
    refused(NotFound, "NoPole", lambda: rollouts("NoPole-v1", 1, remote))
    refused(
        NotFound,
        "policy 'no:policy' not found",
        lambda: rollouts("CartPole-v1", 1, remote, "no:policy"),
    )
    refused(
        TransportError,
        "no credentials for S3",
        lambda: rollouts("CartPole-v1", 1, "s3://bucket/x"),
    )
    refused(InvalidInput, "n must be", lambda: rollouts("CartPole-v1", 0, remote))
    with Repository.init(tmp_path / "repo") as repo:
        record(repo)
        refused(
            InvalidInput, "policy cannot be sent", lambda: fan_out(repo, "main@5", [0], 5, policy)
        )
        refused(
            StorageError,
            "a process of the executor was lost",
            lambda: fan_out(repo, "main@5", [0], 5, Lethal(), pool=RayExecutor(max_retries=0)),
        )
        refused(NotFound, "nothing", lambda: fan_out(tmp_path / "nothing", "main@5", [0], 5))
        refused(NotFound, "empty", lambda: fan_out(f"file://{tmp_path}/nothing", "main@5", [0], 5))
        monkeypatch.setattr(cluster, "WAIT_SECONDS", 2.0)
        holders = [ray.remote(num_cpus=1)(Holder).remote() for _ in range(2)]
        ray.get([each.ready.remote() for each in holders])
        full = "no free CPU for 2 s: 1 needed, the Ray cluster has 2, of which 0 free"
        refused(ClusterError, full, lambda: fan_out(repo, "main@5", [0], 5))
        refused(ClusterError, full, lambda: rollouts("CartPole-v1", 1, remote))
        for each in holders:
            ray.kill(each)
        assert list(repo.runs) == ["main"]


class Holder:
    def ready(self) -> None:
        """Hold a CPU."""
