"""Parts of runs: ``fetch --states``, ``fetch --depth`` and ``clone --depth``, and what they show."""

from __future__ import annotations

from pathlib import Path

import pytest

from simgit import Repository


@pytest.fixture
def shared(run) -> None:
    """A remote with 5000 states of ``main``, of episodes of 40, sent from a repository here."""
    run("init")
    with Repository.open(Path()) as here, here.recorder("main", config={"lr": 0.5}) as rec:
        for i in range(5000):
            rec.append(float(i), i % 3, 1.0, reset={"seed": i} if i % 40 == 0 else None)
    run("remote", "add", "origin", "shared")
    run("push")


@pytest.fixture
def shallow(run, shared, monkeypatch) -> int:
    """A shallow clone, as the current directory: the step at which it begins."""
    assert "cloned 1 run" in run("clone", "shared", "copy", "--depth", 100).out
    monkeypatch.chdir("copy")
    return run("log", "--reverse", "--json").records[0]["step"]


def test_a_shallow_clone_shows_what_it_has(run, shallow) -> None:
    assert 2000 < shallow <= 4900
    assert "step 4999, ? episodes, return ?" in run("status").out
    found = run("log", "--oneline")
    assert found.lines[0].split("step ")[1].startswith("4999 ep?.39")
    assert len(found.lines) == 5000 - shallow
    assert f"the {shallow} states before step {shallow} are not here" in found.err
    assert found.err.count("shallow") == 1
    assert "shallow" not in run("log", "-n", 3).err
    assert "episode ?" in run("show").out and "? ep" in run("branch", "-v").out
    record = run("log", "-n", 1, "--json").records[0]
    assert record["episode"] is None and record["episode_step"] == 39
    assert run("branch", "--json").records[0]["episodes"] is None
    assert run("run", "show", "main", "--json").records[0]["config"] == {"lr": 0.5}
    for args in (
        ("show", "main@10"), ("show", "main@ep3"), ("log", "--episodes"), ("branch", "x", "main@0"),
        ("log", "main~4999"), ("plot", "main", "-o", "a.png"), ("export", "jsonl", "b.jsonl", "main"),
    ):  # fmt: skip
        found = run(*args, code=128)
        assert "not here" in found.err and "'origin'" in found.err, args
        assert found.err.count("fatal: ") == 1, found.err
    assert run("fsck").code == 0 and run("gc").code == 0
    assert run("stats").code == 0 and run("tree").code == 0 and run("run", "list").code == 0


def test_a_fetch_brings_the_rest(run, shallow) -> None:
    run("checkout", "-b", "mine", "main@4950")
    run("commit", "-o", "1.0", "-a", 1, "-r", 1)
    run("push", "origin", "mine")
    assert "shallow" not in run("fetch").err
    assert run("log", "--oneline", "main").err == ""
    assert run("show", "main@10", "--json").records[0]["episode"] == 1
    assert "125 episodes" in run("checkout", "main").out + run("status").out
    assert run("branch", "--json", "mine*", code=None).code in (0, 128, 2)
    assert run("fsck").code == 0


def test_states_of_a_run_are_fetched(run, shared, monkeypatch) -> None:
    Path("other").mkdir()
    monkeypatch.chdir("other")
    run("init")
    run("remote", "add", "origin", "../shared")
    found = run("fetch", "origin", "main", "--states", "3000..3010", "--no-attachments")
    assert "shallow    runs/main → origin/main" in found.out
    assert run("show", "origin/main@3005", "--json").records[0]["observation"] == 3005.0
    assert "not here" in run("show", "origin/main@5", code=128).err
    run("fetch", "--depth", 5, "--json")
    assert run("show", "origin/main", "--json").records[0]["step"] == 4999
    for args, why in {
        ("--states", "7"): "a first and a last step",
        ("--states", "7..2"): "must be a first and a last step",
        ("--states", "1..2", "--depth", 3): "cannot be used together",
        ("--no-attachments",): "needs",
        ("--prune", "--depth", 3): "cannot be used together",
        ("--states", "0..5000"): "has steps 0 to 4999",
    }.items():
        found = run(
            "fetch", "origin", *(("main",) if "--prune" not in args else ()), *args, code=None
        )
        assert found.code in (2, 128) and why in found.err, (args, found.err)
    assert "for remotes" in run("clone", ".", "../c", "--depth", 1, code=2).err
    assert "needs --depth" in run("clone", "../shared", "../c", "--no-attachments", code=2).err
