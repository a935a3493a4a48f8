"""A run begins with the agent of another: all of it or what it learned, and what must fit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import InvalidInput, NotFound, Repository, agents
from simgit.agents import Agent
from simgit.agents.transfer import LEARNED
from simgit.analysis import curves
from simgit.training import (
    Config,
    TrainingEpisode,
    Transition,
    checkpoints,
    evaluate,
    resume,
    train,
)
from simgit.training.evaluation import environment_of
from simgit.training.loading import INITIAL, source
from tests.support.paths import ROOT

TRACE = {"trace": "cpu-slight", "target": 3}
OTHER = {"trace": "mem-slight", "target": 3}
SHORT = {**TRACE, "max_steps": 12}
QUICK = {"batch": 8, "updates": 1, "epsilon_steps": 100}


def config(agent: str, episodes: int = 2, **given: Any) -> Config:
    settings = {**(QUICK if agent == "dqn" else {}), **given.pop("settings", {})}
    return Config(agent, settings, **{"checkpoint": 2, "trials": 0, **given}, episodes=episodes)


def trained(
    agent: str, repo: Repository | None = None, name: str = "a", **given: Any
) -> Repository:
    repo = Repository.init(":memory:") if repo is None else repo
    arguments = SHORT if agent == "dqn" else TRACE
    # checks are switched off for each test, and this is called by a fixture of the module too
    with train(
        repo, name, config(agent, **given), arguments=arguments, self_check=False
    ) as training:
        training.finish()
    return repo


def steps(agent: Agent, count: int = 60, seed: int = 3) -> list[Any]:
    """What an agent decides and learns in steps that do not depend on it."""
    rng, found = np.random.default_rng(seed), []
    shown = rng.random(5).astype(np.float32)
    for i in range(count):
        after = rng.random(5).astype(np.float32)
        action = agent.act(shown, explore=True)
        agent.observe(shown, action, float(rng.normal()), after, i % 20 == 19, False)
        found.append((action, agent.update()))
        shown = after
    return [*found, agents.to_json(agent.state())]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("dqn", marks=pytest.mark.slow), "greedy", "random"])
def test_without_transfer_the_agent_continues_as_if_nothing_had_happened(kind: str) -> None:
    repo = trained(kind)
    original = agents.load(checkpoints.load(repo, "a"), 7)
    begun = train(repo, "b", config(kind, seed=9), arguments=OTHER, load="a")
    assert agents.to_json(begun.agent.state()) == agents.to_json(original.state())
    assert steps(begun.agent) == steps(original)
    begun.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("dqn", marks=pytest.mark.slow), "greedy"])
def test_with_transfer_it_has_what_was_learned_and_nothing_else(kind: str) -> None:
    repo = trained(kind)
    there = checkpoints.load(repo, "a")
    begun = train(repo, "b", config(kind, seed=9), arguments=OTHER, load="a", transfer=True)
    state, fresh = begun.agent.state(), config(kind, seed=9).make_agent(5, ("",) * 7).state()
    begun.close()
    for key in state:
        expected = there[key] if key in LEARNED[kind] else fresh[key]
        assert agents.to_json({"": state[key]}) == agents.to_json({"": expected}), key
    assert agents.to_json({"": fresh["exploration"]}) != agents.to_json({"": there["exploration"]})


@pytest.mark.slow
def test_the_agent_with_the_best_trial_is_the_one_that_is_loaded() -> None:
    repo = trained("greedy", episodes=8, trials=1)
    found = source(repo, "a")
    assert found.state == checkpoints.of(repo, "a").state
    earlier = source(repo, "a@ep4").state  # where episode 4 begins
    assert earlier is not None and repo.state(earlier).episode == 2


@pytest.mark.slow
def test_a_run_says_what_it_was_loaded_from() -> None:
    repo = trained("greedy")
    before = repo.resolve("a")
    with train(repo, "b", config("greedy"), arguments=OTHER, load="a") as training:
        training.finish()
    load = repo.runs["b"].config["training"]["load"]
    assert (load["from"], load["state"], load["transfer"]) == ("a", str(before), False)
    assert load["attachment"] in repo.attachments(repo.trajectory("b")[0].oid)
    assert repo.resolve("a") == before
    assert "load" not in repo.runs["a"].config["training"]


class Cut(Exception):
    pass


def cut(repo: Repository, name: str, after: int, **given: Any) -> None:
    """Begin a run with the agent of 'a', and stop it in the middle of an episode."""
    left = after

    def watch(_: Transition) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Cut

    with (
        pytest.raises(Cut),
        train(repo, name, config(episodes=4, **given), arguments=OTHER, load="a") as training,
    ):
        training.finish(watch=watch)


CODE = """
import sys
from simgit import Repository
from simgit.training import resume
with Repository.open(sys.argv[1]) as repo, resume(repo, sys.argv[2]) as training:
    training.finish()
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["greedy", "dqn"])
def test_a_loaded_run_that_was_cut_off_is_resumed_exactly_in_another_process(
    kind: str, tmp_path: Path
) -> None:
    repo = trained(kind, Repository.init(tmp_path))
    with train(repo, "whole", config(kind, 4), arguments=OTHER, load="a") as training:
        training.finish()
    expected = agents.to_json(checkpoints.load(repo, "whole"))
    cut(repo, "early", 3, agent=kind)  # before its first checkpoint
    cut(repo, "late", int(repo.trajectory("whole").lengths[:2].sum()) + 2, agent=kind)
    repo.delete_run("a", force=True)  # nothing of the first run is needed
    repo.gc(grace=0)
    repo.close()
    for name in ("early", "late"):
        subprocess.run(
            [sys.executable, "-c", CODE, str(tmp_path), name], cwd=ROOT, check=True, timeout=300
        )
    with Repository.open(tmp_path) as repo:
        for name in ("early", "late"):
            assert repo.resolve(name) == repo.resolve("whole")
            assert agents.to_json(checkpoints.load(repo, name)) == expected


@pytest.mark.slow
def test_runs_that_begin_alike_with_other_agents_have_their_own(tmp_path: Path) -> None:
    """The first states are the same, the agents are not: none takes the other's."""
    repo = trained("greedy")
    trained("greedy", repo, "c", seed=5, episodes=3)
    for name in ("a", "c"):
        cut_in = config("greedy", 4)
        training = train(repo, f"from-{name}", cut_in, arguments=OTHER, load=name)
        training.episode()
        training.close()
    firsts = [repo.trajectory(f"from-{name}")[0].oid for name in ("a", "c")]
    assert firsts[0] == firsts[1]
    assert sum(each.startswith(INITIAL) for each in repo.attachments(firsts[0])) == 2
    for name in ("a", "c"):
        with resume(repo, f"from-{name}") as training:
            assert agents.to_json(training.agent.state()) == agents.to_json(
                checkpoints.load(repo, name)
            )


@pytest.mark.slow
def test_a_branch_whose_agent_acts_alike_does_not_take_the_place_of_the_other() -> None:
    """The states are the same, so the checkpoints were one: the second overwrote the first."""
    repo = Repository.init(":memory:")
    settings = {"epsilon_steps": 100, "epsilon_min": 0.0}
    with train(
        repo, "a", config("greedy", 40, settings=settings, checkpoint=5, trials=1), arguments=TRACE
    ) as training:
        training.finish()
    own = agents.to_json(training.agent.state())
    repo.branch("b", "a@ep30", overrides={"agent.lr": 0.4})
    with resume(repo, "b") as training:
        training.finish()
    other = agents.to_json(training.agent.state())
    assert repo.resolve("a") == repo.resolve("b") and own != other
    assert agents.to_json(checkpoints.load(repo, "a")) == own
    assert agents.to_json(checkpoints.load(repo, "b")) == other
    assert agents.to_json(checkpoints.load(repo, "b~0")) == other
    assert agents.to_json(checkpoints.load(repo, "b@ep25")) == agents.to_json(
        checkpoints.load(repo, "a@ep25")
    )
    repo.rename_run("b", "renamed")
    assert agents.to_json(checkpoints.load(repo, "renamed")) == other
    repo.branch("c", "renamed", overrides={"training.episodes": 45})
    with resume(repo, "c") as training:
        assert agents.to_json(training.agent.state()) == other


@pytest.mark.slow
def test_epsilon_loss_and_solved_are_curves_also_of_a_run_that_was_cut_off() -> None:
    repo = Repository.init(":memory:")
    told: list[TrainingEpisode] = []
    losses: dict[int, list[float]] = {}

    def watch(step: Transition) -> None:
        losses.setdefault(len(told) + 1, []).append(step.metrics["loss"])

    with train(repo, "whole", config("greedy", 6), arguments=TRACE) as training:
        training.finish(told.append, watch)
    (epsilon,), (loss,) = curves(repo, ["whole"], "epsilon"), curves(repo, ["whole"], "loss")
    assert epsilon.y.tolist() == [each.metrics["epsilon"] for each in told]
    assert loss.y.tolist() == [sum(each) / len(each) for each in losses.values()]
    (solved,) = curves(repo, ["whole"], "solved")
    assert solved.y.tolist() == [float(each.terminated) for each in told]
    stopped = train(repo, "stopped", config("greedy", 6), arguments=TRACE)
    for _ in range(3):  # the checkpoints are after each two
        stopped.episode()
    stopped.close()
    assert np.isnan(curves(repo, ["stopped"], "loss")[0].y).tolist() == [False, False, True]
    with resume(repo, "stopped") as training:
        training.finish()
    assert curves(repo, ["stopped"], "loss")[0].y.tolist() == loss.y.tolist()
    with pytest.raises(NotFound, match="run 'n' has no loss"):
        curves(trained("noop", repo, "n", episodes=1), ["n"], "loss")


# --- files ---


@pytest.mark.slow
def test_a_saved_agent_is_one_to_load_and_to_evaluate(tmp_path: Path) -> None:
    repo = trained("greedy")
    with train(repo, "b", config("greedy"), arguments=TRACE) as training:
        training.finish()
        training.save(tmp_path / "b.json")
    file = str(tmp_path / "b.json")
    assert [each.name for each in tmp_path.iterdir()] == ["b.json"]
    found = evaluate(file, *environment_of(repo, "b", {}))
    assert (
        found.total.lengths
        == evaluate("b~0", *environment_of(repo, "b", {}), repo=repo).total.lengths
    )
    with train(repo, "c", config("greedy"), arguments=OTHER, load=file) as training:
        training.finish()
    assert repo.runs["c"].config["training"]["load"]["from"] == file
    with pytest.raises(InvalidInput, match="with 'noop' as action 0, not 'scale_up_replicas'"):
        train(
            repo, "d", config("greedy"), load=file,
            arguments={**TRACE, "actions": ["scale_up_replicas", *training.view.actions[1:3],
                                            "noop", *training.view.actions[4:]]},
        )  # fmt: skip


def theirs(size: int = 5, actions: int = 4, hidden: tuple[int, ...] = (24, 48)) -> dict[str, Any]:
    """A checkpoint of Sim-Arena's DQN, as its source writes it."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(1)
    widths = [size, *hidden, actions]
    layers: list[Any] = []
    for i in range(len(widths) - 1):
        layers += [nn.Linear(widths[i], widths[i + 1]), nn.ReLU()]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(*layers[:-1])

        def forward(self, x: Any) -> Any:
            return self.net(x)

    net = Network()
    optimizer = torch.optim.RMSprop(net.parameters(), lr=0.001)
    net(torch.ones(1, size)).sum().backward()
    optimizer.step()
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    return {
        "q_net_state_dict": weights, "target_net_state_dict": dict(weights),
        "optimizer_state_dict": optimizer.state_dict(), "total_steps": 812,
        "reward_history": [0.5, -1.0], "loss_history": [0.1], "episode_reward_history": [-0.5],
        "current_episode_reward": 0.0, "net": net,
        "hyperparams": {"state_dim": size, "n_actions": actions, "gamma": 0.9, "eps_start": 0.8,
                        "eps_end": 0.05, "eps_decay_steps": 500},
    }  # fmt: skip


def written(data: Mapping[str, Any], path: Path) -> str:
    import torch

    torch.save({key: value for key, value in data.items() if key != "net"}, path)
    return str(path)


@pytest.mark.slow
def test_networks_of_an_earlier_loop_are_transferred_and_decide_alike(tmp_path: Path) -> None:
    import torch

    data = theirs()
    file = written(data, tmp_path / "checkpoint_ep20.pt")
    repo = Repository.init(":memory:")
    found = source(repo, file)
    assert found.settings({}) | {"gamma": 0.9, "epsilon": 0.8, "epsilon_min": 0.05,
                                 "epsilon_steps": 500} == found.settings({})  # fmt: skip
    arguments = {
        **TRACE,
        "actions": ["noop", "bump_cpu_small", "bump_mem_small", "scale_up_replicas"],
    }
    training = train(
        repo, "b", Config("dqn", found.settings({}), episodes=1, trials=0), arguments=arguments,
        load=file, transfer=True,
    )  # fmt: skip
    shown = np.random.default_rng(0).random((50, 5)).astype(np.float32)
    with torch.no_grad():
        expected = data["net"](torch.from_numpy(shown)).numpy()
    assert np.array_equal(training.agent.values(shown), expected)  # type: ignore[attr-defined]
    training.close()
    assert evaluate(file, "simgit/SimKube-v0", arguments).total.episodes == 1
    with pytest.raises(
        InvalidInput, match=r"has no replay buffer.*--transfer takes what it learned"
    ):
        train(repo, "c", Config("dqn", found.settings({})), arguments=arguments, load=file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"q_net_state_dict": {}}, "is not of linear layers only"),
        ({"q_net_state_dict": "text"}, "is not of linear layers only"),
        ({"target_net_state_dict": {"net.0.weight": 1.0}}, "is not of linear layers only"),
        ({"hyperparams": {"gamma": 7.0}}, "setting 'gamma' must be from 0 to 1"),
        ({"hyperparams": {"eps_decay_steps": "x"}}, "setting 'epsilon_steps' must be like"),
        ({"nan": True}, "has infinite weights or NaN"),
        ({"batch_norm": True}, "is not of linear layers only"),
    ],
)
def test_a_damaged_or_other_network_of_an_earlier_loop_is_refused(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    import torch

    data = theirs()
    if change.pop("nan", False):
        data["q_net_state_dict"]["net.2.bias"][3] = float("nan")
    if change.pop("batch_norm", False):
        data["q_net_state_dict"]["net.1.running_mean"] = torch.ones(3)
    file = written(data | change, tmp_path / "a.pt")
    with pytest.raises(InvalidInput, match=said) as caught:
        source(None, file)
    assert "\n" not in str(caught.value)


# --- refusals ---


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("kind", {"load": "a"}, {"agent": "dqn"}, "is of agent 'greedy', not of 'dqn'"),
    ("kind transferred", {"load": "a", "transfer": True}, {"agent": "dqn"},
     "is of agent 'greedy', not of 'dqn'"),
    ("resolution", {"load": "a"}, {"settings": {"resolution": 4}},
     "has setting 'resolution' 16, this agent 4"),
    ("hidden", {"load": "d"}, {"agent": "dqn", "settings": {"hidden": [8]}},
     r"has setting 'hidden' \[24, 48\], this agent \[8\]"),
    ("hidden transferred", {"load": "d", "transfer": True},
     {"agent": "dqn", "settings": {"hidden": [8]}},
     r"has setting 'hidden' \[24, 48\], this agent \[8\]"),
    ("buffer", {"load": "d"}, {"agent": "dqn", "settings": {"buffer": 50}},
     r"replay buffer has observations of shape \(2000, 5\), not \(50, 5\)"),
    ("fewer actions", {"load": "a", "arguments": {**TRACE, "actions": ["noop", "bump_cpu_small"]}},
     {}, "'a' was trained with 7 actions, not 2"),
    ("actions in another order",
     {"load": "b", "arguments": {**TRACE, "actions": ["bump_cpu_small", "noop"]}}, {},
     "'b' was trained with 'noop' as action 0, not 'bump_cpu_small'"),
    ("vector", {"load": "a", "arguments": {**TRACE, "vector": "scale"}}, {},
     "'a' was trained on vector 'base', not 'scale' (--vector base)"),
    ("size", {"load": "a", "environment": "CartPole-v1", "arguments": {}}, {},
     "'a' was trained on observations of size 5, not 4"),
    ("no run", {"load": "nobody"}, {}, "nobody"),
    ("policy", {"load": "heuristic"}, {}, "--agent heuristic begins with a new one"),
    ("no checkpoint", {"load": "a@1"}, {}, "'a@1' has no agent checkpoint"),
    ("no learner", {"load": "n", "transfer": True}, {"agent": "noop"},
     "agent 'noop' does not learn: there is nothing to transfer"),
    ("transfer alone", {"transfer": True}, {}, "'transfer' needs 'load'"),
]  # fmt: skip


@pytest.fixture(scope="module")
def several() -> Repository:
    """Runs 'a' of tables, 'b' with two actions, 'n' of a policy."""
    repo = trained("greedy", episodes=1)
    trained("noop", repo, "n", episodes=1)
    two = {**TRACE, "actions": ["noop", "bump_cpu_small"]}
    with train(repo, "b", config("greedy", 1), arguments=two, self_check=False) as training:
        training.finish()
    return repo


@pytest.fixture(scope="module")
def network(several: Repository) -> None:
    """Run 'd' of a DQN beside them."""
    trained("dqn", several, "d", episodes=1)


@pytest.mark.parametrize(
    ("how", "settings", "said"),
    [
        pytest.param(*row[1:], id=row[0], marks=[pytest.mark.slow] * (row[1].get("load") == "d"))
        for row in REFUSED
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_and_nothing_is_recorded(
    several: Repository,
    how: dict[str, Any],
    settings: dict[str, Any],
    said: str,
    request: pytest.FixtureRequest,
) -> None:
    if how.get("load") == "d":
        request.getfixturevalue("network")
    before = set(several.runs)
    said = said.replace("(--", r"\(--").replace("base)", r"base\)")
    with pytest.raises((InvalidInput, NotFound), match=said) as caught:
        train(
            several, "x", config(**{"agent": "greedy", **settings}), **{"arguments": TRACE, **how}
        )
    assert "\n" not in str(caught.value)
    assert set(several.runs) == before


def test_a_checkpoint_from_the_middle_of_an_episode_is_only_transferred(tmp_path: Path) -> None:
    for kind in ("greedy", "dqn"):
        agent = config(kind).make_agent(5, ("",) * 7)
        shown = np.zeros(5, np.float32)
        agent.observe(shown, agent.act(shown, explore=True), 1.0, shown, False, False)
        file = tmp_path / f"{kind}.json"
        agents.write_checkpoint(agent.state(), file)
        repo = Repository.init(":memory:")
        with pytest.raises(InvalidInput, match="in the middle of an episode"):
            train(repo, "x", config(kind), arguments=TRACE, load=str(file))
        train(repo, "x", config(kind), arguments=TRACE, load=str(file), transfer=True).close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps({"n_actions": 4, "epsilon": 0.1, "counts": [1, 0, 2, 0],
                     "values": [0.1, 0, -1, 0], "reward_history": []}),
         "has one value per action for all observations"),
        ("{}", "not a checkpoint"),
        ("{\"a\": ", "not a checkpoint"),
        ("PK\x03\x04 no archive", "cannot read"),
        ("", "cannot read"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_checkpoint_here_is_refused_in_one_line(
    content: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "checkpoint"
    file.write_text(content)
    with pytest.raises(InvalidInput, match=said) as caught:
        source(None, str(file))
    assert "\n" not in str(caught.value)
