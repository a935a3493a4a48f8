"""GymDash's projects: settings, statuses, and curves as TensorBoard's own code wrote them."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path

import numpy as np
import pytest

from simgit import InvalidInput, Repository
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


def write_events(folder: Path, points: list[tuple[str, int, float]]) -> Path:
    """Write scalars with TensorBoard's own writer, which also wrote them for GymDash."""
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder.mkdir(parents=True, exist_ok=True)
    writer = EventFileWriter(str(folder))
    for tag, step, number in points:
        value = Summary.Value(tag=tag, simple_value=number)
        writer.add_event(Event(wall_time=1.7e9 + step, step=step, summary=Summary(value=[value])))
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


def test_event_files_of_several_loggers_and_a_cut_one(
    repo: Repository, project: Path, ids: list[str]
) -> None:
    """Tags have the folder before them where there are several; what is cut off is told."""
    sims = project / "sims" / ids[0] / "tb"
    write_events(sims / "train", [("loss", step, step / 4) for step in range(9)])
    path = write_events(sims / "val", [("loss", step, step / 8) for step in range(9)])
    path.write_bytes(path.read_bytes()[:-5])
    done = bring(repo, project)
    series = repo.series("Cart-run", "tb/val/loss")
    assert series.value.tolist() == [step / 8 for step in range(8)]
    assert repo.series("Cart-run", "tb/train/loss").step.tolist() == list(range(9))
    assert [note for note in done.notes if "the last record is cut off" in note]


def test_settings_that_are_no_json_are_told(repo: Repository, project: Path) -> None:
    with sqlite3.connect(project / "db" / "simulations.db") as connection:
        connection.execute("UPDATE simulations SET config = '{' WHERE name = 'left'")
        connection.execute("UPDATE sim_status SET sim_id = 'nobody' WHERE code = 0")
    done = bring(repo, project)
    assert done.notes[0].startswith("run 'left' without its settings: malformed JSON")
    assert done.notes[1] == "statuses of simulations that are not there: 1; not imported"
    assert repo.runs["left"].config == {}


@pytest.mark.parametrize("part", ["db", "db/simulations.db"])
def test_a_database_that_a_link_leads_to_is_not_read(
    repo: Repository, project: Path, tmp_path: Path, part: str
) -> None:
    (project / part).rename(tmp_path / "secret")
    (project / part).symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidInput):
        bring(repo, project)


def test_curves_that_a_link_leads_to_are_not_read(
    repo: Repository, project: Path, ids: list[str], tmp_path: Path
) -> None:
    write_events(tmp_path / "secret" / ids[0], [("loss", 1, 0.5)])
    if (project / "sims").exists():
        (project / "sims").rename(tmp_path / "sims")
    (project / "sims").symlink_to(tmp_path / "secret")
    done = bring(repo, project)
    assert any("outside of 'sims'" in note for note in done.notes)
    assert not any(repo.history_attachments(run) for run in repo.runs)
