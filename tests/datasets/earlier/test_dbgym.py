"""The database gym's files: deltas as actions, nodes of query plans as states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.errors import IntegrityError, InvalidInput
from tests.datasets.earlier.importing import bring, column, outcomes, stored
from tests.datasets.earlier.sources import write_deltas

FORMAT = "dbgym"


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


class TestDeltas:
    def test_deltas_are_actions_and_times_are_rewards(
        self, repo: Repository, rng: np.random.Generator, tmp_path: Path
    ) -> None:
        folder = tmp_path / "run-7" / "tuning_artifacts"
        deltas = write_deltas(folder, 11, rng)  # past step9, whose name sorts after step10's
        times = [[float(each), int(step == 3)] for step, each in enumerate(rng.random(12))]
        (folder / "replay.json").write_text(json.dumps(times))
        done = bring(repo, tmp_path / "run-7", FORMAT)
        assert outcomes(done) == {"runs/run-7": "new"}
        assert column(repo, "run-7", "action") == [None, *deltas]
        assert column(repo, "run-7", "reward") == [-seconds for seconds, _ in times]
        assert column(repo, "run-7", "info.timed_out") == [lost for _, lost in times]
        assert repo.runs["run-7"].metadata["tuning"]["workload_path"] == "/w/tpch"
        assert done.notes == [
            "1 replay with queries that timed out: such a time is a lower bound (info 'timed_out')"
        ]
        assert set(outcomes(bring(repo, folder)).values()) == {"unchanged"}
        assert stored(repo) == 12

    def test_without_a_replay_there_are_no_rewards(
        self, repo: Repository, rng: np.random.Generator, tmp_path: Path
    ) -> None:
        write_deltas(tmp_path / "a", 3, rng)
        done = bring(repo, tmp_path / "a", FORMAT)
        assert column(repo, "a", "reward") == [None] * 4
        assert done.notes == [
            "no rewards: the times of a replay are not in these files (-o replay=FILE)"
        ]

    def test_a_missing_delta_ends_the_run_and_is_told(
        self, repo: Repository, rng: np.random.Generator, tmp_path: Path
    ) -> None:
        write_deltas(tmp_path / "a", 6, rng)
        (tmp_path / "a" / "step3_delta.json").unlink()
        notes = bring(repo, tmp_path / "a").notes
        assert notes[0] == "step3_delta.json is missing: 2 later deltas left out"
        assert repo.runs["a"].step == 3

    @pytest.mark.parametrize("times", [[[1.0, 0]], {"a": 1}, [1, 2, 3, 4], [["x", 0]] * 4])
    def test_times_that_do_not_fit(
        self, repo: Repository, rng: np.random.Generator, tmp_path: Path, times: Any
    ) -> None:
        write_deltas(tmp_path / "a", 3, rng)
        path = tmp_path / "times.json"
        path.write_text(json.dumps(times))
        with pytest.raises(InvalidInput, match=r"times\.json"):
            bring(repo, tmp_path / "a", replay=str(path))


class TestObservations:
    """Tables as ``convert_observations_to_df(…).to_parquet`` writes them."""

    @pytest.fixture
    def frame(self, rng: np.random.Generator) -> Any:
        pandas = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
        count = 12
        frame = pandas.DataFrame({
            "Actual Loops": rng.integers(1, 9, count).astype(np.int32),
            "Actual Total Time (ms)": rng.random(count).astype(np.float32),
            "Children Observation Indexes": [
                np.arange(size) for size in rng.integers(0, 3, count)
            ],
            "Features": [rng.random(3).astype(np.float32) for _ in range(count)],
            "Node Type": ["Seq Scan", "Hash Join"] * 6,
            "Observation Index": np.arange(count),
            "Query Num": np.repeat([1, 2, 3], 4),
            "Query Hash": [(1, 2)] * count,
            "Query Text": ["select 1", "select 2"] * 6,
        })  # fmt: skip
        frame["Query Text"] = frame["Query Text"].astype("category")
        return frame

    def write(self, frame: Any, folder: Path) -> Path:
        folder.mkdir()
        frame.to_parquet(folder / "0.parquet")
        return folder

    def test_nodes_are_states_and_queries_episodes(
        self, repo: Repository, frame: Any, tmp_path: Path
    ) -> None:
        self.write(frame, tmp_path / "tpch_default")
        self.write(frame.iloc[:4], tmp_path / "tpch_small")
        done = bring(repo, tmp_path, FORMAT)
        assert outcomes(done) == {"runs/tpch_default": "new", "runs/tpch_small": "new"}
        assert repo.runs["tpch_default"].episodes == 3
        for number, state in enumerate(repo.trajectory("tpch_default")):
            row = frame.iloc[number]
            for name in frame.columns:
                found = state.observation[name]
                assert np.array_equal(found, row[name])
                if name in ("Features", "Children Observation Indexes"):
                    assert found.dtype == row[name].dtype
            assert (state.reset is not None) == (number % 4 == 0)

    @pytest.mark.parametrize("what", ["twice", "missing", "text"])
    def test_each_observation_is_there_once(
        self, repo: Repository, frame: Any, tmp_path: Path, what: str
    ) -> None:
        if what == "twice":
            frame.loc[5, "Observation Index"] = 4
        elif what == "text":
            frame["Observation Index"] = [str(each) if each else "5" for each in range(len(frame))]
        else:
            frame = frame.drop(5)
        with pytest.raises(InvalidInput, match=r"observation (4 is twice|[05] is missing)"):
            bring(repo, self.write(frame, tmp_path / "a"))
        assert not repo.runs

    def test_a_cut_file_is_an_error(self, repo: Repository, frame: Any, tmp_path: Path) -> None:
        path = self.write(frame, tmp_path / "a") / "0.parquet"
        data = bytearray(path.read_bytes())
        data[100:300] = bytes(200)
        path.write_bytes(data)
        with pytest.raises(IntegrityError, match="is damaged"):
            bring(repo, tmp_path / "a", FORMAT)
        assert not repo.runs


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"token": "hunter2"}')
    folder = tmp_path / "tuning"
    folder.mkdir()
    (folder / "step0_delta.json").write_text("{}")
    (folder / "metadata.json").symlink_to(secret)
    given = tmp_path / "link"  # that the source itself is one, its user has said
    given.symlink_to(folder)
    for place in (folder, given):
        with Repository.init(":memory:") as repo:
            repo.import_data(place)
            assert [run.metadata.get("tuning") for run in repo.runs.values()] == [None]
