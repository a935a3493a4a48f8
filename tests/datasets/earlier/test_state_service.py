"""simulator-state-db's answers over HTTP: the same paths as in the tables behind them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.errors import InvalidInput
from tests.datasets.earlier.importing import bring, column, outcomes, stored
from tests.datasets.earlier.sources import StateDb, branching

FORMAT = "simulator-state-db-json"


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


@pytest.fixture
def made(seed: int) -> StateDb:
    return branching(np.random.default_rng(seed))


def save(folder: Path, answers: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, value in answers.items():
        (folder / name).write_text(json.dumps(value))
    return folder


def check(repo: Repository, made: StateDb) -> None:
    for row in made.simulation_runs:
        path = made.path(row["current_state_id"])
        for name in ("observation", "action", "reward"):
            assert column(repo, row["name"], name) == [each[name] for each in path]


def test_a_folder_of_answers(repo: Repository, made: StateDb, tmp_path: Path) -> None:
    folder = save(tmp_path / "answers", made.payloads())
    done = bring(repo, folder, FORMAT)
    assert outcomes(done) == {"runs/main": "new", "runs/high-lr": "new"}
    check(repo, made)
    assert repo.runs["high-lr"].parent == "main"
    assert repo.runs["main"].status == "completed"
    assert repo.runs["main"].metadata["simulation"]["environment_name"] == "CartPole-v1"
    assert stored(repo) == len(made.states)
    assert set(outcomes(bring(repo, folder)).values()) == {"unchanged"}


def test_the_states_of_one_run_are_enough(repo: Repository, made: StateDb, tmp_path: Path) -> None:
    run = made.simulation_runs[1]
    answer = made.payloads()[f"run-{run['id']}.json"]
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(answer))
    bring(repo, path, FORMAT)
    assert column(repo, "high-lr", "observation") == [
        each["observation"] for each in made.path(run["current_state_id"])
    ]


def test_answers_to_posts_carry_info_too(repo: Repository, made: StateDb, tmp_path: Path) -> None:
    """What creating a state returns has its info and its run."""
    run = made.simulation_runs[0]
    path = made.path(run["current_state_id"])
    posts = [{**each, "run_id": run["id"]} for each in path]
    save(tmp_path / "a", {"runs.json": made.payloads()["runs.json"], "posts.json": posts})
    bring(repo, tmp_path / "a", FORMAT)
    assert column(repo, "main", "info.env_state") == [each["info"]["env_state"] for each in path]
    assert column(repo, "main", "info.extra_metadata.epsilon") == [0.5] * len(path)


def test_runs_by_their_simulation(repo: Repository, made: StateDb, tmp_path: Path) -> None:
    """``/simulations/ID/runs`` does not name the simulation again."""
    answers = made.payloads()
    for run in answers["runs.json"]:
        del run["simulation_id"]
    done = bring(repo, save(tmp_path / "a", answers), FORMAT)
    assert not [note for note in done.notes if "no answers" in note]
    assert repo.runs["high-lr"].parent == "main"
    check(repo, made)


def test_doubles_orphans_and_others_are_told(
    repo: Repository, made: StateDb, tmp_path: Path
) -> None:
    answers = made.payloads()
    run = answers[f"run-{made.simulation_runs[0]['id']}.json"]
    changed = dict(run["states"][3], observation=[9.0])
    run["states"] += [
        changed,
        {"id": "x", "observation": [1], "step_number": 1, "parent_state_id": "gone"},
    ]
    answers["tree.json"] = {"simulation_id": "s", "tree": []}
    notes = "\n".join(bring(repo, save(tmp_path / "a", answers)).notes)
    assert f"1 record twice with other values, the first counts: {changed['id']}" in notes
    assert "no answers known here: tree.json" in notes
    assert "1 state without a root, as a parent is missing; not imported: x" in notes
    check(repo, made)


def test_no_json_is_an_error(repo: Repository, made: StateDb, tmp_path: Path) -> None:
    folder = save(tmp_path / "a", made.payloads())
    path = folder / "runs.json"
    path.write_text(path.read_text()[:-9])
    with pytest.raises(InvalidInput, match=r"'runs\.json' is not JSON"):
        bring(repo, folder)
    assert not repo.runs
