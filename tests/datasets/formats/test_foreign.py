"""Tables of RLlib, d4rl, RLDS, LeRobot and others: the same trajectory comes out of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import InvalidInput, Repository
from simgit.datasets.formats.base import formats
from simgit.history.diff.bits import difference
from tests.datasets.formats.cases import episodes, read, write

Episode = dict[str, Any]
"""T + 1 observations, T actions and rewards, and how it ended."""


@pytest.fixture
def truth(seed: int) -> list[Episode]:
    """Three episodes: one ends, one is cut off, the last breaks off."""
    rng = np.random.default_rng(seed)
    return [
        {
            "obs": rng.normal(size=(size + 1, 3)), "act": rng.integers(1, 9, size),
            "rew": rng.normal(size=size) + 9, "end": end,
        }
        for size, end in ((4, "terminated"), (3, "truncated"), (5, None))
    ]  # fmt: skip


def rows_of(truth: list[Episode], names: dict[str, str], final: bool = False) -> list[Any]:
    """Return a row for each transition, ``final`` ones too; columns by what they have."""
    rows = []
    for number, each in enumerate(truth):
        size = len(each["act"])
        for t in range(size + final):
            last = t == size - (not final)
            row = {"obs": each["obs"][t], "number": 70 + number, "t": t, "first": t == 0}
            row |= {"last": last and each["end"] is not None}
            row |= {"terminal": last and each["end"] == "terminated"}
            row |= {"truncated": last and each["end"] == "truncated"}
            row |= {"timeout": last and each["end"] != "terminated"}
            row |= {"done": last and each["end"] is not None}
            row |= {"act": 0, "rew": 0.0}
            if t < size:
                row |= {"act": each["act"][t], "rew": each["rew"][t], "next": each["obs"][t + 1]}
            rows.append({theirs: row[name] for name, theirs in names.items() if name in row})
    return rows


def check(
    repo: Repository, run: str, truth: list[Episode], ends: bool = True, last: bool = True
) -> None:
    """Compare a run with the truth, step by step; without ``last``, observations end before it."""
    states = iter(repo.trajectory(run))
    for each in truth:
        reset = next(states)
        np.testing.assert_array_equal(reset.observation, each["obs"][0])
        assert reset.reset is not None and reset.action is None and reset.reward is None
        for t, (action, reward) in enumerate(zip(each["act"], each["rew"], strict=True), 1):
            state = next(states)
            assert (state.action, state.reward, state.reset) == (action, reward, None)
            if t < len(each["act"]) or last:
                np.testing.assert_array_equal(state.observation, each["obs"][t])
            else:
                assert state.observation is None
            at_end = t == len(each["act"])
            assert bool(state.terminated) is (at_end and each["end"] == "terminated")
            if ends:
                assert bool(state.truncated) is (at_end and each["end"] == "truncated")
    assert next(states, None) is None


def save(path: Path, rows: list[Any]) -> Path:
    """Write rows in the kind that the name of a file says."""
    if path.suffix == ".jsonl":
        plain = [
            {
                k: np.asarray(v).tolist() if np.ndim(v) else getattr(v, "item", lambda v=v: v)()
                for k, v in row.items()
            }
            for row in rows
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in plain))
    elif path.suffix == ".npz":
        np.savez(path, **{k.replace(".", "/"): np.stack([r[k] for r in rows]) for k in rows[0]})
    else:
        pd = pytest.importorskip("pandas")
        rows = [{k: v if np.ndim(v) == 0 else list(v) for k, v in row.items()} for row in rows]
        if path.suffix == ".parquet":
            pytest.importorskip("pyarrow")
            pd.DataFrame(rows).to_parquet(path)
        else:
            flat = [
                {f"{k}[{i}]" if isinstance(v, list) else k: e for k, v in row.items()
                 for i, e in enumerate(v if isinstance(v, list) else [v])} for row in rows
            ]  # fmt: skip
            pd.DataFrame(flat).to_csv(path, index=False)
    return path


RLLIB = {"obs": "obs", "act": "actions", "rew": "rewards", "terminal": "terminateds",
         "truncated": "truncateds", "number": "eps_id", "t": "t"}  # fmt: skip
KINDS = ("x.jsonl", "x.npz", "x.parquet", "x.csv")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("following", [True, False])
def test_tables_of_rllib(truth: list[Episode], tmp_path: Path, name: str, following: bool) -> None:
    names = RLLIB | ({"next": "new_obs"} if following else {})
    path = save(tmp_path / name, rows_of(truth, names))
    for options in ({}, {"names": "rllib"}, {"alignment": "taken"}):
        with Repository.init(":memory:") as repo:
            done = read(repo, path, **options)
            check(repo, "x", truth, last=following)
            found = [each.info for each in repo.trajectory("x") if each.action is not None]
            assert [(each["t"], each["eps_id"]) for each in found] == [
                (t, 70 + i) for i, e in enumerate(truth) for t in range(len(e["act"]))
            ]  # what numbers rows is kept
            assert any("alignment=led" in note for note in done.notes) is not options


@pytest.mark.parametrize("name", KINDS)
def test_tables_of_d4rl(truth: list[Episode], tmp_path: Path, name: str) -> None:
    names = {"obs": "observations", "act": "actions", "rew": "rewards", "terminal": "terminals",
             "timeout": "timeouts", "next": "next_observations"}  # fmt: skip
    truth[2]["end"] = "truncated"  # d4rl's timeout
    path = save(tmp_path / name, rows_of(truth, names))
    with Repository.init(":memory:") as repo:
        read(repo, path)
        check(repo, "x", truth)
    del names["next"]
    with Repository.init(":memory:") as repo:
        done = read(repo, save(tmp_path / name, rows_of(truth, names)))
        check(repo, "x", truth, last=False)
    assert "alignment=led" in done.notes[0]


@pytest.mark.parametrize("name", KINDS)
def test_steps_of_rlds(truth: list[Episode], tmp_path: Path, name: str) -> None:
    names = {"obs": "observation", "act": "action", "rew": "reward", "first": "is_first",
             "last": "is_last", "terminal": "is_terminal"}  # fmt: skip
    path = save(tmp_path / name, rows_of(truth, names, final=True))
    for options in ({}, {"names": "rlds"}):
        with Repository.init(":memory:") as repo:
            read(repo, path, **options)
            # of an episode without is_last nobody knows that the last row closes it
            states = list(repo.trajectory("x"))
            assert states[-1].observation is None and states[-1].action == 0
            check(repo, "x", [*truth[:2], _with_zero(truth[2])], last=True)


def _with_zero(episode: Episode) -> Episode:
    return episode | {"act": [*episode["act"], 0], "rew": [*episode["rew"], 0.0],
                      "obs": [*episode["obs"], None]}  # fmt: skip


def test_actions_of_the_last_steps_of_rlds_are_kept_in_info(
    truth: list[Episode], tmp_path: Path
) -> None:
    names = {"obs": "observation", "act": "action", "rew": "reward", "last": "is_last",
             "terminal": "is_terminal", "t": "time"}  # fmt: skip
    rows = rows_of(truth[:2], names, final=True)
    rows[4] |= {"action": 7, "reward": 1.0}
    with Repository.init(":memory:") as repo:
        done = read(repo, save(tmp_path / "x.jsonl", rows))
        check(repo, "x", truth[:2])
        info = list(repo.trajectory("x"))[4].info
        assert info == {"time": 3, "row": {"action": 7, "reward": 1.0, "info": {"time": 4}}}
    assert any(note.startswith("actions and rewards in the last row") for note in done.notes)


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
def test_frames_of_lerobot(truth: list[Episode], tmp_path: Path, name: str) -> None:
    names = {"obs": "observation.state", "act": "action", "rew": "next.reward",
             "terminal": "next.done", "number": "episode_index", "t": "frame_index"}  # fmt: skip
    path = save(tmp_path / name, rows_of(truth, names))
    with Repository.init(":memory:") as repo:
        read(repo, path, names="lerobot")
        check(repo, "x", truth, ends=False, last=False)
    with Repository.init(":memory:") as repo:
        read(repo, path)
        assert [each.action for each in repo.trajectory("x")][:3] == [None, *truth[0]["act"][:2]]


def test_what_cannot_be_decided_is_refused(truth: list[Episode], tmp_path: Path) -> None:
    names = {"obs": "obs", "act": "action", "rew": "reward", "done": "done", "number": "episode"}
    for name in KINDS:
        path = save(tmp_path / name, rows_of(truth, names))
        with Repository.init(":memory:") as repo:
            with pytest.raises(InvalidInput, match="-o alignment=led or -o alignment=taken"):
                read(repo, path)
            with pytest.raises(InvalidInput, match="alignment"):
                read(repo, path, alignment="both")
            assert not repo.runs
            read(repo, path, alignment="taken")
            assert [each.action for each in repo.trajectory("x")][1:5] == [*truth[0]["act"]]
        with Repository.init(":memory:") as repo:
            read(repo, path, alignment="led")
            assert [each.action for each in repo.trajectory("x")][:4] == [*truth[0]["act"]]
    mixed = [{"obs": 1}, {"obs": 2, "actions": 3}]  # a reset, in a table of transitions?
    with Repository.init(":memory:") as repo, pytest.raises(InvalidInput, match="alignment"):
        read(repo, save(tmp_path / "y.jsonl", mixed))
    late = [{"obs": i} for i in range(200)] + [{"obs": 200, "action": 1}]
    with Repository.init(":memory:") as repo, pytest.raises(InvalidInput, match="alignment"):
        read(repo, save(tmp_path / "z.jsonl", late))


def test_rows_of_states_are_known_by_their_reset(tmp_path: Path) -> None:
    rows = [{"obs": 1}, {"obs": 2, "action": 3, "reward": 1.0, "done": True}, {"obs": 5}]
    with Repository.init(":memory:") as repo:
        done = read(repo, save(tmp_path / "x.jsonl", rows))
        states = list(repo.trajectory("x"))
        assert [(s.observation, s.action) for s in states] == [(1, None), (2, 3), (5, None)]
        assert [s.reset is not None for s in states] == [True, False, True]
    assert "alignment=taken" in done.notes[0]


def test_the_last_row_of_an_episode_may_have_no_action(tmp_path: Path) -> None:
    rows = [{"obs": 1, "actions": 5, "dones": False, "x": 0}, {"obs": 2, "actions": 6, "dones": True, "x": 1},
            {"obs": 3, "x": 2}, {"obs": 7, "actions": 8, "dones": False, "x": 3}, {"obs": 9, "x": 4}]  # fmt: skip
    with Repository.init(":memory:") as repo:
        read(repo, save(tmp_path / "x.jsonl", rows))
        states = list(repo.trajectory("x"))
    assert [(s.observation, s.action) for s in states] == [
        (1, None), (2, 5), (3, 6), (7, None), (9, 8),
    ]  # fmt: skip
    assert [bool(s.terminated) for s in states] == [False, False, True, False, False]
    assert states[2].info == {"x": 1, "row": {"info": {"x": 2}}}


def test_rows_that_do_not_follow_each_other_begin_an_episode(tmp_path: Path) -> None:
    rows = [{"obs": i, "actions": i, "rewards": 1.0, "new_obs": n} for i, n in
            ((1, 2), (2, 3), (7, 8), (8, 9), (20, 21))]  # fmt: skip
    with Repository.init(":memory:") as repo:
        done = read(repo, save(tmp_path / "x.jsonl", rows))
        states = list(repo.trajectory("x"))
    assert [s.observation for s in states] == [1, 2, 3, 7, 8, 9, 20, 21]
    assert [s.action for s in states] == [None, 1, 2, None, 7, 8, None, 20]
    assert [note for note in done.notes if note.endswith("begin an episode: 2")]


def test_of_two_columns_for_one_field_the_other_stays_in_info(tmp_path: Path) -> None:
    row = {"obs": 1, "state": [2], "actions": 3, "rewards": 4.0, "done": False, "terminated": True,
           "t": 0.25, "step": 9, "info": {"step": 5}, "observation.x": 6, "next_obs": 7,
           "info.step.a": 8, "files": "f", "forms": "g"}  # fmt: skip
    for alignment, last in (("led", 0), ("taken", 1)):
        with Repository.init(":memory:") as repo:
            read(repo, save(tmp_path / "x.jsonl", [row]), alignment=alignment)
            state = list(repo.trajectory("x"))[last]
        assert state.terminated is True and state.action == 3
        own = {"state": [2], "done": False, "t": 0.25, "step": 5, "step_": 9, "observation.x": 6,
               "info.step.a": 8, "files": "f", "forms": "g"}  # fmt: skip
        assert state.info == own | ({"next_obs": 7} if alignment == "led" else {})
        assert state.observation == (1 if alignment == "led" else 7)


def test_batches_of_rllib_are_rows(truth: list[Episode], tmp_path: Path) -> None:
    """RLlib's lines are batches, which may end within an episode."""
    rows = rows_of(truth, RLLIB | {"next": "new_obs"})
    parts = [
        {n: [np.asarray(r[n]).tolist() for r in p] for n in p[0]} for p in (rows[:6], rows[6:])
    ]
    lines = [{"type": "SampleBatch", **part} for part in parts]
    with Repository.init(":memory:") as repo:
        read(repo, save(tmp_path / "x.jsonl", lines))
        check(repo, "x", truth)
    for change in ({"obs": "BCJNGGhAwA"}, {"rewards": [1.0]}):
        with Repository.init(":memory:") as repo, pytest.raises(InvalidInput, match="RLlib"):
            read(repo, save(tmp_path / "x.jsonl", [lines[0] | change]))


@pytest.mark.parametrize("alignment", ["led", "taken"])
def test_a_step_number_that_goes_back_begins_an_episode(tmp_path: Path, alignment: str) -> None:
    rows = [{"obs": i, "action": i, "t": t} for i, t in enumerate((0, 1, 2, 0, 1, 0.5))]
    with Repository.init(":memory:") as repo:
        done = read(repo, save(tmp_path / "x.jsonl", rows), alignment=alignment)
        starts = [s.observation for s in repo.trajectory("x") if s.reset is not None]
    assert starts == [0, 3, 5]
    assert "rows whose step number goes back begin an episode: 2" in done.notes


@pytest.mark.parametrize("mark", [True, 1, {}, {"seed": 5}])
def test_a_reset_of_a_transition_is_of_its_observation(tmp_path: Path, mark: Any) -> None:
    rows = [{"obs": i, "action": i, "reset": mark if i in (0, 2) else False} for i in range(4)]
    with Repository.init(":memory:") as repo:
        read(repo, save(tmp_path / "x.jsonl", rows), alignment="taken")
        states = list(repo.trajectory("x"))
    assert [(s.observation, s.action) for s in states] == [
        (0, None), (1, 0), (None, 1), (2, None), (3, 2), (None, 3),
    ]  # fmt: skip
    wanted = mark if isinstance(mark, dict) else {}
    assert [s.reset for s in states] == [wanted, None, None, wanted, None, None]


def test_rows_that_are_done_and_truncated_are_truncated(tmp_path: Path) -> None:
    rows = [{"obs": i, "actions": i, "dones": i > 0, "truncated": i == 1} for i in range(3)]
    with Repository.init(":memory:") as repo:
        done = read(repo, save(tmp_path / "x.jsonl", rows))
        flags = [(s.terminated, s.truncated) for s in repo.trajectory("x") if s.action is not None]
    assert flags == [(False, False), (False, True), (True, False)]
    assert done.notes[-1].endswith("was not recorded: 1") or done.notes[-2].endswith(": 1")


def test_a_table_without_known_columns_says_so(tmp_path: Path) -> None:
    with Repository.init(":memory:") as repo:
        done = read(repo, save(tmp_path / "x.csv", [{"price": 1, "size": 2}]))
    assert any(note.startswith("no column has the name") for note in done.notes)


def test_episodes_may_be_numbered_by_anything(tmp_path: Path) -> None:
    assert difference("", np.complex64(1), np.array("x"), lambda _: False) is not None
    assert difference("", np.array([1, 2]), [[1], [2, 3]], lambda _: False) is not None
    for ids in (np.array([[0, 1], [0, 1], [0, 2]]), np.array(["1", "1", "x"]), np.ones((3, 0))):
        np.savez(tmp_path / "x.npz", obs=np.arange(3), actions=np.arange(3), eps_id=ids)
        with Repository.init(":memory:") as repo:
            read(repo, tmp_path / "x.npz")
            starts = sum(s.reset is not None for s in repo.trajectory("x"))
            assert starts == (1 if ids.size == 0 else 2)


def test_lines_of_json_are_split_by_run(tmp_path: Path) -> None:
    rows = [{"run": r, "obs": i, "actions": i} for r in ("a", "b") for i in range(2)]
    with Repository.init(":memory:") as repo:
        read(repo, save(tmp_path / "x.jsonl", rows))
        assert {name: run.step for name, run in repo.runs.items()} == {"a": 2, "b": 2}


@pytest.mark.parametrize("name", ["csv", "numpy"])
def test_tables_of_simgit_are_states(tmp_path: Path, name: str) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo)
    with repo.recorder("several") as recorder:
        for i in range(3):
            recorder.append(
                np.arange(4, dtype="f4") + i,
                i or None,
                np.array([i, 2.0]) if i else None,
                reset=not i,
            )
    path = tmp_path / ("x.csv" if name == "csv" else "x.npz")
    write(repo, name, path, "main", "several")
    done = read(other, path)
    assert not any("alignment" in note for note in done.notes)
    for run in ("main", "several"):
        for one, two in zip(repo.trajectory(run), other.trajectory(run), strict=True):
            np.testing.assert_array_equal(one.observation, two.observation)
            np.testing.assert_array_equal(one.reward, two.reward)
            assert (one.action, one.info) == (two.action, two.info)
            assert (one.reset is None) == (two.reset is None)
    rewards = (each["several"].column("rewards") for each in (repo, other))
    np.testing.assert_array_equal(*rewards)


@pytest.mark.parametrize("name", ["csv", "parquet", "arrow", "jsonl"])
def test_names_of_other_libraries_are_refused_for_rows_of_states(tmp_path: Path, name: str) -> None:
    assert name in formats()
    repo = Repository.init(":memory:")
    episodes(repo)
    with pytest.raises(InvalidInput, match="layout=d4rl"):
        repo.export(name, tmp_path / "x", "main", options={"names": "rllib"})
