"""LeRobot's data sets 3.0: the layout that lerobot reads, and in again with the same oids."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from simgit import IntegrityError, InvalidInput, Repository
from tests.datasets.formats.cases import episodes, read, write
from tests.datasets.formats.test_minari import OBSERVATIONS

pq = pytest.importorskip("pyarrow.parquet")
pd = pytest.importorskip("pandas")


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_frames_come_back_with_their_oids(tmp_path: Path, name: str) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo, OBSERVATIONS[name], lambda i: np.float32([i, -i]))
    write(repo, "lerobot", tmp_path / "pole", "main", "what-if")
    assert read(other, tmp_path / "pole").states == 28
    assert other.runs["main"].oid == repo.runs["main"].oid
    assert other.runs["what-if"].oid == repo.runs["what-if"].oid


def test_the_layout_is_the_one_that_lerobot_reads(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    repo = Repository.init(":memory:")
    episodes(
        repo,
        lambda i: {"state": np.float32([i, 1]), "images": {"top": np.full((32, 32, 3), i, "u1")}},
        lambda i: np.float32([i, -i]),
    )
    write(repo, "lerobot", tmp_path / "pole", "main", options={"fps": "50", "task": "balance"})
    root = tmp_path / "pole"
    info = json.loads((root / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["total_frames"] == 22 and info["fps"] == 50
    assert info["features"]["observation.state"] == {
        "dtype": "float32",
        "shape": [2],
        "names": None,
    }
    assert info["features"]["observation.images.top"]["dtype"] == "image"
    path = root / info["data_path"].format(chunk_index=0, file_index=0)
    frames = pq.read_table(path).to_pydict()
    assert set(frames) == set(info["features"])
    assert frames["episode_index"] == [0] * 9 + [1] * 9 + [2] * 4 and frames["index"] == [
        *range(22)
    ]
    # the action of a frame was chosen from its observation
    assert frames["observation.state"][9] == [10, 1] and frames["action"][9] == [11, -11]
    assert frames["next.reward"][9] == 5.5 and frames["next.done"][8] is True
    picture = np.asarray(image.open(io.BytesIO(frames["observation.images.top"][9]["bytes"])))
    assert picture.shape == (32, 32, 3) and (picture == 10).all()
    assert frames["timestamp"][10] == pytest.approx(1 / 50)
    tasks = pd.read_parquet(root / "meta/tasks.parquet")
    assert tasks.loc["balance", "task_index"] == 0
    meta = pd.read_parquet(root / "meta/episodes/chunk-000/file-000.parquet")
    assert meta["dataset_from_index"].tolist() == [0, 9, 18] and meta["length"].tolist() == [
        9,
        9,
        4,
    ]
    stats = json.loads((root / "meta/stats.json").read_text())
    assert stats["action"]["max"] == [24, -1] and stats["action"]["count"] == [22]
    assert np.shape(stats["observation.images.top"]["mean"]) == (3, 1, 1)
    assert stats["action"]["mean"][0] == pytest.approx(np.mean([a[0] for a in frames["action"]]))


def test_a_data_set_of_lerobot_is_a_run(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo, OBSERVATIONS["vector"], lambda i: np.float32([i, -i]))
    write(repo, "lerobot", tmp_path / "pole", "main")
    (tmp_path / "pole" / "simgit.jsonl").unlink()
    found = read(other, tmp_path / "pole")
    assert found.notes == ["the last observation of an episode is in no frame"]
    states, ours = other["pole"], repo["main"]
    assert states.rewards.tolist() == ours.rewards.tolist()
    np.testing.assert_array_equal(states[1:9].observations, ours[1:9].observations)
    assert not states.present("observation")[9]


@pytest.mark.parametrize(
    "column",
    [
        "next.reward",
        "action",
        "observation.state",
        "next.done",
        "index",
        "frame_index",
        "episode_index",
        "mine",
    ],
)
def test_an_edited_frame_is_refused(tmp_path: Path, column: str) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo, OBSERVATIONS["vector"], lambda i: np.float32([i, -i]))
    write(repo, "lerobot", tmp_path / "pole", "main")
    path = tmp_path / "pole/data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    if column == "mine":
        table = table.append_column(column, table["index"])
    rows = table.column(column).to_pylist()
    rows[3] = {"next.done": True, "episode_index": 1}.get(column, rows[4])
    index = table.column_names.index(column)
    import pyarrow as pa

    kind = table.schema.field(column).type
    pq.write_table(table.set_column(index, table.schema.field(column), pa.array(rows, kind)), path)
    with pytest.raises(IntegrityError):
        read(other, tmp_path / "pole")
    assert dict(other.runs) == {}


def test_what_lerobot_cannot_have_is_refused(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    episodes(repo, lambda i: "text")
    with pytest.raises(InvalidInput, match="parquet and jsonl"):
        write(repo, "lerobot", tmp_path / "x", "main")


@pytest.mark.parametrize("part", ["data", "data/chunk-000", "meta/info.json", "simgit.jsonl"])
def test_links_in_a_data_set_are_not_followed(tmp_path: Path, part: str) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo, OBSERVATIONS["vector"])
    write(repo, "lerobot", tmp_path / "pole", "main")
    (tmp_path / "pole" / part).rename(tmp_path / "secret")
    (tmp_path / "pole" / part).symlink_to(tmp_path / "secret")
    with pytest.raises((IntegrityError, InvalidInput)):
        read(other, tmp_path / "pole")
    assert dict(other.runs) == {}


def test_what_lerobot_has_more_is_kept_or_told(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo, OBSERVATIONS["vector"])
    write(repo, "lerobot", tmp_path / "pole", "main")
    (tmp_path / "pole" / "simgit.jsonl").unlink()
    description = tmp_path / "pole/meta/info.json"
    info = json.loads(description.read_text())
    info["features"]["observation.images.top"] = {"dtype": "video", "shape": [4, 4, 3]}
    info["features"]["force"] = {"dtype": "float32", "shape": [2]}
    description.write_text(json.dumps(info))
    path = tmp_path / "pole/data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    force = [[float(i), 0.0] for i in range(table.num_rows)]
    pq.write_table(table.append_column("force", [force]), path)
    found = read(other, tmp_path / "pole")
    assert any("videos left out" in note and "images.top" in note for note in found.notes)
    assert other["pole"][3].info["force"].tolist() == [3.0, 0.0]
    ragged = [[0.0], [1.0, 2.0, 3.0], *force[2:]]
    pq.write_table(table.append_column("force", [ragged]), path)
    with pytest.raises(IntegrityError, match="shape"):
        read(Repository.init(":memory:"), tmp_path / "pole")
    info["features"]["force"]["shape"] = ["x"]
    description.write_text(json.dumps(info))
    with pytest.raises(IntegrityError, match="shape"):
        read(Repository.init(":memory:"), tmp_path / "pole")
