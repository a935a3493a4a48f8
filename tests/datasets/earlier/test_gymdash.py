"""GymDash's projects: settings, statuses, and curves as TensorBoard's own code wrote them."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.datasets.formats.event_files import read_scalars
from tests.datasets.earlier.importing import bring, outcomes, stored
from tests.datasets.earlier.sources import gymdash_simulation, write_gymdash

FORMAT = "gymdash"


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


@pytest.fixture
def ids(seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(4)]


@pytest.fixture
def project(ids: list[str], tmp_path: Path) -> Path:
    return write_gymdash(
        tmp_path / ".gymdash-projects",
        [
            gymdash_simulation(ids[0], "Cart run"),
            gymdash_simulation(ids[1], "broken", failed=1, ended=None, created="2025-03-02 09:00:00"),
            gymdash_simulation(ids[2], "broken", cancelled=1, created="2025-03-03 09:00:00"),
            gymdash_simulation(ids[3], "left", is_done=0, start_kwargs="{}", created="2025-03-04 09:00:00"),
        ],
        [
            (ids[0], "2025-03-01 10:05:00.5", 0, 0, "Simulation successfully run.", ""),
            (ids[1], "2025-03-02 10:05:00.5", 2, 0, "half of it", ""),
            (ids[1], "2025-03-02 10:06:00.5", 1, 1, "", "Traceback: boom"),
        ],
    )  # fmt: skip


def write_events(folder: Path, points: list[tuple[str, int, float]], **kinds: Any) -> Path:
    """Write scalars with TensorBoard's own writer, which also wrote them for GymDash."""
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder.mkdir(parents=True, exist_ok=True)
    writer = EventFileWriter(str(folder))
    for tag, step, number in points:
        value = Summary.Value(tag=tag, simple_value=number)
        writer.add_event(Event(wall_time=1.7e9 + step, step=step, summary=Summary(value=[value])))
    scalars = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    for tag, (dtype, field, values) in kinds.items():
        tensor = TensorProto(dtype=dtype, **{field: values})
        value = Summary.Value(tag=tag, tensor=tensor, metadata=scalars)
        writer.add_event(Event(wall_time=1.5, step=-3, summary=Summary(value=[value])))
    writer.close()
    return next(folder.glob("*tfevents*"))


def test_simulations_become_runs(repo: Repository, project: Path, ids: list[str]) -> None:
    done = bring(repo, project, FORMAT)
    assert list(outcomes(done)) == [
        "runs/Cart-run", "runs/broken", f"runs/broken-{ids[2][:8]}", "runs/left"
    ]  # fmt: skip
    assert [repo.runs[name[5:]].status for name in outcomes(done)] == [
        "completed", "failed", "failed", "paused"
    ]  # fmt: skip
    cart = repo.runs["Cart-run"]
    assert cart.config == {"num_steps": 5000, "env": "CartPole-v1", "algorithm": "ppo", "fps": 30}
    assert cart.metadata["simulation"]["sim_id"] == ids[0]
    assert cart.metadata["config"]["sim_key"] == "stable_baselines"
    assert cart.created == 1740823200_123456000
    assert cart.ended == 1740823500_500000000
    assert set(outcomes(bring(repo, project)).values()) == {"unchanged"}
    assert stored(repo) == 4 + 3


def test_statuses_become_states(repo: Repository, project: Path) -> None:
    bring(repo, project)
    states = list(repo.trajectory("broken"))
    assert [state.message for state in states][1:] == ["half of it", "fail"]
    assert states[2].info == {
        "code": "fail", "subcode": "error", "time": "2025-03-02 10:06:00.5",
        "error_trace": "Traceback: boom",
    }  # fmt: skip


def test_curves_become_series(repo: Repository, project: Path, ids: list[str], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=50).astype(np.float32)
    folder = project / "sims" / ids[0] / "tb" / "Cart run" / "train"
    write_events(
        folder,
        [("rollout/ep_rew_mean", step, float(each)) for step, each in enumerate(values)]
        + [("train/learning_rate", 7, 0.25)],
    )
    (project / "sims" / ids[0] / "media").mkdir()
    (project / "sims" / ids[0] / "media" / "rl-video.mp4").write_bytes(b"film")
    done = bring(repo, project)
    series = repo.attachment("Cart-run", "series")
    assert set(series) == {"rollout/ep_rew_mean", "train/learning_rate"}
    curve = series["rollout/ep_rew_mean"]
    assert curve["value"].dtype == np.float32
    assert np.array_equal(curve["value"], values)
    assert curve["step"].tolist() == list(range(50))
    assert curve["time"][3] == 1.7e9 + 3
    assert done.notes == ["run 'Cart-run': 1 file not imported (media, checkpoints)"]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_file_that_is_still_written_is_read_to_its_last_record(tmp_path: Path, cut: int) -> None:
    path = write_events(tmp_path, [("a", step, step / 4) for step in range(9)])
    path.write_bytes(path.read_bytes()[:-cut])
    found = read_scalars([path])
    assert found.curves["a"].arrays()["value"].tolist() == [step / 4 for step in range(8)]
    assert len(found.faults) == 1 and "cut off within a record" in found.faults[0]


def test_damage_in_the_middle_is_told(tmp_path: Path, seed: int) -> None:
    path = write_events(tmp_path, [("a", step, 1.0) for step in range(100)])
    data = bytearray(path.read_bytes())
    at = int(np.random.default_rng(seed).integers(len(data) // 3, len(data) - 20))
    data[at] ^= 0x40
    path.write_bytes(data)
    found = read_scalars([path])
    assert 0 < len(found.curves["a"].steps) < 100
    assert len(found.faults) == 1


def test_tensors_of_one_number_are_scalars(tmp_path: Path) -> None:
    path = write_events(
        tmp_path, [],
        f4=(1, "float_val", [0.5]), f8=(2, "tensor_content", np.float64(0.1).tobytes()),
        i8=(9, "int64_val", [-7]), several=(1, "float_val", [1.0, 2.0]), text=(7, "string_val", [b"x"]),
    )  # fmt: skip
    found = read_scalars([path])
    values = {tag: curve.arrays()["value"] for tag, curve in found.curves.items()}
    assert {tag: (each.dtype.str, each.tolist()) for tag, each in values.items()} == {
        "f4": ("<f4", [0.5]), "f8": ("<f8", [0.1]), "i8": ("<f8", [-7.0]),
    }  # fmt: skip
    assert found.others == 2
    assert found.curves["f4"].steps[0] == -3


def test_any_bytes_are_no_more_than_refused(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for size in (0, 5, 11, 12, 13, 100, 5000):
        path = tmp_path / str(size)
        path.write_bytes(rng.bytes(size))
        found = read_scalars([path])
        assert not found.curves
        assert len(found.faults) == (size > 0)


def test_settings_that_are_no_json_are_told(repo: Repository, project: Path) -> None:
    with sqlite3.connect(project / "db" / "simulations.db") as connection:
        connection.execute("UPDATE simulations SET config = '{' WHERE name = 'left'")
        connection.execute("UPDATE sim_status SET sim_id = 'nobody' WHERE code = 0")
    done = bring(repo, project)
    assert done.notes[0].startswith("run 'left' without its settings: malformed JSON")
    assert done.notes[1] == "statuses of simulations that are not there: 1; not imported"
    assert repo.runs["left"].config == {}
