"""Federated training: exact with one worker, complete with many, whoever dies or is late."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import InvalidInput, Repository, agents
from simgit.errors import TimedOut
from simgit.objects.codec import encode_value
from simgit.remotes.layout import key_of_ref
from simgit.remotes.transport import Transport, open_transport
from simgit.repository import remotes as of_repository
from simgit.training import Config, resume, train
from simgit.training.average import Averaging, average
from simgit.training.checkpoints import load
from simgit.training.federated import (
    Federation,
    LocalRound,
    local,
    merge_round,
    train_federated,
    train_round,
)
from tests.remotes.faulty import FaultyTransport
from tests.support.patience import PATIENCE

KUBE = {"environment": "simgit/SimKube-v0", "arguments": {"trace": "cpu-slight", "target": 3}}
POLE = {"environment": "CartPole-v1", "arguments": {}}


def config(agent: str = "greedy", **given: Any) -> Config:
    settings = {
        "batch": 8,
        "updates": 1,
        "epsilon_steps": 100,
        "buffer": 500,
        **given.pop("settings", {}),
    }
    own = settings if agent == "dqn" else {}
    return Config(agent, own, **{"seed": 3, "episodes": 6, "checkpoint": 2, "trials": 0, **given})


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory for the repositories of workers and coordinators."""
    found = tmp_path / "scratch"
    found.mkdir()
    monkeypatch.setenv("TMPDIR", str(found))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield found
    tempfile.tempdir = None


def federation(tmp_path: Path, rounds: int = 2, episodes: int = 1, **given: Any) -> Federation:
    where = given.pop("where", KUBE)
    made = given.pop("config", None) or config("greedy", **given)
    return Federation(str(tmp_path / "remote"), made, episodes, "fed", rounds, **where)


def coordinator(tmp_path: Path, name: str = "coordinator") -> Repository:
    made = Repository.init(tmp_path / name)
    made.add_remote("origin", str(tmp_path / "remote"))
    return made


def cloned(tmp_path: Path) -> Repository:
    made = Repository.clone(str(tmp_path / "remote"), tmp_path / f"clone-{time.monotonic_ns()}")
    assert not made.fsck().problems
    return made


# --- means ---


def learned(kind: str, seed: int, steps: int = 40) -> dict[str, Any]:
    agent = agents.make(kind, 2, 3, seed, **({"batch": 4, "buffer": 50} if kind == "dqn" else {}))
    rng = np.random.default_rng(seed)
    for i in range(steps):
        before, after = rng.normal(size=(2, 2)).astype(np.float32)
        number = agent.act(before, explore=True)
        agent.observe(before, number, float(rng.normal()), after, i % 10 == 9, False)
        agent.update()
    return agent.state()


@pytest.mark.parametrize("rule", ["mean", "median", "trimmed(0.1)", "trimmed(0.4)"])
@pytest.mark.parametrize("kind", agents.LEARNERS)
def test_the_mean_of_equal_agents_is_each_of_them_to_the_bit(kind: str, rule: str) -> None:
    one = learned(kind, 1)
    for count in (1, 2, 3, 7):
        assert encode_value(average([one] * count, Averaging(rule))) == encode_value(one)
    if rule == "mean":
        assert encode_value(average([one] * 3, None, [0.1, 0.7, 0.3])) == encode_value(one)


def test_rules_join_each_number_and_weights_count_for_the_mean() -> None:
    parts = [learned("dqn", seed) for seed in range(5)]
    stacked = np.stack([each["online"]["0.weight"] for each in parts]).astype(np.float64)

    def joined(rule: str, weights: list[float] | None = None) -> Any:
        return average(parts, Averaging(rule), weights)["online"]["0.weight"]

    kept = np.sort(stacked, axis=0)[1:-1]
    weights = [1.0, 0.0, 2.0, 0.0, 5.0]
    for found, wanted in (
        (joined("mean"), stacked.mean(0)), (joined("median"), np.median(stacked, axis=0)),
        (joined("trimmed(0.2)"), kept.mean(0)), (joined("trimmed(0.1)"), stacked.mean(0)),
        (joined("mean", weights), np.average(stacked, axis=0, weights=weights)),
    ):  # fmt: skip
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_the_share_that_is_left_out_is_exact() -> None:
    """In floats 0.29 of 100 is below 29."""
    values = [np.array([x]) for x in range(100)]
    values[70:72] = [np.array([1e6])] * 2  # 30 numbers are above, with these
    found = Averaging("trimmed(0.29)").join(values, np.ones(100))
    assert found == np.sort(np.concatenate(values))[29:71].mean()


def test_one_broken_agent_does_not_pull_a_robust_mean_away() -> None:
    parts = [learned("dqn", 1) for _ in range(4)]
    broken = learned("dqn", 1)
    broken["online"]["0.weight"] = broken["online"]["0.weight"] + 1e6
    for rule in ("median", "trimmed(0.2)"):
        found = average([*parts, broken], Averaging(rule))["online"]["0.weight"]
        assert (found == parts[0]["online"]["0.weight"]).all()
    assert (average([*parts, broken])["online"]["0.weight"] > 1e5).all()


def test_what_becomes_of_moments_and_of_the_replay_buffer() -> None:
    one, two, new = learned("dqn", 1), learned("dqn", 2), learned("dqn", 3, steps=2)
    assert one["optimizer"] and not new["optimizer"]
    key = "0.weight"
    for parts in ([one, two], [new, one, two]):  # one that has not learned yet has none
        found = average(parts)["optimizer"][key]["exp_avg"]
        theirs = [each["optimizer"][key]["exp_avg"] for each in (one, two)]
        np.testing.assert_allclose(found, np.mean(theirs, axis=0), rtol=1e-5, atol=1e-12)
    first = average([one, two], Averaging(moments="first", replay="first"))
    assert first["optimizer"] is one["optimizer"] and first["replay"] is one["replay"]
    none = average([one, two], Averaging(moments="reset", replay="none"))
    assert none["optimizer"] == {} and none["replay"]["count"] == 0
    assert one["replay"]["count"] == 40
    agents.load(none).update()


def test_agents_that_do_not_fit_are_refused_by_the_name_of_the_tensor() -> None:
    def other(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        data = learned("dqn", 2)
        change(data["online"])
        return data

    one = learned("dqn", 1)
    for change, path in (
        (lambda net: net.update({"2.bias": net["2.bias"][:-1]}), "online.2.bias"),
        (lambda net: net.update(more=net["2.bias"]), "online.more"),
        (lambda net: net.pop("4.weight"), "online.4.weight"),
        (lambda net: net.update({"2.bias": net["2.bias"] * np.nan}), "online.2.bias"),
    ):
        with pytest.raises(InvalidInput, match=path):
            average([one, other(change)])
    for rule in ("mode", "trimmed(0.5)", "trimmed(0)", "trimmed(-1)", 3):
        with pytest.raises(InvalidInput, match="rule must be"):
            Averaging(rule)  # type: ignore[arg-type]
    for weights in ([1.0], [0.0, 0.0], [float("inf"), 1.0], [-1.0, 2.0]):
        with pytest.raises(InvalidInput, match="weights"):
            average([one, one], None, weights)
    with pytest.raises(InvalidInput, match="takes no weights"):
        average([one, one], Averaging("median"), [1.0, 1.0])
    with pytest.raises(InvalidInput, match="moments must be one of"):
        Averaging(moments="none")


# --- rounds ---


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "where"), [("greedy", KUBE), ("dqn", POLE)])
def test_rounds_of_one_worker_are_the_plain_training_oid_for_oid(
    tmp_path: Path, scratch: Path, agent: str, where: Any
) -> None:
    made = config(agent, trials=1)
    rounds = train_federated(made, 1, 3, 2, remote=tmp_path / "remote", group="fed", **where)
    assert [each.what for each in rounds] == ["forward"] * 3
    plain = Repository.init(":memory:")
    with train(plain, "a", made, where["environment"], where["arguments"]) as training:
        training.finish()
    with cloned(tmp_path) as repo:
        for run in ("fed/global", "fed/worker/0"):
            assert list(repo.trajectory(run).oids) == list(plain.trajectory("a").oids)
            assert encode_value(load(repo, run)) == encode_value(load(plain, "a"))
            assert repo.runs[run].status == "completed"
        trials = [each.name for each in repo.history_attachments("fed/global", "trial")]
        assert len(trials) == 3  # the coordinator has tried each
    assert not list(scratch.glob("simgit-*"))


@pytest.mark.slow
def test_workers_of_equal_seeds_have_a_mean_equal_to_each(tmp_path: Path) -> None:
    made = config("dqn")
    train_federated(made, 3, 2, 1, remote=tmp_path / "remote", group="fed", seeds=[3, 3, 3], **POLE)
    with cloned(tmp_path) as repo:
        mean = load(repo, "fed/global")
        for index in range(3):
            each = load(repo, f"fed/worker/{index}")
            for part in ("online", "target", "optimizer"):
                assert encode_value(mean[part]) == encode_value(each[part])


@pytest.mark.slow
def test_a_round_is_a_state_whose_parents_are_the_global_state_and_the_workers(
    tmp_path: Path,
) -> None:
    told: list[Any] = []
    made = config("dqn", trials=1)
    rounds = train_federated(
        made, 3, 2, 1, remote=tmp_path / "remote", group="fed", tell=told.append, **POLE
    )
    assert told == rounds and [each.what for each in rounds] == ["merged", "merged"]
    with cloned(tmp_path) as repo:
        one, two = (each.oid for each in rounds)
        assert repo.resolve("fed/global") == two
        tips = [repo.resolve(f"fed/worker/{i}") for i in range(3)]
        assert list(repo.state(two).parents) == [tips[0], one, *tips[1:]]
        assert repo.state(two).message == "round 2: mean of 3 workers"
        starts = [repo.trajectory(tip).oids for tip in tips]
        assert all(one in list(each) for each in starts)
        assert len({bytes(each) for each in tips}) == 3  # each explores by itself
        parts = [load(repo, f"fed/worker/{i}") for i in range(3)]
        mean = load(repo, "fed/global")
        for name, found in mean["online"].items():
            wanted = np.mean([each["online"][name].astype(float) for each in parts], axis=0)
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
        before = load(repo, str(one))["exploration"]["steps"]
        explored = [each["exploration"]["steps"] - before for each in parts]
        assert mean["exploration"]["steps"] == mean["steps"] == before + sum(explored)
        assert min(explored) > 0
        assert repo.attachment(two, "trial")["episodes"] == 1
        roots = [repo.trajectory(each)[0].oid for each in repo.state(one).parents]
        begun = [repo.attachment(root, name)["online"] for root in roots
                 for name in repo.attachments(root) if name.startswith("initial-agent")]  # fmt: skip
        assert len(begun) == 2  # worker 0 has the configuration's own seed
        assert encode_value(begun[0]) == encode_value(begun[1])
        with resume(repo, "fed/global", episodes=4) as training:  # a training like others
            assert training.done == 2
            training.episode()


@pytest.mark.slow
def test_a_training_continues_for_more_rounds_with_other_workers(tmp_path: Path) -> None:
    given: dict[str, Any] = {"remote": tmp_path / "remote", "group": "fed", **KUBE}
    made = config()
    (one,) = train_federated(made, 2, 1, 1, **given)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        more = train_federated(made, 3, 2, 1, executor=pool, **given)
    assert [(each.round, each.workers) for each in more] == [(2, (0, 1, 2))]
    assert train_federated(made, 3, 2, 1, **given) == []
    with cloned(tmp_path) as repo:
        assert repo.runs["fed/global"].status == "completed"
        assert repo.is_ancestor(one.oid, "fed/worker/2")


@pytest.mark.slow
def test_weights_by_episodes_count_more_who_trained_longer(tmp_path: Path) -> None:
    for index, episodes in enumerate((1, 3)):
        train_round(
            federation(tmp_path, episodes=episodes, config=config("dqn"), where=POLE), index
        )
    with coordinator(tmp_path) as repo:
        made = federation(tmp_path, config=config("dqn"), where=POLE)
        assert merge_round(made, repo, 2, weights="episodes") is not None
        one, two = (load(repo, f"fed/worker/{i}")["online"]["0.bias"] for i in range(2))
        np.testing.assert_allclose(
            load(repo, "fed/global")["online"]["0.bias"],
            one / 4 + two * 3 / 4,
            rtol=1e-5,
            atol=1e-7,
        )


@pytest.mark.slow
def test_what_cannot_be_federated_is_refused(tmp_path: Path) -> None:
    given: dict[str, Any] = {"remote": tmp_path / "remote", **KUBE}
    for change, words in (
        ({"workers": 0}, "workers"), ({"quorum": 3}, "quorum"), ({"seeds": [1]}, "seeds"),
        ({"rounds": 0}, "rounds"), ({"local_episodes": 0}, "local_episodes"),
        ({"config": Config("random")}, "does not learn"), ({"weights": "odd"}, "weights"),
        ({"late": "drop"}, "late"), ({"group": "a..b"}, "a..b"), ({"executor": 3}, "executor"),
    ):  # fmt: skip
        asked: dict[str, Any] = {
            "config": config(), "workers": 2, "rounds": 1, "local_episodes": 1, **change
        }  # fmt: skip
        with pytest.raises(InvalidInput, match=words):
            train_federated(**asked, **given)
    with Repository.init(":memory:") as other, pytest.raises(InvalidInput, match="as 'origin'"):
        other.add_remote("origin", str(tmp_path / "elsewhere"))
        train_federated(config(), 1, 1, 1, repo=other, **given)
    with pytest.raises(InvalidInput, match="no agents to average"):
        average([])
    with pytest.raises(InvalidInput, match="no_such"):
        asked = {**given, "arguments": {"no_such": 1}}
        train_federated(config(), 1, 1, 1, **asked)


@pytest.mark.slow
def test_after_the_last_round_nothing_is_trained_or_merged(tmp_path: Path) -> None:
    made = federation(tmp_path, rounds=1)
    train_round(made, 0)
    with coordinator(tmp_path) as repo:
        assert merge_round(made, repo) is not None
        with pytest.raises(InvalidInput, match="all 1 rounds are done"):
            train_round(made, 1)
        longer = federation(tmp_path, rounds=2)
        train_round(longer, 1)
        assert merge_round(made, repo) is None, "its state is of the second round"
        assert merge_round(longer, repo) is not None


@pytest.mark.slow
def test_a_repository_of_another_remote_is_refused(tmp_path: Path) -> None:
    train_federated(config(), 1, 1, 1, remote=tmp_path / "other", group="fed", **KUBE)
    asked: dict[str, Any] = {"remote": tmp_path / "remote", "group": "fed", **KUBE}
    with Repository.init(tmp_path / "own") as repo:
        with pytest.raises(InvalidInput, match="has no remote 'origin'"):
            merge_round(federation(tmp_path), repo)
        repo.add_remote("origin", str(tmp_path / "other"))
        with pytest.raises(InvalidInput, match=r"as 'origin', but the workers push to .*remote"):
            train_federated(config(), 1, 1, 1, repo=repo, **asked)
        with pytest.raises(InvalidInput, match="but the workers push to"):
            merge_round(federation(tmp_path), repo)
    assert not (tmp_path / "remote").exists()
    with Repository.init(tmp_path / "url") as repo:
        repo.add_remote("origin", (tmp_path / "remote").as_uri() + "/")
        assert len(train_federated(config(), 1, 1, 1, repo=repo, **asked)) == 1


@pytest.mark.slow
def test_workers_with_equal_agents_count_each(tmp_path: Path) -> None:
    train_federated(
        config(), 3, 1, 1, remote=tmp_path / "remote", group="fed", seeds=[1, 1, 2], **KUBE
    )
    with cloned(tmp_path) as repo:
        parts = [load(repo, f"fed/worker/{index}") for index in range(3)]
        assert encode_value(parts[0]["values"]) == encode_value(parts[1]["values"])
        found, wanted = load(repo, "fed/global"), average(parts)
        assert encode_value(found["values"]) == encode_value(wanted["values"])
        assert encode_value(average(parts[1:])["values"]) != encode_value(wanted["values"])
        steps = [each["exploration"]["steps"] for each in (found, *parts)]
        assert steps[0] == sum(steps[1:])


# --- workers that die, or are late ---


class Processes(Executor):
    """Starts a process for each call; ``meet`` gets it while it works."""

    def __init__(self, meet: Callable[[int, BaseProcess], object]) -> None:
        self._meet = meet

    def submit(self, call: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        found: Future[Any] = Future()
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_send, args=(theirs, call, arguments, named))

        def work() -> None:
            process.start()
            theirs.close()
            self._meet(arguments[1], process)
            try:
                found.set_result(mine.recv())
            except EOFError:
                process.join()
                found.set_exception(RuntimeError(f"a process ended with {process.exitcode}"))

        threading.Thread(target=work).start()
        return found


def _send(pipe: Any, call: Any, arguments: Any, named: Any) -> None:
    pipe.send(call(*arguments, **named))


def until_it_records(scratch: Path, index: int) -> None:
    """Wait until a worker has states that it has not pushed, in its local repository."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for each in scratch.glob("simgit-*"):
            try:
                with Repository.open(each, read_only=True) as repo:
                    run = f"fed/worker/{index}"
                    if run in repo.runs and repo.runs[run].episodes >= 2:
                        return
            except Exception:  # it is being made
                continue
        time.sleep(0.01)
    raise AssertionError("it did not begin")


@pytest.mark.slow
def test_a_round_does_without_a_worker_that_died_and_nothing_it_did_is_dropped(
    tmp_path: Path, scratch: Path
) -> None:
    killed: list[int] = []

    def meet(index: int, process: BaseProcess) -> None:
        if index == 1 and not killed:
            until_it_records(scratch, 1)
            process.kill()
            killed.append(index)

    made = config(seed=5)
    rounds = train_federated(
        made, 3, 2, 40, remote=tmp_path / "remote", group="fed", executor=Processes(meet), quorum=2,
        **KUBE,
    )  # fmt: skip
    assert killed == [1]
    assert [each.workers for each in rounds] == [(0, 2), (0, 1, 2)]
    with cloned(tmp_path) as repo:
        begun = repo.state("fed/global").parents
        assert repo.resolve("fed/worker/1") in begun
        kept = [
            each for each in repo.trajectory("fed/worker/1") if "too late" in (each.message or "")
        ]
        assert len(kept) == 1 and len(kept[0].parents) == 2  # what it had done when it was killed
        assert kept[0].parents[0] == rounds[0].oid
        assert repo.runs["fed/worker/1"].episodes == 80


@pytest.mark.slow
def test_a_worker_that_was_killed_continues_its_round_exactly(
    tmp_path: Path, scratch: Path
) -> None:
    made = federation(tmp_path, rounds=1, episodes=40)

    def meet(index: int, process: BaseProcess) -> None:
        until_it_records(scratch, index)
        process.kill()

    other = Federation(str(tmp_path / "other"), *(made.config, 40, "fed", 1), **KUBE)
    whole = train_round(other, 1)  # which nobody kills
    with pytest.raises(RuntimeError, match="-9"):
        Processes(meet).submit(train_round, made, 1).result()
    assert train_round(made, 1).oid == whole.oid


@pytest.mark.slow
def test_a_worker_killed_as_it_begins_a_round_has_its_own_generators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed before the agent with its own generators is attached; nothing is half done."""
    made = federation(tmp_path, rounds=2)
    train_federated(made.config, 2, 1, 1, remote=tmp_path / "remote", group="fed", **KUBE)

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(local, "attach_for", killed)
        train_round(made, 1)
    train_round(made, 1)
    with cloned(tmp_path) as repo:
        base = repo.runs["fed/global"].oid
        assert base is not None
        agents_there = [n for n in repo.attachments(base) if n.startswith("agent")]
        assert len(agents_there) == 2, "the mean, and that with the worker's generators"


@pytest.mark.slow
@pytest.mark.parametrize("late", ["keep", "merge"])
def test_a_late_worker_is_a_parent_of_a_later_state(
    tmp_path: Path, scratch: Path, late: str
) -> None:
    made, stopped = federation(tmp_path, rounds=3, episodes=40), threading.Event()

    def meet(index: int, process: BaseProcess) -> None:
        until_it_records(scratch, index)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        stopped.set()
        process_of.append(process.pid)

    process_of: list[int] = []
    slow = Processes(meet).submit(train_round, made, 1)
    train_round(made, 0)
    assert stopped.wait(PATIENCE)
    with coordinator(tmp_path) as repo:
        one = merge_round(made, repo)
        assert one is not None and one.workers == (0,)
        os.kill(process_of[0], signal.SIGCONT)
        old: LocalRound = slow.result(PATIENCE)
        assert old.round == 1
        train_round(made, 0)
        two = merge_round(made, repo, late=late)
        assert two is not None and two.round == 2
        assert two.workers == ((0,) if late == "keep" else (0, 1))
        assert two.late == (() if late == "keep" else (1,))
        assert repo.is_ancestor(old.oid, two.oid) == (late == "merge")
        train_round(made, 0)
        assert train_round(made, 1).round == 3
        three = merge_round(made, repo, 2)
        assert three is not None and three.workers == (0, 1)
        assert repo.is_ancestor(old.oid, three.oid)


@pytest.mark.slow
def test_a_deadline_lets_a_round_go_on_with_its_quorum(tmp_path: Path, scratch: Path) -> None:
    held: list[int] = []

    def meet(index: int, process: BaseProcess) -> None:
        if index == 1 and not held:
            until_it_records(scratch, 1)
            assert process.pid is not None
            held.append(process.pid)
            os.kill(process.pid, signal.SIGSTOP)

    def tell(result: Any) -> None:
        if result.round == 1:
            os.kill(held[0], signal.SIGCONT)

    rounds = train_federated(
        config(), 2, 2, 40, remote=tmp_path / "remote", group="fed", executor=Processes(meet),
        quorum=1, deadline=5.0, late="merge", tell=tell, **KUBE,
    )  # fmt: skip
    assert rounds[0].workers == (0,) and 0 in rounds[1].workers
    with cloned(tmp_path) as repo:
        assert "fed/worker/1" in repo.runs and held


@pytest.mark.slow
def test_fewer_workers_than_the_quorum_end_the_training(tmp_path: Path, scratch: Path) -> None:
    def meet(index: int, process: BaseProcess) -> None:
        if index == 1:
            process.kill()

    with pytest.raises(TimedOut, match=r"round 1 needs 2 workers, and has fewer; worker 1: .*-9"):
        train_federated(
            config(), 2, 1, 1, remote=tmp_path / "remote", executor=Processes(meet), **KUBE
        )


@pytest.mark.slow
def test_of_two_coordinators_one_wins_and_the_other_takes_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, results = federation(tmp_path), []
    train_round(made, 0)
    other = coordinator(tmp_path, "other")

    def before(_: int, call: str, key: str) -> None:
        if call.startswith("put") and key == key_of_ref("runs/fed/global") and not results:
            results.append(None)
            train_round(made, 1)
            results.append(merge_round(made, other, 2))

    def opened(url: str, **options: Any) -> Transport:
        return FaultyTransport(open_transport(url, **options), before=before)

    with coordinator(tmp_path) as repo, other:
        monkeypatch.setattr(of_repository, "open_transport", opened)
        mine = merge_round(made, repo, 1)
        theirs = results[1]
        assert theirs.what == "merged" and theirs.workers == (0, 1)
        assert mine is not None and mine.what == "taken"
        assert (mine.oid, mine.workers) == (theirs.oid, (0, 1))
        assert repo.resolve("fed/global") == theirs.oid
        again = merge_round(made, repo, 1)
        assert again is None  # nobody has done round 2 yet
        train_round(made, 1)
        more = merge_round(made, repo, 1)
        assert more is not None and more.what == "forward" and more.workers == (1,)
        assert merge_round(made, other, 1) is None
        assert other.resolve("fed/global") == more.oid
    with cloned(tmp_path) as copy:
        assert copy.is_ancestor(theirs.oid, "fed/global")
