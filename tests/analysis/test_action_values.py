"""What an agent thinks of states, from the checkpoint that lies nearest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from click.testing import CliRunner

from simgit import InvalidInput, NotFound, Repository, agents
from simgit.analysis import draw_policy, draw_values, thoughts
from simgit.cli.root import cli
from simgit.gym import Recorder
from simgit.kube.task.actions import ACTIONS

NAMES = list(ACTIONS.names())


def train(directory: Path, run: str, name: str = "greedy", episodes: int = 25) -> agents.Agent:
    """Train an agent on cpu-slight; attach it at the end of each episode."""
    env = gymnasium.make("simgit:simgit/SimKube-v0", trace="cpu-slight", max_steps=8)
    recorder = Recorder(env, directory, run, provenance=False, self_check=False)
    agent = agents.make(name, 5, NAMES, seed=0)
    for episode in range(episodes):
        seen, _ = recorder.reset(seed=episode)
        over = False
        while not over:
            action = agent.act(seen, explore=True)
            after, reward, terminated, truncated, _ = recorder.step(action)
            agent.observe(seen, action, float(reward), after, terminated, truncated)
            agent.update()
            seen, over = after, terminated or truncated
        recorder.attach("agent", agent.state())
    recorder.close()
    return agent


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, agents.Agent]:
    directory = tmp_path_factory.mktemp("trained")
    return directory, train(directory, "main")


@pytest.fixture
def repo(trained) -> Iterator[Repository]:
    with Repository.open(trained[0]) as repo:
        yield repo


@pytest.mark.slow
def test_values_are_the_agents_own(repo: Repository, trained) -> None:
    found = thoughts(repo, "main")
    episode = repo["main"].episodes[-1]
    assert found.steps == episode.steps.tolist() and list(found.actions) == NAMES
    assert np.array_equal(found.values, trained[1].values(episode.observations))
    assert found.taken == [*episode.actions[1:].tolist(), None]
    assert found.checkpoint == repo.runs["main"].step


@pytest.mark.slow
def test_the_checkpoint_is_the_newest_one_before(repo: Repository) -> None:
    second = repo["main"].episodes[1]
    found = thoughts(repo, f"main@{second.stop - 2}")
    assert found.checkpoint == second.start - 1 and found.steps[-1] == second.stop - 2


def test_a_long_episode_is_thinned_evenly(repo: Repository) -> None:
    found = thoughts(repo, "main@ep1", most=3)
    whole = repo["main@ep1"].steps
    assert (
        len(found.steps) == min(3, len(whole))
        and found.steps[0] == 0
        and found.steps[-1] == whole[-1]
    )


@pytest.mark.slow
def test_the_pictures_name_actions_and_axes(repo: Repository) -> None:
    drawing = draw_values(repo, "main")
    assert [tick.get_text() for tick in drawing.figure.axes[0].get_yticklabels()] == NAMES
    title = drawing.figure.get_suptitle()
    assert "agent of step" in title
    drawing.figure.canvas.draw()
    (box,) = [t.get_window_extent() for t in drawing.figure.texts if t.get_text() == title]
    assert box.x1 <= drawing.figure.bbox.x1, "the title is cut off"
    frames = drawing.figure.axes[0].patches
    assert len(frames) == len(repo["main"].episodes[-1]) - 1  # the last state has none
    left, right = draw_policy(repo, "main").figure.axes[:2]
    assert (
        left.get_xlabel() == "CPU requested (cores)"
        and right.get_title(loc="left") == "value of it"
    )


def test_a_run_without_checkpoints_or_values_says_so(repo: Repository, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="has no agent checkpoint"):
        thoughts(repo, "main@0")
    train(tmp_path, "rules", "heuristic", episodes=1)
    with Repository.open(tmp_path) as other:
        with pytest.raises(InvalidInput, match="has no action values"):
            thoughts(other, "rules")
        other.commit(0.0, run="plain")
        with pytest.raises(NotFound, match="has no agent checkpoint"):
            thoughts(other, "plain")
        with pytest.raises(InvalidInput, match="was not recorded from SimKube"):
            draw_policy(other, "plain")


@pytest.mark.slow
def test_the_command_prints_the_table(trained, tmp_path: Path) -> None:
    def call(*args: str) -> str:
        done = CliRunner().invoke(cli, ["-C", str(trained[0]), "plot", *args], prog_name="simgit")
        return done.output

    lines = call("--kind", "values").splitlines()
    assert lines[0].split() == ["step", *map(str, range(len(NAMES))), "taken"]
    assert max(map(len, lines)) <= 80, "the names of actions stand below"
    table = [line for line in lines[1:] if line.split()[0].isdecimal() and "." in line]
    assert [line.count("*") for line in table] == [1] * (len(table) - 1) + [0]
    named = "".join(lines[len(table) + 1 : -1]).replace(" ", "")
    assert named == ",".join(f"{i}={name}" for i, name in enumerate(NAMES))
    assert lines[-1].startswith("* marks the greatest; the agent is that of step ")
    assert '"taken": null' in call("--kind", "values", "--json").splitlines()[-1]
    for kind in ("values", "policy"):
        path = tmp_path / f"{kind}.svg"
        assert call("--kind", kind, "-o", str(path)) == f"wrote {path}\n" and path.exists()
    assert "needs --output" in call("--kind", "policy")
    found = json.loads(call("--kind", "policy", "--json"))
    assert found["actions"] == NAMES and len(found["values"]) == len(found["memory"])
    assert np.shape(found["values"][0]) == (len(found["cpu"]), len(NAMES))
