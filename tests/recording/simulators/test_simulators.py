"""Simulators that are no environments: resumed, restored, branched and verified by their hooks."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Divergence, InvalidInput, Repository
from simgit.errors import Untrusted, Unverified
from simgit.recording.simulators.hooks import SimulatorHooks
from tests.recording.simulators import models
from tests.support.paths import ROOT

MODELS: dict[str, tuple[dict[str, Any], str | None]] = {
    "own, rebuilt": (models.QUEUE, None),
    "own, saved": (models.SAVED, None),
    "SimPy": (models.BANK, "simpy"),
    "mesa": (models.MARKET, "mesa"),
    "salabim": (models.SHOP, "salabim"),
}


QUICK = [*list(MODELS)[:-1], pytest.param("salabim", marks=pytest.mark.slow)]


@pytest.fixture(params=QUICK)
def hooks(request: pytest.FixtureRequest) -> dict[str, Any]:
    hooks, package = MODELS[request.param]
    if package is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip(package)
    return hooks


def actions(hooks: dict[str, Any], seed: int, count: int) -> list[int | None]:
    """Return actions; some of the models have none."""
    draw = random.Random(seed)
    if hooks["rebuild"] is models.new_queue:
        return [draw.randrange(3) for _ in range(count)]
    if hooks is models.BANK:
        return [draw.choice((None, None, 1, 2, 3)) for _ in range(count)]
    return [None] * count


def record(repo: Repository, run: str, hooks: dict[str, Any], seed: int, stop: int) -> None:
    """Record to a number of steps in all: two episodes, the first of 20 steps."""
    with repo.recorder(run, snapshots=7, **hooks) as rec:
        assert not rec.is_catching_up
        for step, action in list(enumerate(actions(hooks, seed, stop)))[rec.position :]:
            rec.reset(seed=seed % 1000 + step) if step in (0, 21) else rec.step(action)


@pytest.mark.slow
def test_a_resumed_run_is_that_without_interruption(hooks: dict[str, Any], seed: int) -> None:
    whole, parts = Repository.init(":memory:"), Repository.init(":memory:")
    record(whole, "main", hooks, seed, 60)
    for stop in (1, 14, 22, 41, 60):
        record(parts, "main", hooks, seed, stop)
    assert whole.resolve("main") == parts.resolve("main")
    found = parts.verify_simulator("main", **hooks)
    assert found.is_exact and (found.start, found.stop) == (0, 60)
    assert parts.runs["main"].metadata["verdict"]["result"] == (
        "exact" if "save" in hooks else "exact by replay"
    )


@pytest.mark.slow
@pytest.mark.parametrize("hooks", QUICK, indirect=True)
def test_each_step_can_be_gone_back_to(hooks: dict[str, Any], seed: int) -> None:
    repo = Repository.init(":memory:")
    record(repo, "main", hooks, seed, 40)
    draw, given = random.Random(seed), actions(hooks, seed, 40)
    for step in (0, 20, 21, draw.randrange(40)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Unverified)
            simulator = repo.simulator(f"main@{step}", **hooks)
        for later in range(step + 1, 21 if step < 21 else 40):
            returned = hooks["advance"](simulator, given[later])
            seen = SimulatorHooks(**hooks).observed(simulator, returned)
            state = repo.state(f"main@{later}")
            assert json.dumps(
                seen["observation"], default=np.ndarray.tolist, sort_keys=True
            ) == json.dumps(state.observation, default=np.ndarray.tolist, sort_keys=True), later
            assert seen["time"] == state.info["time"]


@pytest.mark.slow
@pytest.mark.parametrize("hooks", QUICK, indirect=True)
def test_a_branch_goes_on_from_its_point(hooks: dict[str, Any], seed: int) -> None:
    repo = Repository.init(":memory:")
    record(repo, "main", hooks, seed, 40)
    repo.branch("other", "main@30")
    with repo.recorder("other", **hooks) as rec:
        assert rec.position == 31
        for action in (0, 0, 1):
            rec.step(action if hooks is not models.BANK else 1)
    assert repo.is_ancestor("main@30", "other") and repo.state("other").step == 33
    assert repo.verify_simulator("other", **hooks).is_exact
    assert repo.verify_simulator("main@5..main@12", **hooks).stop == 13


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        ["SAVED", "BANK"],
        pytest.param(["QUEUE", "MARKET", "SHOP"], marks=pytest.mark.slow),
    ],
)
def test_a_fresh_process_resumes_and_verifies(tmp_path: Path, seed: int, names: list[str]) -> None:
    """The whole run in one process, and in three: the oids are the same, and so is a restore."""
    script = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from simgit import Repository\n"
        "from tests.recording.simulators import models\n"
        "from tests.recording.simulators.test_simulators import record\n"
        "where, name, seed, stop = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])\n"
        "with Repository.init(where) as repo:\n"
        "    for name in name.split(','):\n"
        "        record(repo, name, getattr(models, name), seed, stop)\n"
    )
    for package, name in (("simpy", "BANK"), ("mesa", "MARKET"), ("salabim", "SHOP")):
        if name in names:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pytest.importorskip(package)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SIMGIT_CONFIG_DIR": str(tmp_path / "config")}

    def run(where: str, stop: int) -> None:
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / where), ",".join(names), str(seed), str(stop)],
            check=True, env=environ, cwd=tmp_path,
        )  # fmt: skip

    run("parts", 18)
    run("parts", 35)
    with Repository.init(":memory:") as whole, Repository.open(tmp_path / "parts") as parts:
        for name in names:
            record(whole, name, getattr(models, name), seed, 35)
            assert whole.resolve(name) == parts.resolve(name), name
    found = subprocess.run(
        [sys.executable, "-m", "simgit", "-C", "parts", "verify", names[1], "--json"],
        check=True, env=environ, cwd=tmp_path, capture_output=True,
    )  # fmt: skip
    assert json.loads(found.stdout)["verdict"]["result"] in ("exact", "exact by replay")


@pytest.mark.slow
def test_a_killed_process_is_continued(tmp_path: Path, seed: int) -> None:
    script = (
        "import os, signal, sys\n"
        "from simgit import Repository\n"
        "from tests.recording.simulators.models import SAVED\n"
        "stop = int(sys.argv[2])\n"
        "rec = Repository.init(sys.argv[1]).recorder('main', flush_every=5, snapshots=6, **SAVED)\n"
        "while rec.position < stop:\n"
        "    rec.step(rec.position % 3) if rec.position else rec.reset(seed=3)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SIMGIT_CONFIG_DIR": str(tmp_path / "config")}
    for stop in (8, 22, 41, 64):
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "parts"), str(stop)],
            env=environ, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert done.returncode == -9
    whole = Repository.init(":memory:")
    with whole.recorder("main", **models.SAVED) as rec:
        rec.reset(seed=3)
        while rec.position < 64:
            rec.step(rec.position % 3)
    with Repository.open(tmp_path / "parts") as parts:
        assert parts.runs["main"].step in range(58, 64)
        assert parts.resolve("main") == whole.resolve(f"main@{parts.runs['main'].step}")
        assert parts.verify_simulator("main", **models.SAVED).verdict.result == "exact"


# --- what differs is found ----------------------------------------------------------------------


def test_another_simulator_diverges_at_a_named_step_and_field(seed: int) -> None:
    repo = Repository.init(":memory:")
    record(repo, "main", models.QUEUE, seed, 20)

    def advance(queue: models.Queue, action: Any) -> dict[str, Any]:
        found = models.advance_queue(queue, action)
        if queue.now == 9:
            queue.served += 1
            queue.now += 0
            found["reward"] -= 1
        return found

    changed = {**models.QUEUE, "advance": advance}
    for call in (
        lambda: repo.simulator("main", **changed),
        lambda: repo.recorder("main", **changed),
    ):
        with pytest.raises(Divergence) as caught:
            call()
        assert (caught.value.step, caught.value.field) == (9, "reward")
    found = repo.verify_simulator("main", **changed)
    assert (found.stop, found.divergence.field, found.is_exact) == (9, "reward", False)
    assert found.verdict.result == "depends on the process"
    record(repo, "main", models.QUEUE, seed, 25)  # the refused recorder has left the run free
    assert repo.verify_simulator("main", **models.QUEUE).is_exact


def test_what_a_snapshot_lacks_is_found_and_not_used(seed: int) -> None:
    repo = Repository.init(":memory:")
    record(repo, "main", models.SAVED, seed, 21)
    bad = {**models.SAVED, "load": models.load_queue_badly}
    found = repo.verify_simulator("main", **bad)
    assert not found.is_exact and found.verdict.result == "exact by replay"
    assert found.verdict.details["from"] in (7, 14)
    # then re-execution leads there
    queue = repo.simulator("main@15", **bad)
    assert queue.random.getstate() == repo.simulator("main@15", **models.QUEUE).random.getstate()


def test_a_simulator_that_is_not_deterministic_is_called_so() -> None:
    repo = Repository.init(":memory:")
    draw = random.Random()
    noisy = {
        **models.QUEUE,
        "observe": lambda queue: {**models.observe_queue(queue), "reward": draw.random()},
        "advance": lambda queue, action: queue.advance(action) and None,
    }
    record(repo, "main", noisy, 0, 10)
    assert repo.verify_simulator("main", **noisy).verdict.result == "not deterministic"


def test_a_restore_from_its_own_snapshot_says_that_nothing_was_compared(seed: int) -> None:
    repo = Repository.init(":memory:")
    hooks = {"save": models.save_queue, "load": models.load_queue}
    with repo.recorder("main", snapshots=5, **hooks) as rec:
        rec.simulator = models.new_queue(seed)
        for _ in range(12):
            rec.append(rec.simulator.advance(1))
    with pytest.warns(Unverified, match="nothing was compared"):
        repo.simulator("main@0", **hooks)
    with pytest.raises(InvalidInput, match="advance="):
        repo.simulator("main@3", **hooks)


# --- the user's own loop ------------------------------------------------------------------------


def loop(repo: Repository, run: str, stop: int, seed: int, **hooks: Any) -> None:
    """The same script, run again: what is recorded is compared, and then it goes on."""
    with repo.recorder(run, snapshots=6, **hooks) as rec:
        if rec.simulator is None:
            rec.simulator = models.new_queue(seed)
        while rec.position < stop:
            action = rec.recorded_action
            action = rec.simulator.random.randrange(3) if action is None else action
            if rec.is_catching_up:
                assert action == rec.simulator.random.randrange(3)
            reward = rec.simulator.advance(action)
            rec.append(**models.observe_queue(rec.simulator), action=action, reward=reward)


def test_a_loop_of_ones_own_is_compared_and_goes_on(seed: int) -> None:
    hooks = {"save": models.save_queue, "load": models.load_queue}
    whole, parts = Repository.init(":memory:"), Repository.init(":memory:")
    loop(whole, "main", 30, seed, **hooks)
    loop(parts, "main", 17, seed, **hooks)
    with parts.recorder("main", **hooks) as rec:
        assert rec.is_catching_up and rec.position in (13, 14, 15, 16)
    loop(parts, "main", 30, seed, **hooks)
    assert whole.resolve("main") == parts.resolve("main")
    with (
        parts.recorder("main", **hooks) as rec,
        pytest.raises(Divergence) as caught,
    ):
        rec.simulator.now += 1
        rec.append(**models.observe_queue(rec.simulator), action=rec.recorded_action)
    assert caught.value.step == rec.position


def test_snapshots_are_few_where_they_cost_more_than_steps() -> None:
    """By default far from every state is saved, and the first one is."""
    calls: list[int] = []

    def save(queue: models.Queue) -> dict[str, Any]:
        calls.append(queue.now)
        return models.save_queue(queue)

    repo = Repository.init(":memory:")
    hooks = {**models.SAVED, "save": save}
    with repo.recorder("main", **hooks) as rec:
        rec.reset(seed=1)
        for _ in range(1000):
            rec.step(1)
    assert calls[0] == 0 and 1 < len(calls) < 200
    assert [line.step for line in repo.history_attachments("main", "snapshot")] == calls[::-1]
    assert repo.verify_simulator("main", **hooks).verdict.result == "exact"


def test_without_hooks_a_recorder_is_what_it_was() -> None:
    repo = Repository.init(":memory:")
    with repo.recorder("main") as rec:
        rec.append(1, time=2.0)
        assert not hasattr(rec, "simulator")
    assert "simulator" not in repo.runs["main"].metadata


@pytest.mark.parametrize(
    "wrong",
    [
        {"save": models.save_queue}, {"load": models.load_queue}, {"advance": models.advance_queue},
        {**models.QUEUE, "rebuild": 3}, {**models.QUEUE, "snapshots": 0},
        {**models.QUEUE, "snapshots": "often"}, {**models.SAVED, "snapshots": True},
    ],
)  # fmt: skip
def test_wrong_hooks_are_refused(wrong: dict[str, Any]) -> None:
    repo = Repository.init(":memory:")
    with pytest.raises(InvalidInput):
        repo.recorder("main", **wrong)
    with pytest.raises(InvalidInput):
        repo.recorder(["a", "b"], **models.QUEUE)
    repo.recorder("main").close()


def test_what_hooks_return_is_checked() -> None:
    repo = Repository.init(":memory:")
    for bad in (lambda _: {"observaton": 1}, lambda _: 3, lambda _: {"time": "noon"}):
        with repo.recorder("main", **{**models.QUEUE, "observe": bad}) as rec:
            with pytest.raises(InvalidInput):
                rec.reset(seed=1)
            assert not rec.pending
    unsaved = {**models.SAVED, "save": lambda _: object()}
    with repo.recorder("main", **unsaved) as rec, pytest.raises(InvalidInput, match="snapshot"):
        rec.reset(seed=1)


# --- trust --------------------------------------------------------------------------------------


def test_hooks_that_a_stranger_names_are_not_called(tmp_path: Path) -> None:
    """A bundle, a clone and a store without trust: nothing is imported, whatever is noted there."""
    source = Repository.init(tmp_path / "source")
    record(source, "main", models.QUEUE, 1, 12)
    evil = {"rebuild": "os:getpid", "advance": "os:getpid"}
    source.configure("main", metadata={"simulator": evil})
    source.create_bundle(tmp_path / "a.bundle", ["main"])
    target = Repository.init(tmp_path / "target")
    target.import_bundle(tmp_path / "a.bundle")
    for call in (target.simulator, target.verify_simulator):
        with pytest.raises(Untrusted):
            call("main")
    # one's own verdict does not make the stranger's names trusted
    target.configure("main", metadata={"verdict": {"result": "exact"}})
    with pytest.raises(Untrusted):
        target.simulator("main")
    target.branch("mine", "main@5")
    with pytest.raises(Untrusted):
        target.simulator("mine")
    # with hooks of one's own it works, and these are what is noted then
    assert target.verify_simulator("main", **models.QUEUE).is_exact
    assert target.simulator("main@3").now == 3
    source.distrust()
    with pytest.raises(Untrusted):
        source.simulator("main")


def test_the_run_of_an_environment_is_not_one_of_a_simulator() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    from simgit.gym import Recorder

    repo = Repository.init(":memory:")
    with Recorder(gymnasium.make("CartPole-v1"), repo, "main", self_check=False) as env:
        env.reset(seed=1)
    with pytest.raises(InvalidInput, match="was recorded from an environment"):
        repo.recorder("main", **models.QUEUE)
    assert "simulator" not in repo.runs["main"].metadata


def test_hooks_are_noted_by_name_where_they_have_one() -> None:
    repo = Repository.init(":memory:")
    record(repo, "main", models.QUEUE, 1, 5)
    names = repo.runs["main"].metadata["simulator"]
    assert names["rebuild"].startswith("tests.recording.simulators.models:")
    with repo.recorder("lambda", rebuild=lambda seed=0: models.Queue(seed)) as rec:
        rec.reset(seed=1)
    assert repo.runs["lambda"].metadata["simulator"] == {}
    with pytest.raises(InvalidInput, match="where they cannot be imported"):
        repo.simulator("lambda")


@pytest.mark.slow
def test_it_works_without_gymnasium(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['gymnasium'] = None\n"
        "from simgit import Repository\n"
        "from tests.recording.simulators.models import SAVED\n"
        "repo = Repository.init(':memory:')\n"
        "with repo.recorder('main', **SAVED) as rec:\n"
        "    rec.reset(seed=3)\n"
        "    for i in range(9): rec.step(i % 3)\n"
        "assert repo.verify_simulator('main').is_exact\n"
        "assert repo.simulator('main@t=5').now == 5\n"
        "assert not any(name.startswith('simgit.gym') for name in sys.modules)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environ, cwd=tmp_path)
