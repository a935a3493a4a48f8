"""Event files that a script writes while it is a simulation, by TensorBoard's own writer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.live import Stopped, attach
from tests.live.test_tracker import repo, until

__all__ = ["repo"]

tensorboard = pytest.importorskip("torch.utils.tensorboard")
pytestmark = pytest.mark.filterwarnings("ignore")


def writer(folder: Path, suffix: str = "") -> Any:
    return tensorboard.SummaryWriter(str(folder), filename_suffix=suffix)


def infos(repo: Repository, run: str) -> list[dict[str, Any]]:
    if repo.runs[run].step is None:
        return []
    return [dict(each.info) for each in repo.trajectory(run)]


def test_what_is_logged_becomes_states_of_the_metrics_while_it_runs(
    repo: Repository, tmp_path: Path
) -> None:
    with attach(repo, "a") as control:
        control.tensorboard(tmp_path / "logs", seconds=0.05)
        recorder = control.recorder()
        with writer(tmp_path / "logs") as board:
            for step in range(6):
                recorder.append(step)
                board.add_scalar("train/loss", 1.0 / (step + 1), step * 10)
                board.add_scalar("rate", 0.5, step * 10)
            board.flush()

            def seen() -> bool:
                control.check()
                return len(infos(repo, "a/metrics")) >= 5

            control.watched(60)
            until(seen, "the metrics while the script runs")
            board.add_scalar("train", 7.0, 50)  # contradicts train/loss
    found = infos(repo, "a/metrics")
    assert [each["global_step"] for each in found] == [0, 10, 20, 30, 40, 50]
    losses = [each["train"]["loss"] for each in found[:5]]
    assert losses == [float(np.float32(1.0 / (i + 1))) for i in range(5)]
    assert {each["rate"] for each in found} == {0.5} and {each["step"] for each in found} == {5}
    assert abs(found[0]["time"] - time.time()) < 600
    assert "train" in found[5]


def test_media_are_attached_to_the_state_of_their_step(repo: Repository, tmp_path: Path) -> None:
    image = np.zeros((3, 4, 5), np.uint8)
    image[0] = 255
    with attach(repo, "a") as control:
        control.recorder().append(1)
        control.tensorboard(tmp_path, seconds=0.05)
        with writer(tmp_path / "below") as board:
            board.add_image("eval/frame", image, 3)
            board.add_text("note", "it fell over", 3)
            board.add_histogram("weights", np.arange(9.0), 3)
            board.add_scalar("loss", 2.0, 4)
    first, second = (each.oid for each in repo.trajectory("a/metrics"))
    assert {"eval.frame.png", "note.text_summary.txt"} <= set(repo.attachments(first))
    assert bytes(repo.attachment(first, "note.text_summary.txt")) == b"it fell over"
    png = bytes(repo.attachment(first, "eval.frame.png"))
    pillow = pytest.importorskip("PIL.Image")
    (tmp_path / "seen.png").write_bytes(png)
    pixels = np.asarray(pillow.open(tmp_path / "seen.png"))
    assert np.array_equal(pixels, image.transpose(1, 2, 0))
    assert "eval.frame.png" not in repo.attachments(second)


def test_a_script_that_is_executed_again_records_only_what_is_new(
    repo: Repository, tmp_path: Path
) -> None:
    with writer(tmp_path, "before") as board:
        board.add_scalar("loss", 9.0, 999)  # of somebody else, before
    time.sleep(0.05)
    for count in (3, 5):
        with attach(repo, "a") as control:
            if not control.position:
                control.recorder().append(1)
            control.tensorboard(tmp_path, seconds=0.05)
            with writer(tmp_path, f"-{count}") as board:
                for step in range(count):
                    board.add_scalar("loss", float(step), step)
            if count == 3:
                raise Stopped
        repo.set_status("a", "active")
    assert [each["global_step"] for each in infos(repo, "a/metrics")] == [0, 1, 2, 3, 4]
    assert [each["loss"] for each in infos(repo, "a/metrics")] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_damaged_file_stops_nothing(repo: Repository, tmp_path: Path) -> None:
    with attach(repo, "a") as control:
        control.tensorboard(tmp_path, seconds=0.02)
        control.recorder().append(1)
        (tmp_path / "events.out.tfevents.1.x").write_bytes(b"no event file at all, but long enough")
        time.sleep(0.1)
        control.check()
    assert repo.runs["a"].status == "completed" and "a/metrics" in repo.runs
