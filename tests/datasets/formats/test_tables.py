"""CSV and NumPy: what other programs read, and what comes back of it."""

from __future__ import annotations

import csv
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import IntegrityError, InvalidInput, Repository
from simgit.datasets.formats.base import Source, probe
from tests.datasets.formats.cases import everything, read, write


def pole(repo: Repository, observe: Any = lambda i: np.arange(4, dtype="f4") * i) -> None:
    with repo.recorder("main") as recorder:
        for i in range(25):
            begins = i % 10 == 0
            recorder.append(
                observe(i), None if begins else np.int64(i % 2), None if begins else i / 2,
                terminated=None if begins else i % 10 == 9, truncated=None if begins else False,
                info={"lives": i, "name": "a,\"b\"", "7": "7"}, reset=begins,
            )  # fmt: skip


def test_csv_spreads_arrays_and_comes_back_as_a_new_run(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    pole(repo)
    write(repo, "csv", tmp_path / "pole.csv", "main")
    with (tmp_path / "pole.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[3]["observation[2]"] == "6.0" and rows[3]["action"] == "1"
    assert rows[0]["action"] == "" and rows[9]["terminated"] == "true"
    assert rows[3]["info.name"] == 'a,"b"' and rows[3]["info.7"] == '"7"'
    read(other, tmp_path / "pole.csv")
    one, two = repo["main"], other["main"]
    np.testing.assert_array_equal(one.observations, two.observations)
    np.testing.assert_array_equal(one.rewards, two.rewards)
    assert two.column("info.7") == ["7"] * 25
    assert two.episode_starts.tolist() == one.episode_starts.tolist()


def test_csv_of_all_kinds_of_values_is_read_again(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    write(repo, "csv", tmp_path / "all.csv", *everything(repo))
    assert read(other, tmp_path / "all.csv").states == 47
    assert list(other.runs) == ["main", "what-if"]


def test_transitions_of_another_program_become_states(tmp_path: Path) -> None:
    (tmp_path / "theirs.csv").write_text(
        "obs,actions,rewards,dones,next_obs\n1,0,0.5,false,2\n2,1,1.0,true,3\n7,0,2.0,false,8\n"
    )
    repo = Repository.init(":memory:")
    found = read(repo, tmp_path / "theirs.csv")
    states = repo["theirs"]
    assert states.observations.tolist() == [1, 2, 3, 7, 8]
    assert states.rewards.tolist() == [0, 0.5, 1, 0, 2]
    assert states.episode_ids.tolist() == [1, 1, 1, 2, 2]
    assert any("transition" in note for note in found.notes)


@pytest.mark.parametrize(
    "text", ["a,a\n1,2\n", "a,b\n1\n", "x[0],x[2]\n1,2\n", "\n", "\xff,b\n1,2"]
)
def test_malformed_csv_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_bytes(text.encode("latin-1"))
    repo = Repository.init(":memory:")
    with pytest.raises((IntegrityError, InvalidInput)):
        read(repo, tmp_path / "x.csv")
    assert dict(repo.runs) == {}


def test_arrays_have_a_row_a_state_and_say_what_is_absent(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    pole(repo, lambda i: {"a": np.float32([i, 1]), "image": np.full((20, 20), i, "u1")})
    exported = write(repo, "numpy", tmp_path / "pole.npz", "main")
    with np.load(tmp_path / "pole.npz") as arrays:
        assert arrays["observation/image"].shape == (25, 20, 20)
        assert arrays["action.present"].tolist() == [i % 10 != 0 for i in range(25)]
        assert arrays["episode"].tolist() == [1] * 10 + [2] * 10 + [3] * 5
        assert "action in the same row" in str(arrays["alignment"])
    assert exported.notes == ["left out, as NumPy has no array for them: info.7, info.name"]
    read(other, tmp_path / "pole.npz")
    np.testing.assert_array_equal(
        other["main"].observations["image"], repo["main"].observations["image"]
    )
    assert other["main"].rewards.tolist() == repo["main"].rewards.tolist()


def test_transitions_of_d4rl_stand_beside_their_observations(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    pole(repo)
    done = write(repo, "numpy", tmp_path / "pole.npz", "main", options={"layout": "d4rl"})
    assert done.notes == ["left out, as d4rl has no place for them: info"]
    with np.load(tmp_path / "pole.npz") as arrays:
        assert len(arrays["actions"]) == 9 + 9 + 4
        assert arrays["observations"][9, 1] == 10 and arrays["next_observations"][9, 1] == 11
        assert arrays["actions"][9] == 1 and arrays["rewards"][9] == 5.5
        assert arrays["terminals"].nonzero()[0].tolist() == [8, 17]
        assert arrays["timeouts"].nonzero()[0].tolist() == [21]
    read(other, tmp_path / "pole.npz")
    np.testing.assert_array_equal(other["pole"].observations, repo["main"].observations)
    assert other["pole"].actions.tolist()[1:10] == repo["main"].actions.tolist()[1:10]


def test_archives_of_strangers_are_refused(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    path = tmp_path / "x.npz"
    np.savez(path, observation=np.array([{"a": 1}], object))
    with pytest.raises(IntegrityError, match="pickled"):
        read(repo, path)
    np.savez_compressed(path, observation=np.random.default_rng(0).random(1000))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(IntegrityError):
        read(repo, path)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out,
        out.open("observation.npy", "w") as m,
    ):
        np.lib.format.write_array_header_1_0(
            m, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
        )
        m.write(bytes(1 << 20))
    with pytest.raises(IntegrityError):
        read(repo, path)
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("observation.npy", pickle.dumps([1]))
    with pytest.raises(IntegrityError):
        read(repo, path)
    assert dict(repo.runs) == {}


def test_an_episode_has_one_observation_more_than_actions(tmp_path: Path) -> None:
    observations = np.arange(10.0).reshape(5, 2)
    for name in ("observations", "obs", "state"):
        arrays = {
            name: observations,
            "action": np.arange(4),
            "reward": np.ones(4),
            "x": np.ones(9),
            "y": np.array(1),
        }
        np.savez(tmp_path / "x.npz", **arrays)
        with Repository.init(":memory:") as repo:
            done = read(repo, tmp_path / "x.npz")
            states = repo["x"]
            np.testing.assert_array_equal(states.observations, observations)
            assert [each.action for each in states] == [None, 0, 1, 2, 3]
        assert "left out, as most arrays have 4 rows: x, y" in done.notes
    np.savez(tmp_path / "x.npz", obs=observations, actions=np.arange(4))
    with Repository.init(":memory:") as repo:
        read(repo, tmp_path / "x.npz")
        np.testing.assert_array_equal(repo["x"].observations, observations)


@pytest.mark.parametrize("other", [np.zeros(4), np.zeros(4, "i4"), np.zeros(3, "f4"), {"a": 1}])
def test_transitions_that_numpy_cannot_stack_are_refused(tmp_path: Path, other: Any) -> None:
    repo = Repository.init(":memory:")
    for run, value in (("a", np.zeros(4, "f4")), ("b", other)):
        with repo.recorder(run) as recorder:
            recorder.append(value, reset=True)
            recorder.append(value, 1, 1.0)
    with pytest.raises(InvalidInput):
        write(repo, "numpy", tmp_path / "x.npz", "a", "b", options={"layout": "d4rl"})
    with repo.recorder("c") as recorder:
        for i in range(4):
            recorder.append({"x": 1, **({"y": 2} if i > 1 else {})}, i % 2 or None, reset=not i % 2)
    with pytest.raises(InvalidInput):
        write(repo, "numpy", tmp_path / "x.npz", "c", options={"layout": "d4rl"})


@pytest.mark.slow
def test_damaged_archives_are_refused_as_such(tmp_path: Path, seed: int) -> None:
    """Each byte of the directory and of the headers, and some of the others, are changed."""
    rng = np.random.default_rng(seed)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, observations=rng.random((30, 2)), actions=np.arange(30))
    data = path.read_bytes()
    places = {*range(60), *range(len(data) - 200, len(data)), *rng.integers(0, len(data), 100)}
    kept = 0
    for place in sorted(places):
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with Repository.init(":memory:") as repo:
            try:
                read(repo, path)
                kept += 1
            except (IntegrityError, InvalidInput):
                assert not repo.runs
    assert kept < len(places) / 2


def test_what_is_in_no_format_says_so(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"junk")
    with pytest.raises(InvalidInput, match="--format"):
        probe(Source("x", tmp_path / "x"))


def test_flags_as_text_are_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("obs,action,reward,done\n1,,,f\n2,0,1.0,FALSE\n3,1,2,t\n")
    with Repository.init(":memory:") as repo:
        repo.import_data(tmp_path / "t.csv")
        assert [bool(each.terminated) for each in repo.trajectory("t")] == [False, False, True]
    (tmp_path / "u.csv").write_text("obs,action,reward,done\n1,,,f\n2,0,1.0,maybe\n")
    with Repository.init(":memory:") as repo, pytest.raises(InvalidInput, match="'done'"):
        repo.import_data(tmp_path / "u.csv")


def test_lines_of_json_of_others_lose_nothing(tmp_path: Path) -> None:
    lines = '{"obs":1.5,"actions":0,"rewards":0.5,"x":3}\n{"obs":2.5,"actions":1,"dones":true}\n'
    (tmp_path / "t.jsonl").write_text(lines)
    with Repository.init(":memory:") as repo:
        repo.import_data(tmp_path / "t.jsonl")
        states = list(repo.trajectory("t"))
    assert [each.observation for each in states] == [1.5, 2.5, None]
    assert states[1].info["x"] == 3 and states[1].reward == 0.5 and states[2].terminated


def test_csv_takes_names_for_no_numbers_and_has_no_mark(tmp_path: Path) -> None:
    cells = ["007", "1_000", "1e999", "0x1", "12", "-1.5e3", ".5", "+2", "0.50", "1."]
    (tmp_path / "t.csv").write_text("\ufeffobservation\n" + "\n".join(cells) + "\n", "utf-8")
    repo = Repository.init(":memory:")
    read(repo, tmp_path / "t.csv")
    found = [state.observation for state in repo.trajectory("t")]
    assert found == ["007", "1_000", "1e999", "0x1", 12, -1500.0, 0.5, 2.0, 0.5, 1.0]
    for wrong in ("", "ab", "\n"):
        with pytest.raises(InvalidInput, match="delimiter"):
            read(repo, tmp_path / "t.csv", delimiter=wrong)


@pytest.mark.parametrize("name", ["parquet", "arrow", "jsonl"])
def test_an_export_without_its_manifest_says_so(tmp_path: Path, name: str) -> None:
    repo = Repository.init(":memory:")
    pole(repo)
    path = tmp_path / f"x.{name}"
    write(repo, name, path, "main")
    if name == "jsonl":
        path.write_text("".join(path.read_text().splitlines(True)[1:]))
    else:
        path.write_bytes(path.read_bytes().replace(b"\x06simgit", b"\x06simgot").replace(
            b"\x06\0\0\0simgit", b"\x06\0\0\0simgot"))  # fmt: skip
    notes = read(Repository.init(":memory:"), path).notes
    assert any("manifest is missing" in note for note in notes)
