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
    read(other, tmp_path / "pole")
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
