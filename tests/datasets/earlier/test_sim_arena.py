"""Sim-Arena's log: all its lines arrive, in runs and episodes, and what is damaged is told."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.errors import InvalidInput
from tests.datasets.earlier.importing import (
    bring,
    column,
    outcomes,
    peak_memory,
    stored,
)
from tests.datasets.earlier.sources import START, step_records, write_steps

FORMAT = "sim-arena"
PROCESSES = [
    ("first", 2, 3),
    ("info", 1, 4),
    ("policy", 3, 2),
    ("learned", 3, 4),
    ("learned", 1, 2),
]


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


@pytest.fixture
def records(seed: int) -> list[Any]:
    return step_records(np.random.default_rng(seed), PROCESSES)


def all_states(repo: Repository) -> list[Any]:
    return [state for run in repo.runs for state in repo.trajectory(run)]


def test_three_schemas_in_one_file(repo: Repository, records: list[Any], tmp_path: Path) -> None:
    path = write_steps(tmp_path, records)
    done = bring(repo, path, FORMAT)
    assert (
        done.states
        == stored(repo)
        == len(records)
        == json.loads((tmp_path / "summary.json").read_text())["total_steps"]
    )
    assert [info.step + 1 for info in repo.runs.values()] == [e * s for _, e, s in PROCESSES]
    assert [info.episodes for info in repo.runs.values()] == [e for _, e, _ in PROCESSES]
    total = sum(info.return_ for info in repo.runs.values())
    assert total == pytest.approx(sum(each["reward"] for each in records))
    assert not any("summary.json" in note for note in done.notes)


def test_every_line_is_there_word_by_word(
    repo: Repository, records: list[Any], tmp_path: Path
) -> None:
    bring(repo, write_steps(tmp_path, records))
    for record, state in zip(records, all_states(repo), strict=True):
        info = dict(state.info)
        zeros = info.pop("validity", None) == "unknown"
        assert zeros == (not any(record["obs"].values()))
        assert {"obs": state.observation, "reward": state.reward, **info} == record


def test_a_state_has_the_action_that_led_to_it(
    repo: Repository, records: list[Any], tmp_path: Path
) -> None:
    """The learner there gives the reward of a line to the action of the line before."""
    bring(repo, write_steps(tmp_path, records))
    for run in repo.runs:
        states = list(repo.trajectory(run))
        for before, state in itertools.pairwise(states):
            if state.reset is None:
                assert state.action == before.info["action"]
                assert state.info["trace_in"] == before.info["trace_out"]
            else:
                assert state.action is None


def test_transitions_are_those_that_the_learner_there_was_taught(
    repo: Repository, records: list[Any], tmp_path: Path
) -> None:
    """Its loop updates with the line before: its state, its action, and the reward of this one."""
    taught, before = [], None
    for record in records[-14:]:
        if before is not None and record["trace_in"] == before["trace_out"]:
            taught.append(
                (before["dqn_state"], before["action_idx"], record["reward"], record["at_target"])
            )
        before = record
    path = write_steps(tmp_path, records[-14:])
    repo.import_data(path, options={"action": "index"})
    fields = ["observation", "action", "reward", "terminated", "info.dqn_state"]
    data = repo.dataset(list(repo.runs), fields=fields)
    found = data.transitions()[:]
    assert found["actions"].tolist() == [action for _, action, _, _ in taught]
    assert found["rewards"].tolist() == [reward for _, _, reward, _ in taught]
    assert found["terminations"].tolist() == [done for *_, done in taught]
    ready = [round(record["obs"]["ready"]) for record in records[-14:] if not record["at_target"]]
    assert found["observations"]["ready"].tolist() == ready


def test_an_action_without_an_index_is_told(
    repo: Repository, records: list[Any], tmp_path: Path
) -> None:
    done = bring(repo, write_steps(tmp_path, records), action="index")
    assert any(note == "10 actions without an index: left out" for note in done.notes)


def test_ends_of_episodes(repo: Repository, records: list[Any], tmp_path: Path) -> None:
    """What the log says is taken over; that an episode was cut off is not said in it."""
    learned = records[-14:]
    learned[3] |= {"at_target": False}
    bring(repo, write_steps(tmp_path, learned))
    first = next(iter(repo.runs))
    assert column(repo, first, "terminated") == [False] * 7 + [True] + [False] * 3 + [True]
    assert column(repo, first, "truncated") == [None] * 12
    assert repo.runs[first].episodes == 3


def test_old_lines_say_nothing_of_an_end(
    repo: Repository, records: list[Any], tmp_path: Path
) -> None:
    bring(repo, write_steps(tmp_path, records[:6]))
    (run,) = repo.runs
    assert set(column(repo, run, "terminated")) == {None}
    assert [state.reset is not None for state in repo.trajectory(run)] == [True, False, False] * 2


def test_what_is_guessed_is_said_so(repo: Repository, records: list[Any], tmp_path: Path) -> None:
    done = bring(repo, write_steps(tmp_path, records))
    assert any(note.startswith("runs and episodes are guessed") for note in done.notes)
    assert all(set(info.metadata["guessed"]) == {"run", "episode"} for info in repo.runs.values())


def test_zeros_are_marked_unknown(repo: Repository, records: list[Any], tmp_path: Path) -> None:
    for record in records:
        record["obs"] = {"ready": 1, "pending": 2, "total": 3}
    for record in records[1:3]:
        record["obs"] = {"ready": 0, "pending": 0, "total": 0}
    done = bring(repo, write_steps(tmp_path, records))
    assert any(note.startswith("2 observations of zeros only") for note in done.notes)
    marks = [state.info.get("validity") for state in all_states(repo)]
    assert marks == [None, "unknown", "unknown", *[None] * (len(records) - 3)]


def test_damaged_lines_are_told_and_the_others_arrive(
    repo: Repository, records: list[Any], tmp_path: Path
) -> None:
    path = write_steps(tmp_path, records)
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = [
        b'{"timestamp": "2025\n', lines[1][:-1] + lines[2], b"\xff\xfe\n", b"[1, 2]\n", b"null\n",
        b"[" * 100_000 + b"\n", b'{"timestamp": "x", "obs": {}, "action": 1, "reward": 2}\n', b"\n",
    ]  # fmt: skip
    path.write_bytes(b"".join(lines[:5] + damaged + lines[5:-1] + [lines[-1][:-20]]))
    done = bring(repo, path)
    assert done.states == stored(repo) == len(records) - 1
    assert done.notes[0].startswith("8 lines not imported: line 6: not JSON")
    assert any(note.startswith(f"summary.json counts {len(records)} steps") for note in done.notes)


def test_a_text_that_is_no_unicode_comes_back_as_it_was(
    repo: Repository, records: list[Any], tmp_path: Path
) -> None:
    records[2]["more"] = "\ud800"
    bring(repo, write_steps(tmp_path, records[:3]))
    assert [state.info.get("more") for state in all_states(repo)] == [None, None, "\ud800"]


def test_a_value_that_cannot_be_stored_names_its_state(
    repo: Repository, records: list[Any], tmp_path: Path
) -> None:
    for record in records[:3]:
        record["more"] = 0
    records[2]["more"] = json.loads("[" * 80 + "]" * 80)
    with pytest.raises(InvalidInput, match=r"^state 2: info\.more"):
        bring(repo, write_steps(tmp_path, records[:3]))
    assert not repo.runs


def test_twice_is_once_and_a_log_that_grew_moves_forward(
    repo: Repository, records: list[Any], tmp_path: Path
) -> None:
    bring(repo, write_steps(tmp_path, records[:-1]))
    assert set(outcomes(bring(repo, write_steps(tmp_path, records[:-1]))).values()) == {"unchanged"}
    found = list(outcomes(bring(repo, write_steps(tmp_path, records))).values())
    assert found == ["unchanged"] * 4 + ["forward"]
    assert stored(repo) == len(records)


def test_original_lines_are_kept_on_demand(
    repo: Repository, records: list[Any], tmp_path: Path
) -> None:
    path = write_steps(tmp_path, records)
    data = path.read_bytes() + b"{damaged\n"
    path.write_bytes(data)
    bring(repo, path, keep_lines="true")
    kept = b"".join(repo.attachment(run, "lines") for run in repo.runs)
    assert kept == data.removesuffix(b"{damaged\n")


def _beside(folder: Path, records: list[Any], files: dict[str, int | None]) -> None:
    """Give files the times of lines, each two minutes and five seconds after; None for 2096."""
    first = sum(e * s for _, e, s in PROCESSES[:3])  # the first of the learned ones
    for name, number in files.items():
        then = 4e9 if number is None else _seconds(records[first + number]["timestamp"]) + 125
        os.utime(folder / name, (then, then))


def test_files_go_to_the_state_of_their_time(
    repo: Repository, records: list[Any], tmp_path: Path
) -> None:
    write_steps(tmp_path / "runs", records)
    folder = tmp_path / "checkpoints" / "greedy_20251122_08"
    folder.mkdir(parents=True)
    (folder / "checkpoint_latest.json").write_text(json.dumps({"n_actions": 4, "counts": [1, 2]}))
    (folder / "train.log").write_text("episode 1\n")
    (folder / "curve.png").write_bytes(b"\x89PNG")
    (folder / "notes.txt").write_text("not one of these")
    _beside(folder, records, {"train.log": 0, "curve.png": 11, "checkpoint_latest.json": None})
    bring(repo, tmp_path, FORMAT)
    at, names = "greedy_20251122_08", list(repo.runs)
    found = {each.name: each.step for each in repo.history_attachments(names[3])}
    assert found == {f"{at}.train.log": 1, f"{at}.curve.png": 11}
    assert repo.attachment(f"{names[3]}@1", f"{at}.train.log") == b"episode 1\n"
    last = repo.attachment(names[-1], f"{at}.checkpoint_latest.json")
    assert last == {"n_actions": 4, "counts": [1, 2]}


@pytest.mark.slow
def test_a_checkpoint_of_torch_arrives_as_arrays(
    repo: Repository, records: list[Any], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    write_steps(tmp_path / "runs", records)
    folder = tmp_path / "checkpoints" / "dqn_20251122_08"
    folder.mkdir(parents=True)
    net = torch.nn.Linear(5, 4)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(5)).sum().backward()
    optimizer.step()
    torch.save(
        {
            "q_net_state_dict": net.state_dict(), "target_net_state_dict": net.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(), "total_steps": 8,
            "reward_history": [0.5, 1.0], "loss_history": [], "episode_reward_history": [],
            "current_episode_reward": 0.0, "hyperparams": {"state_dim": 5, "gamma": 0.97},
            "parameter": net.weight, "half": torch.ones(2, dtype=torch.bfloat16),
        },
        folder / "checkpoint_ep2.pt",
    )  # fmt: skip
    _beside(folder, records, {"checkpoint_ep2.pt": 5})
    bring(repo, tmp_path, FORMAT)
    data = repo.attachment(f"{list(repo.runs)[3]}@6", "dqn_20251122_08.checkpoint_ep2.pt")
    for name, tensor in net.state_dict().items():
        assert np.array_equal(data["q_net_state_dict"][name], tensor.numpy())
    assert data["optimizer_state_dict"]["state"][0]["step"] == 1
    assert data["reward_history"] == [0.5, 1.0]
    assert data["half"].tolist() == [1.0, 1.0]


def _seconds(text: str) -> float:
    return START.fromisoformat(text).timestamp()


@pytest.mark.slow
def test_a_checkpoint_that_needs_code_is_refused(
    repo: Repository, records: list[Any], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    path = write_steps(tmp_path, records)
    torch.save({"x": Harmful(str(tmp_path / "harmed"))}, tmp_path / "checkpoint_latest.pt")
    done = bring(repo, path)
    assert any("'checkpoint_latest.pt' not imported" in note for note in done.notes)
    assert not (tmp_path / "harmed").exists()
    assert stored(repo) == len(records)


class Harmful:
    """An object whose pickle makes a directory when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_links_are_not_followed(repo: Repository, records: list[Any], tmp_path: Path) -> None:
    path = write_steps(tmp_path / "runs", records)
    secret = tmp_path / "secret"
    secret.write_text('{"total_rewards": 1e9, "total_steps": 123456789}')
    for name in ("train.log", "summary.json"):
        (tmp_path / "runs" / name).unlink(missing_ok=True)
        (tmp_path / "runs" / name).symlink_to(secret)
    notes = bring(repo, path).notes
    assert not any("summary" in note for note in notes)
    assert not any(repo.history_attachments(run) for run in repo.runs)


def test_the_format_is_found_in_folders(records: list[Any], tmp_path: Path) -> None:
    write_steps(tmp_path / "runs", records)
    for source in (tmp_path, tmp_path / "runs", tmp_path / "runs" / "step.jsonl"):
        bring(Repository.init(":memory:"), source, FORMAT)


def test_copies_of_lines_are_told(repo: Repository, records: list[Any], tmp_path: Path) -> None:
    """A log that was joined with an older copy of itself: its states are stored once."""
    done = bring(repo, write_steps(tmp_path, records + records[:6]))
    assert stored(repo) == len(records)
    assert any(note.startswith("1 run begins with a line that") for note in done.notes)


@pytest.mark.slow
def test_a_large_log_takes_little_memory(seed: int, tmp_path: Path) -> None:
    peaks = []
    for episodes in (500, 5_000):
        records = step_records(np.random.default_rng(seed), [("learned", episodes, 10)])
        peaks.append(peak_memory(write_steps(tmp_path / str(episodes), records)))
    assert peaks[1] < peaks[0] + (48 << 20)


@pytest.mark.parametrize("change", [{"reward": 10**400}, {"timestamp": "9999-01-01T00:00:00"}])
def test_numbers_out_of_range_are_faults_of_their_line(
    repo: Repository, records: list[Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    path = write_steps(tmp_path / "runs", records)
    lines = path.read_text().splitlines(True)
    lines[2] = json.dumps(json.loads(lines[2]) | change) + "\n"
    path.write_text("".join(lines))
    done = bring(repo, path)
    assert any("1 line not imported: line 3: " in note for note in done.notes)
