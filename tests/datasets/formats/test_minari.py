"""Minari's data sets: read by Minari itself, and in again with the same oids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from simgit import IntegrityError, InvalidInput, Repository
from tests.datasets.formats.cases import episodes, read, write

h5py = pytest.importorskip("h5py")
KINDS = ("hdf5", "arrow")


OBSERVATIONS = {
    "vector": lambda i: np.arange(4, dtype="f4") * i,
    "number": lambda i: np.int64(i),
    "python": lambda i: float(i),
    "image": lambda i: np.full((40, 40, 3), i, "u1"),
    "dict": lambda i: {"a": np.float32([i]), "b": {"c": i, "d": np.arange(300) + i}},
    "tuple": lambda i: (np.float64(i), np.zeros((2, 2), "i1") + i),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_minari_reads_what_we_write_and_we_make_the_same_states(
    tmp_path: Path, name: str, kind: str
) -> None:
    minari = pytest.importorskip("minari")
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    observe = OBSERVATIONS[name]
    episodes(repo, observe)
    write(repo, "minari", tmp_path / "pole", "main", "what-if", options={"format": kind})

    found = list(minari.MinariDataset(tmp_path / "pole" / "data").iterate_episodes())
    assert [len(each.rewards) for each in found] == [9, 9, 4, 3]
    assert found[0].rewards.tolist() == [i / 2 for i in range(1, 10)]
    assert found[0].terminations.tolist() == [False] * 8 + [True]
    np.testing.assert_array_equal(np.asarray(found[1].actions), [i % 2 for i in range(11, 20)])
    first = found[1].observations
    wanted = observe(13)
    if isinstance(wanted, dict):
        first, wanted = first["b"]["d"], wanted["b"]["d"]
    elif isinstance(wanted, tuple):
        first, wanted = first[1], wanted[1]
    np.testing.assert_array_equal(np.asarray(first[3]).reshape(np.shape(wanted)), wanted)

    assert read(other, tmp_path / "pole").states == 28
    assert other.runs["main"].oid == repo.runs["main"].oid
    assert other.runs["what-if"].oid == repo.runs["what-if"].oid


def test_a_data_set_of_minari_is_a_run(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo, OBSERVATIONS["dict"])
    write(repo, "minari", tmp_path / "pole", "main")
    (tmp_path / "pole" / "data" / "simgit.jsonl").unlink()
    with h5py.File(tmp_path / "pole" / "data" / "main_data.hdf5", "a") as file:
        file["episode_1"].attrs["options/x"] = 1
        file["episode_1/costs"] = np.zeros(9)
    notes = read(other, tmp_path / "pole").notes
    assert notes == [f"'{each}' of Minari's episodes is left out" for each in ("costs", "options")]
    states = other["pole-v0"]
    assert states.episode_starts.nonzero()[0].tolist() == [0, 10, 20]
    assert states.column("reset.seed").compressed().tolist() == [0, 10, 20]
    assert states.rewards.tolist() == repo["main"].rewards.tolist()
    np.testing.assert_array_equal(states.observations["a"], repo["main"].observations["a"])


@pytest.mark.parametrize("change", ["reward", "observation", "length", "rest"])
def test_an_edited_data_set_is_refused(tmp_path: Path, change: str) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo, OBSERVATIONS["vector"])
    write(repo, "minari", tmp_path / "pole", "main")
    data = tmp_path / "pole" / "data"
    with h5py.File(data / "main_data.hdf5", "a") as file:
        if change == "reward":
            file["episode_1/rewards"][3] = 7.25
        elif change == "observation":
            file["episode_2/observations"][0, 0] = 7.0
        elif change == "length":
            short = file["episode_0/actions"][:-1]
            del file["episode_0/actions"]
            file["episode_0/actions"] = short
    if change == "rest":
        text = (data / "simgit.jsonl").read_text()
        (data / "simgit.jsonl").write_text(text.replace('"lives": 7', '"lives": 8'))
    with pytest.raises(IntegrityError):
        read(other, tmp_path / "pole")
    assert dict(other.runs) == {}


def test_files_of_strangers_do_not_lead_out_of_themselves(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    episodes(repo, OBSERVATIONS["vector"])
    write(repo, "minari", tmp_path / "pole", "main")
    data = tmp_path / "pole" / "data"
    (data / "simgit.jsonl").unlink()
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x01" * 80)
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["rewards"] = np.arange(9.0)
    for attack in ("external link", "soft link", "external data", "huge", "virtual", "pickle"):
        with h5py.File(data / "main_data.hdf5", "a") as file:
            group = file["episode_0"]
            del group["rewards"]
            if attack == "external link":
                group["rewards"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "/rewards")
            elif attack == "soft link":
                group["rewards"] = h5py.SoftLink("/episode_1/rewards")
            elif attack == "external data":
                group.create_dataset("rewards", (9,), "f8", external=[(str(secret), 0, 72)])
            elif attack == "huge":
                group.create_dataset("rewards", (1 << 40,), "f8", chunks=(1 << 20,))
            elif attack == "virtual":
                layout = h5py.VirtualLayout((9,), "f8")
                layout[:] = h5py.VirtualSource(str(tmp_path / "other.hdf5"), "rewards", (9,))
                group.create_virtual_dataset("rewards", layout)
            else:
                group.create_dataset("rewards", data=np.void(b"cos\nsystem\n"))
        with pytest.raises(IntegrityError):
            read(Repository.init(":memory:"), tmp_path / "pole")


@pytest.mark.parametrize("kind", KINDS)
def test_a_data_set_that_minari_made_has_each_step(tmp_path: Path, kind: str, seed: int) -> None:
    minari = pytest.importorskip("minari")
    from gymnasium.spaces import Box, Dict, Discrete
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    rng = np.random.default_rng(seed)
    space = Dict({"a": Box(-9, 9, (2,)), "image": Box(0, 255, (4, 5, 3), np.uint8)})
    (tmp_path / "data").mkdir()
    storage = MinariStorage.new(
        tmp_path / "data", space, Discrete(4), data_format=kind, jpeg_encoding=False
    )
    made = []
    for size in (3, 1, 4):
        made.append(EpisodeBuffer(
            id=None, seed=int(size), infos={"x": [*rng.normal(size=size + 1)], "y": {"z": rng.normal(size=(size + 1, 2, 3))}},
            observations={"a": rng.normal(size=(size + 1, 2)).astype("f4"),
                          "image": rng.integers(0, 256, (size + 1, 4, 5, 3), np.uint8)},
            actions=rng.integers(0, 4, size), rewards=rng.normal(size=size),
            terminations=np.arange(size) == (size - 1 if size > 1 else 9),
            truncations=np.arange(size) == (0 if size == 1 else 9),
        ))  # fmt: skip
    storage.update_episodes(made)
    storage.update_metadata({"dataset_id": "made/here-v0", "minari_version": "0.5.0"})
    assert minari.MinariDataset(tmp_path / "data").total_steps == 8
    repo = Repository.init(":memory:")
    read(repo, tmp_path)
    (run,) = repo.runs
    states = iter(repo.trajectory(run))
    for each in made:
        for t in range(len(each.rewards) + 1):
            state = next(states)
            for name in ("a", "image"):
                np.testing.assert_array_equal(state.observation[name], each.observations[name][t])
            assert state.info["x"] == each.infos["x"][t]
            np.testing.assert_array_equal(state.info["y"]["z"], each.infos["y"]["z"][t])
            if t == 0:
                assert state.reset == {"seed": each.seed} and state.action is None
                continue
            assert (state.action, state.reward) == (each.actions[t - 1], each.rewards[t - 1])
            flags = each.terminations[t - 1], each.truncations[t - 1]
            assert (state.terminated, state.truncated) == flags
    assert next(states, None) is None


@pytest.mark.parametrize(
    "change",
    ["rewards missing", "rewards cut", "all cut", "observations cut", "texts", "one reward",
     "an episode more", "seed", "nested", "reward per dimension"],
)  # fmt: skip
def test_a_malformed_data_set_is_refused(tmp_path: Path, change: str) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo)
    write(repo, "minari", tmp_path / "pole", "main")
    data = tmp_path / "pole" / "data"
    (data / "simgit.jsonl").unlink()
    with h5py.File(data / "main_data.hdf5", "a") as file:
        group = file["episode_1"]
        values = {name: group[name][()] for name in group}
        if change == "rewards missing":
            del group["rewards"]
        elif change == "an episode more":
            file.copy(group, "episode_3")
        elif change in ("rewards cut", "observations cut", "all cut"):
            for name in values if change == "all cut" else [change.removesuffix(" cut")]:
                del group[name]
                group[name] = values[name][:-1]
        elif change != "seed":
            del group["rewards"]
            if change == "texts":
                group["rewards"] = ["a"] * 9
            elif change == "one reward":
                group["rewards"] = 1.0
            elif change == "nested":
                group["rewards/a"] = values["rewards"]
            else:
                group["rewards"] = np.zeros((9, 2))
        else:
            group.attrs["seed"] = "seven"
    if change == "seed":
        read(other, tmp_path / "pole")
        assert [s.reset for s in other["pole-v0"] if s.reset is not None][1] == {}
        return
    with pytest.raises(IntegrityError):
        read(other, tmp_path / "pole")
    assert dict(other.runs) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_runs_that_share_no_space_are_refused_and_texts_have_one(tmp_path: Path, kind: str) -> None:
    minari = pytest.importorskip("minari")
    repo = Repository.init(":memory:")
    observe = {"a": np.zeros(4, "f4"), "b": np.zeros(3, "f4"), "c": np.zeros(4, "f8")}
    for name, value in observe.items():
        with repo.recorder(name) as recorder:
            recorder.append(value, reset=True)
            recorder.append(value, 1, 1.0)
    for other in "bc":
        with pytest.raises(InvalidInput, match="several dtypes or shapes"):
            write(repo, "minari", tmp_path / other, "a", other, options={"format": kind})
    for name, text in (("x", "ab"), ("y", "cdefg")):
        with repo.recorder(name) as recorder:
            recorder.append({"text": text}, reset=True)
            recorder.append({"text": text}, 1, 1.0)
    write(repo, "minari", tmp_path / "texts", "x", "y", options={"format": kind})
    found = minari.MinariDataset(tmp_path / "texts" / "data")
    for each in found.iterate_episodes():
        assert {"text": each.observations["text"][1]} in found.observation_space


def test_values_that_minari_cannot_have_are_refused(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    episodes(repo, lambda i: "text" if i % 2 else {"a": 1})
    with pytest.raises(InvalidInput, match="parquet and jsonl"):
        write(repo, "minari", tmp_path / "x", "main")


def test_metadata_are_told(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    episodes(repo, OBSERVATIONS["vector"])
    write(repo, "minari", tmp_path / "pole", "main", options={"id": "me/pole-v3"})
    found = json.loads((tmp_path / "pole" / "data" / "metadata.json").read_text())
    assert found["dataset_id"] == "me/pole-v3" and found["total_steps"] == 22
    assert "observations[t + 1]" in found["description"]


@pytest.mark.parametrize("part", ["data", "data/main_data.hdf5", "data/simgit.jsonl"])
def test_links_in_a_data_set_are_not_followed(tmp_path: Path, part: str) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo)
    write(repo, "minari", tmp_path / "pole", "main")
    (tmp_path / "pole" / part).rename(tmp_path / "secret")
    (tmp_path / "pole" / part).symlink_to(tmp_path / "secret")
    with pytest.raises(IntegrityError):
        read(other, tmp_path / "pole")
    assert dict(other.runs) == {}
