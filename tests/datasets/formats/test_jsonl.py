"""JSON lines, out and in again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simgit import IntegrityError, InvalidInput, NotFound, Repository
from simgit.datasets.formats.base import Source, probe
from tests.datasets.formats.cases import everything, read, write


def test_all_kinds_of_values_come_back_with_their_oids(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    names = everything(repo)
    write(repo, "jsonl", tmp_path / "a.jsonl", *names)
    read(other, tmp_path / "a.jsonl")
    assert [other.runs[n].oid for n in names] == [repo.runs[n].oid for n in names]
    assert other.runs["what-if"].branch_point == repo.runs["what-if"].branch_point
    assert other.runs["what-if"].parent == "main"
    assert other.runs["main"].config == {"agent": {"lr": 0.1}}


def test_a_branch_without_its_parent_needs_it(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    everything(repo)
    write(repo, "jsonl", tmp_path / "a.jsonl", "main@13..what-if")
    with pytest.raises(NotFound):
        read(Repository.init(":memory:"), tmp_path / "a.jsonl")
    write(repo, "jsonl", tmp_path / "b.jsonl", "main")
    other = Repository.init(":memory:")
    read(other, tmp_path / "b.jsonl")
    read(other, tmp_path / "a.jsonl")
    assert other.runs["what-if"].oid == repo.runs["what-if"].oid


@pytest.mark.parametrize("change", ["edit", "drop", "swap", "cut", "add", "last"])
def test_a_changed_file_is_refused_and_nothing_is_imported(tmp_path: Path, change: str) -> None:
    repo = Repository.init(":memory:")
    everything(repo)
    path = tmp_path / "a.jsonl"
    write(repo, "jsonl", path, "main", "what-if")
    lines = path.read_text().splitlines()
    if change == "edit":
        state = json.loads(lines[12])
        state["reward"] = 0.25
        lines[12] = json.dumps(state)
    elif change == "drop":
        del lines[17]
    elif change == "swap":
        lines[5], lines[6] = lines[6], lines[5]
    elif change == "add":
        lines.append(lines[-1])
    elif change == "cut":
        lines[-1] = lines[-1][:20]
    else:
        del lines[-1]
    path.write_text("\n".join(lines) + "\n")
    other = Repository.init(":memory:")
    with pytest.raises(IntegrityError):
        read(other, path)
    assert dict(other.runs) == {}
    if change != "cut":
        read(other, path, as_new=True)
        assert other.runs["main"].metadata == {"imported_from": str(path)}


def test_fields_and_where_make_a_file_that_is_not_the_same_run(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    everything(repo)
    path = tmp_path / "a.jsonl"
    write(repo, "jsonl", path, "main", where="step >= 5", fields=[("reward",), ("info", "lives")])
    states = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert [state["step"] for state in states] == list(range(5, 40))
    assert {key for state in states for key in state} <= {
        "run",
        "step",
        "episode",
        "reward",
        "info",
    }
    with pytest.raises(InvalidInput, match="--as-new"):
        read(other, path)
    assert read(other, path, as_new=True).states == 35
    assert other["main"].column("info.lives").tolist() == [3] * 35


def test_lines_of_another_program_are_states(tmp_path: Path) -> None:
    path = tmp_path / "their run.jsonl"
    path.write_text(
        '{"observation": [1, 2], "reset": true}\n{"observation": [3, 4], "reward": 1}\n'
    )
    repo = Repository.init(":memory:")
    assert probe(Source(str(path), path)).name == "jsonl"
    read(repo, path)
    assert repo["their-run"].observations == [[1, 2], [3, 4]]
    assert repo["their-run"].rewards.tolist() == [0.0, 1.0]
