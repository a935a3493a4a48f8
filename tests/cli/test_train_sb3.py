"""simgit train --agent sb3:…: trains, resumes and branches like the agents of simgit's own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3")

from simgit import Repository
from tests.support.unchecked import unchecked  # noqa: F401

PPO = ("--agent", "sb3:PPO", "--env", "CartPole-v1", "--checkpoint-every", "32", "--set",
       "agent.n_steps=32", "--set", "agent.batch_size=16", "--set", "agent.n_epochs=1")  # fmt: skip


@pytest.fixture
def repo(run, directory: Path):
    Repository.init(directory).close()
    return run


def digests(directory: Path, run: str) -> list[tuple[int, bytes]]:
    """Return timesteps and digest of each checkpoint of a training."""
    from simgit.integrations.sb3 import checkpoints

    with Repository.open(directory) as store:
        return [
            (each.timesteps, checkpoints.part(store, each.oid, "learner", "digest"))
            for each in checkpoints.checkpoints(store, run)
        ]


@pytest.mark.slow
def test_a_training_is_resumed_and_branched(repo, directory: Path) -> None:
    whole = repo("train", *PPO, "--steps", 96, "--json").json
    assert (whole["run"], whole["agent"], whole["steps"]) == (
        "train/CartPole-v1-ppo-1",
        "sb3:PPO",
        96,
    )
    assert whole["evaluation"][0]["episodes"] == 5
    repo("train", *PPO, "--steps", 64, "--run", "parts")
    more = repo("train", "--resume", "--run", "parts", "--steps", 96)
    assert more.lines[0].startswith("parts: ") and ", 96 steps" in more.lines[0]
    assert "training 'parts' from 64 of 96 steps" in more.err
    learned = digests(directory, whole["run"])
    assert digests(directory, "parts")[0] == learned[0]
    assert [when for when, _ in learned] == [96, 64, 32, 0]

    config = repo("config", "parts", "--json").json
    assert config["agent"]["name"] == "sb3:PPO" and config["agent"]["n_steps"] == 32
    repo("branch", "hot", "parts@40", "--set", "agent.learning_rate=0.01")
    hot = repo("train", "--resume", "--run", "hot", "--json").json
    assert hot["steps"] == 96
    found = dict(digests(directory, "hot"))
    assert found[32] == learned[2][1] and found[64] != learned[1][1]
    assert found == dict(digests(directory, "hot"))
    for line in more.lines[-2:]:
        assert repo(*line.split()[1:]).code == 0


@pytest.mark.slow
def test_what_does_not_go_together_is_said(repo) -> None:
    for words, told in (
        ((*PPO, "--episodes", 3), "--episodes does not go with agents 'sb3:…'; use --steps"),
        ((*PPO, "--out", "x"), "--out does not go with agents 'sb3:…'"),
        (("--agent", "greedy", "--steps", 3), "--steps is for agents 'sb3:…'"),
        ((*PPO, "--set", "agent.lerning_rate=1"), "did you mean 'learning_rate'?"),
        ((*PPO, "--set", "agent.batch_size=-1"), "agent 'sb3:PPO' cannot be made"),
        (("--agent", "sb3:PPOO", "--env", "CartPole-v1"), "unknown algorithm 'sb3:PPOO'; did you mean 'PPO'?"),
        (("--agent", "sb3:SAC", "--env", "CartPole-v1"), "agent 'sb3:SAC' cannot be made"),
    ):  # fmt: skip
        found = repo("train", *words, code=None)
        assert found.code and told in found.err, found.err
    repo("train", *PPO, "--steps", 32, "--run", "done")
    assert (
        "has finished its 32 timesteps" in repo("train", "--resume", "--run", "done", code=None).err
    )
    for words in (("done",), ("done@20",), ("done", "--env", "Pendulum-v1")):
        refused = repo("evaluate", *words, code=128).err
        assert "simgit.integrations.sb3.resume, and evaluate the model" in refused
    kept = repo("train", "--resume", "--run", "done", "--set", "agent.gamma=0.5", code=None).err
    assert "branch the run with --set" in kept
