"""Training records every step, goes on exactly wherever it was cut off, and branches."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Divergence, InvalidInput, NotFound, Repository, agents
from simgit.analysis.recorded_clusters import recorded
from simgit.training import Config, Transition, checkpoints, evaluate, resume, train
from simgit.training.average import average, merge
from simgit.training.evaluation import environment_of
from simgit.training.folder import RunFolder
from simgit.training.trials import Trials
from tests.support.paths import ROOT

TRACE = {"trace": "cpu-slight", "target": 3}
QUICK = {"batch": 8, "updates": 1, "epsilon_steps": 100}


def config(agent: str = "greedy", episodes: int = 6, **given: Any) -> Config:
    settings = QUICK if agent == "dqn" else {}
    return Config(
        agent, settings, episodes=episodes, checkpoint=given.pop("checkpoint", 2), **given
    )


def whole(agent: str = "greedy", arguments: Any = TRACE, **given: Any) -> Repository:
    repo = Repository.init(":memory:")
    with train(repo, "a", config(agent, **given), arguments=arguments) as training:
        training.finish()
    return repo


@cache
def finished(agent: str = "greedy") -> Repository:
    """Return what ``whole`` returns, once trained: for tests that change nothing in it."""
    return whole(agent)


class Cut(Exception):
    pass


def cut(repo: Repository, agent: str, after: int, arguments: Any = TRACE, **given: Any) -> None:
    """Train until so many steps are done, and stop there without a word."""
    steps = 0

    def watch(_: Transition) -> None:
        nonlocal steps
        steps += 1
        if steps == after:
            raise Cut

    settings = config(agent, **given)
    with pytest.raises(Cut), train(repo, "a", settings, arguments=arguments) as training:
        training.finish(watch=watch)


def test_every_step_is_a_state_with_what_led_to_it() -> None:
    repo = finished()
    states = repo.trajectory("a")
    assert len(states.episodes) == 6
    assert states[0].reset == {"seed": 1000}
    assert [each.seed for each in states.episodes] == [1000 * n for n in range(1, 7)]
    assert states.infos["ready"].shape == (len(states),)
    info = repo.runs["a"]
    assert info.status == "completed"
    assert info.config["agent"]["name"] == "greedy" and info.config["agent"]["lr"] == 0.5
    assert info.config["training"] == {
        "episodes": 6, "seed": 0, "checkpoint": 2, "trials": 1,
    }  # fmt: skip


@pytest.mark.slow
def test_checkpoints_lie_at_the_ends_of_episodes_and_hold_the_agent() -> None:
    repo = whole(episodes=5)
    states = repo.trajectory("a")
    has = [i for i, oid in enumerate(states.oids) if "agent" in repo.attachments(oid)]
    ends = [int(each.steps[-1]) for each in states.episodes]
    assert has == [ends[1], ends[3], ends[4]]
    agent = agents.load(repo.attachment("a", "agent"))
    assert agent.settings == config().settings


@pytest.mark.slow
def test_a_run_stands_for_its_best_checkpoint_and_a_state_for_the_newest_up_to_it() -> None:
    repo = whole(episodes=20)
    states = repo.trajectory("a")
    with_agent = [oid for oid in states.oids if "agent" in repo.attachments(oid)]
    assert [oid for oid in states.oids if "trial" in repo.attachments(oid)] == with_agent
    where = environment_of(repo, "a", {})
    for oid in with_agent:  # a trial says what an evaluation finds
        total = evaluate(str(oid), *where, repo=repo).total
        assert total.lengths.mean == repo.attachment(oid, "trial")["length"]
    lengths = [repo.attachment(oid, "trial")["length"] for oid in with_agent]
    assert min(lengths) < lengths[-1] or lengths[-1] == min(lengths) < max(lengths)
    last_of_best = max(i for i, length in enumerate(lengths) if length == min(lengths))
    found = evaluate("a", *where, repo=repo)
    assert found.state == with_agent[last_of_best] and found.total.lengths.mean == min(lengths)
    assert evaluate("a~0", *where, repo=repo).state == with_agent[-1]


@pytest.mark.slow
def test_trials_leave_no_trace_in_what_is_learned() -> None:
    assert finished("dqn").resolve("a") == whole("dqn", trials=0).resolve("a")


def test_goals_come_before_steps_and_steps_before_the_return() -> None:
    trial = {"episodes": 2, "solved": 1, "length": 50.0, "return": -9.0}
    better = [{"solved": 2, "length": 99.0}, {"length": 49.0}, {"return": -8.0}]
    assert all(checkpoints.rank({**trial, **each}) > checkpoints.rank(trial) for each in better)
    free = {**trial, "solved": None}  # an end that is no goal: longer is not worse
    assert checkpoints.rank({**free, "length": 60.0}) == checkpoints.rank(free)


@pytest.mark.slow
def test_a_branch_stands_for_what_it_learned_itself() -> None:
    repo = whole(episodes=6)
    repo.branch("b", "a@ep4", overrides={"lr": 1e-6})
    where = environment_of(repo, "b", {})
    assert evaluate("b", *where, repo=repo).state == evaluate("a@ep4", *where, repo=repo).state
    with resume(repo, "b") as training:
        training.finish()
    own = evaluate("b", *where, repo=repo).state
    assert own is not None and repo.state(own).step > repo.state("a@ep4").step


@pytest.mark.slow
def test_equal_seeds_give_equal_names_and_others_others() -> None:
    assert whole().resolve("a") == finished().resolve("a") != whole(seed=1).resolve("a")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "cuts"), [("greedy", (1, 100, 180)), ("random", (50,)), ("dqn", (140,))]
)
def test_a_run_that_was_cut_off_and_resumed_is_the_run_that_was_not(
    agent: str, cuts: tuple[int, ...]
) -> None:
    expected = finished(agent)
    for after in cuts:
        repo = Repository.init(":memory:")
        cut(repo, agent, after)
        assert len(repo.trajectory("a")) < len(expected.trajectory("a"))
        with resume(repo, "a") as training:
            training.finish()
        assert repo.resolve("a") == expected.resolve("a")
        last = [each.attachment("a", "agent") for each in (repo, expected)]
        assert agents.to_json(last[0]) == agents.to_json(last[1])


@pytest.mark.slow
def test_a_run_with_nodes_that_change_is_resumed_exactly() -> None:
    join, lost = {"at": 10, "join": {"name": "d", "cpu": "17"}}, {"lost_nodes": {"d": 55}}
    events = [join, {"at": 20, "drain": "node1"}, {"at": 20, "leave": "node2"}]
    changing = TRACE | {"nodes": {"events": events}, "faults": lost, "max_steps": 8}
    expected = whole(arguments=changing, episodes=2, checkpoint=1)
    for after in (3, 13):
        repo = Repository.init(":memory:")
        cut(repo, "greedy", after, arguments=changing, episodes=2, checkpoint=1)
        assert len(repo.trajectory("a")) < len(expected.trajectory("a"))
        with resume(repo, "a") as training:
            training.finish()
        assert repo.resolve("a") == expected.resolve("a")
    nodes = recorded(expected, "a").cluster().nodes()
    assert [(node["name"], node["ready"]) for node in nodes] == [
        ("node1", True), ("node3", True), ("d", False),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_training_goes_on_for_more_episodes_as_if_they_had_been_asked_for_at_first() -> None:
    repo = whole(episodes=4)
    with pytest.raises(InvalidInput, match="has finished its 4 episodes"):
        resume(repo, "a")
    with resume(repo, "a", episodes=6) as training:
        training.finish()
    assert repo.resolve("a") == finished().resolve("a")
    assert repo.runs["a"].status == "completed"


@pytest.mark.slow
def test_a_branch_goes_on_from_its_state_with_its_own_settings() -> None:
    repo = whole()
    for name, settings in (("same", {}), ("slow", {"lr": 0.01}), ("deep", {"agent.lr": 0.01})):
        repo.branch(name, "a@ep4.3", overrides=settings)
        with resume(repo, name) as training:
            training.finish()
            assert training.agent.settings["lr"] == (0.01 if settings else 0.5)
    assert repo.resolve("same") == repo.resolve("a")
    assert repo.resolve("slow") == repo.resolve("deep") != repo.resolve("a")
    assert repo.state("slow").step and repo.merge_base("slow", "a") is not None
    base = repo.state(repo.merge_base("slow", "a") or "a").step
    assert base >= repo.state("a@ep4.3").step


@pytest.mark.slow
def test_settings_of_a_branch_that_there_are_not_are_refused() -> None:
    repo = whole()
    for settings, message in (
        ({"speed": 1}, "agent 'greedy' has no setting 'speed'"),
        ({"agent.speed": 1}, "unknown setting 'speed'"),
        ({"lr": -1}, "'lr' must be"),
        ({"environment.reward": "base"}, "a history has one environment"),
    ):
        name = f"b{len(repo.runs)}"
        repo.branch(name, "a@ep3", overrides=settings)
        with pytest.raises(InvalidInput, match=message):
            resume(repo, name)
    repo.commit(observation=1, run="plain")
    with pytest.raises(InvalidInput, match="not of a training"):
        resume(repo, "plain")


def test_a_run_that_does_not_follow_from_its_checkpoint_is_a_divergence() -> None:
    repo = Repository.init(":memory:")
    cut(repo, "greedy", 250)
    states = repo.trajectory("a")
    end = next(oid for oid in states.oids if "agent" in repo.attachments(oid))
    repo.attach(end, "agent", agents.make("greedy", 5, 7, seed=9).state())
    with (
        resume(repo, "a") as training,
        pytest.raises(Divergence, match="was recorded with another 'action'"),
    ):
        training.finish()


@pytest.mark.slow
def test_a_training_that_goes_on_has_one_environment() -> None:
    repo = Repository.init(":memory:")
    cut(repo, "greedy", 250)
    with resume(repo, "a") as training:
        training.finish()
    oids = repo.trajectory("a").oids
    assert [i for i, oid in enumerate(oids) if "session" in repo.attachments(oid)] == [0]


@pytest.mark.slow
def test_a_checkpoint_whose_trial_was_interrupted_is_tried_when_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = finished()
    repo = Repository.init(":memory:")
    with train(repo, "a", config(), arguments=TRACE) as training:
        training.episode()
        with monkeypatch.context() as patch:
            patch.setattr(Trials, "judge", interrupted)
            with pytest.raises(KeyboardInterrupt):
                training.episode()
    with resume(repo, "a") as training:
        training.finish()
    for oid in expected.trajectory("a").oids:
        assert set(repo.attachments(oid)) >= set(expected.attachments(oid)) - {"snapshot"}


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_episodes_that_are_refused_are_not_kept() -> None:
    repo = finished()
    for episodes, message in (
        (0, "'episodes' must be at least 1, got 0"),
        (5, "has finished its 6 episodes"),
    ):
        with pytest.raises(InvalidInput, match=message):
            resume(repo, "a", episodes=episodes)
        assert repo.runs["a"].config["training"]["episodes"] == 6
        assert repo.runs["a"].status == "completed"


def test_a_run_with_states_is_not_begun_again() -> None:
    with pytest.raises(InvalidInput, match="has states already"):
        train(finished(), "a", config(), arguments=TRACE)


def test_bad_input_is_refused_before_anything_is_recorded() -> None:
    repo = Repository.init(":memory:")
    bad: list[tuple[dict[str, Any], str]] = [
        ({"trace": "no-such"}, "no scenario"),
        ({"target": 0}, "target must be"),
        ({"workload": "none"}, "none"),
        ({"speed": 2}, "speed"),
    ]
    for arguments, message in bad:
        with pytest.raises((InvalidInput, NotFound), match=message):
            train(repo, "a", config(), arguments=TRACE | arguments)
    with pytest.raises(NotFound, match="agent 'ppo' not found"):
        Config("ppo")
    with pytest.raises(NotFound, match="cannot make"):
        train(repo, "a", config(), "NoSuch-v0")
    with pytest.raises(InvalidInput, match="Discrete action space"):
        train(repo, "a", config(), "Pendulum-v1")
    assert not repo.runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"), [("CartPole-v1", 4), ("FrozenLake-v1", 16), ("Taxi-v4", 500)]
)
def test_other_environments_with_numbered_actions_are_trained_and_resumed(
    name: str, size: int
) -> None:
    found = []
    for stop in (False, True):
        repo = Repository.init(":memory:")
        with train(repo, "a", config(checkpoint=1, episodes=3), name) as training:
            assert training.view.size == size
            if not stop:
                training.finish()
            else:
                training.episode()
        if stop:
            with resume(repo, "a") as training:
                training.finish()
        found.append(repo.resolve("a"))
    assert found[0] == found[1]


# --- killed ---

CHILD = """
import sys
from simgit import Repository
from simgit.training import Config, resume, train
directory, agent, resuming = sys.argv[1:]
settings = {"batch": 8, "updates": 1, "epsilon_steps": 100} if agent == "dqn" else {}
config = Config(agent, settings, episodes=EPISODES, checkpoint=2)
with Repository.open(directory) as repo:
    begun = "a" in repo.runs and repo.runs["a"].oid is not None
    options = {"flush_every": 7, "provenance": False}
    arguments = {"trace": "cpu-slight", "target": 3}
    with (resume(repo, "a", **options) if begun else
          train(repo, "a", config, arguments=arguments, **options)) as training:
        print("ready", flush=True)
        training.finish()
"""


def child(directory: Path, agent: str, episodes: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD.replace("EPISODES", str(episodes)), str(directory), agent, "0"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "kills"), [("greedy", 3), ("dqn", 1)])
def test_a_training_that_is_killed_again_and_again_is_the_same_in_the_end(
    agent: str, kills: int, tmp_path: Path
) -> None:
    """SIGKILL at random moments, in the middle of steps, updates and flushes."""
    episodes, rng = 12, random.Random(agent)
    Repository.init(tmp_path).close()
    killed = 0
    for _ in range(kills):
        process = child(tmp_path, agent, episodes)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.4))
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with Repository.open(tmp_path) as repo:
        complete = repo.runs["a"].status == "completed"
    if not complete:
        last = child(tmp_path, agent, episodes)
        last.communicate()
        assert last.returncode == 0
    assert killed
    with Repository.open(tmp_path) as repo:
        assert repo.resolve("a") == whole(agent, episodes=episodes).resolve("a")
        assert not repo.fsck().problems


# --- evaluation ---


def test_the_heuristic_solves_every_scenario_in_the_fewest_steps() -> None:
    done = evaluate("heuristic", "simgit/SimKube-v0", {"trace": str(ROOT / "traces"), "target": 3})
    assert done.total.solved == done.total.episodes == done.total.optimal == 7
    assert {score.name: score.steps.mean for score in done.scores if score.steps} == {
        "cpu-slight": 2, "cpu-heavy": 8, "mem-slight": 4, "mem-heavy": 32, "cpu-mem": 6,
        "replicas-over": 2, "mem-replicas": 6,
    }  # fmt: skip


@pytest.mark.slow
def test_an_evaluation_is_a_run_and_leaves_the_agent_as_it_was() -> None:
    repo = whole(episodes=20)
    before = repo.resolve("a")
    name, arguments = environment_of(repo, "a", {})
    done = evaluate("a", name, arguments, repo=repo, run="evaluate/a", episodes=3)
    assert repo.resolve("a") == before
    assert len(repo.trajectory("evaluate/a").episodes) == done.total.episodes == 3
    assert done.total.fewest is None and done.scores[0].fewest == 2
    early = evaluate("a@ep3", name, arguments, repo=repo)
    assert early.total.returns.mean <= done.total.returns.mean


def test_an_evaluation_that_was_interrupted_does_not_pass_for_a_whole_one() -> None:
    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    with Repository.init(":memory:") as repo:
        given = ("heuristic", "simgit/SimKube-v0", {"trace": "cpu-slight"})
        evaluate(*given, repo=repo, run="whole", episodes=2)
        with pytest.raises(KeyboardInterrupt):
            evaluate(*given, repo=repo, run="part", episodes=2, tell=stop)
        assert repo.runs["part"].status == "failed"
        assert repo.runs["whole"].status not in ("failed", "crashed")
        assert [run for run in repo.runs if repo.runs[run].writer] == []


@pytest.mark.slow
def test_what_cannot_be_evaluated_is_refused() -> None:
    repo = finished()
    with pytest.raises(NotFound, match="has no agent checkpoint"):
        evaluate("a@1", *environment_of(repo, "a", {}), repo=repo)
    with pytest.raises(NotFound):
        evaluate("nobody", "simgit/SimKube-v0", {"trace": "cpu-slight"}, repo=repo)
    with pytest.raises(InvalidInput, match="observations of size 5, not 4"):
        evaluate("a", "CartPole-v1", {}, repo=repo)
    with pytest.raises(InvalidInput, match="at least 1, got 0"):
        evaluate("noop", "simgit/SimKube-v0", {"trace": "cpu-slight"}, episodes=0)


@pytest.mark.slow
def test_an_evaluation_of_random_draws_and_a_seed_repeats_it() -> None:
    def lengths(**more: Any) -> Any:
        trace = {"trace": "replicas-over", "max_steps": 30}
        seen: list[tuple[int, float]] = []
        evaluate(
            "random", "simgit/SimKube-v0", trace, episodes=8, **more,
            tell=lambda done: seen.append((done.length, done.return_)),
        )  # fmt: skip
        return seen

    assert len(set(lengths())) > 4
    assert lengths(seed=3) == lengths(seed=3) != lengths(seed=4)


def test_outside_of_simkube_an_end_is_no_goal() -> None:
    done = evaluate("random", "CartPole-v1", {}, episodes=20)
    assert done.total.solved is None and done.total.returns.mean == done.total.lengths.mean
    assert done.total.returns.low < done.total.returns.mean < done.total.returns.high


# --- the run folder ---


@pytest.mark.slow
def test_the_run_folder_has_what_its_users_know(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    with train(repo, "a", config("dqn", episodes=4), arguments=TRACE) as training:
        folder = RunFolder(tmp_path / "out", repo, training, ["train", "--trace", "a b"])
        training.finish(folder.telling(lambda done: None), folder.step)
        folder.finish()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "train.log", "command.txt", "checkpoint_latest", "checkpoint_ep2", "checkpoint_ep4",
        "learning_curve_latest.png", "agent_visualization_latest.png", "step.jsonl", "summary.json",
    }  # fmt: skip
    lines = (tmp_path / "out" / "step.jsonl").read_text().splitlines()
    states = repo.trajectory("a")
    assert len(lines) == int(states.lengths.sum())
    first = json.loads(lines[0])
    assert first["reward"] == states.rewards[1] and first["action_idx"] == states.actions[1]
    assert first["namespace"] == "default" and first["seed"] == 1000
    assert (tmp_path / "out" / "command.txt").read_text() == "simgit train --trace 'a b'\n"
    latest = agents.read_checkpoint(tmp_path / "out" / "checkpoint_latest")
    assert latest.pop("trained_in")["vector"] == "base"
    assert agents.to_json(latest) == agents.to_json(repo.attachment("a", "agent"))
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["episodes"] == 4


# --- means of agents ---


@pytest.mark.slow
def test_the_mean_of_agents_is_a_state_with_several_parents_and_goes_on() -> None:
    repo = Repository.init(":memory:")
    for seed, name in enumerate(("a", "b", "c")):
        with train(repo, name, config("dqn", episodes=2, seed=seed), arguments=TRACE) as training:
            training.finish()
    oid = merge(repo, "mean", ["a", "b", "c"])
    assert list(repo.state(oid).parents) == [repo.resolve(name) for name in ("a", "b", "c")]
    parts = [repo.attachment(name, "agent")["online"]["0.weight"] for name in ("a", "b", "c")]
    found = repo.attachment("mean", "agent")["online"]["0.weight"]
    np.testing.assert_allclose(found, np.mean(parts, axis=0), rtol=1e-5)
    with resume(repo, "mean", episodes=4) as training:
        assert training.done == 2
        training.finish()
    assert repo.runs["mean"].episodes == 4


def test_the_mean_of_tables_has_the_cells_of_all() -> None:
    one, two = (agents.make("greedy", 1, 2) for _ in range(2))
    for agent, places in ((one, (0, 1)), (two, (1, 2))):
        for place in places:
            agent.observe(
                np.full(1, place, np.float32),
                0,
                place + len(places),
                np.zeros(1, np.float32),
                True,
                False,
            )
            agent.update()
    mean = agents.load(average([one.state(), two.state()]))
    each = np.arange(3, dtype=np.float32)[:, None]
    expected = [
        one.values(each)[0],
        (one.values(each)[1] + two.values(each)[1]) / 2,
        two.values(each)[2],
    ]  # type: ignore[attr-defined]
    np.testing.assert_allclose(mean.values(each), expected)  # type: ignore[attr-defined]


def test_agents_of_different_kinds_have_no_mean() -> None:
    dqn, greedy = (agents.make(name, 5, 7).state() for name in agents.LEARNERS)
    small = agents.make("dqn", 5, 7, hidden=[8]).state()
    noop = agents.make("noop", 5, ["noop"]).state()
    for pair in ((dqn, greedy), (greedy, dqn), (dqn, small), (noop, noop)):
        with pytest.raises(InvalidInput, match="averag"):
            average(pair)
    with pytest.raises(InvalidInput, match="at least two agents"):
        merge(finished(), "b", ["a"])
