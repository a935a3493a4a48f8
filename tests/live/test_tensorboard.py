"""Event files that a script writes while it is a simulation, by TensorBoard's own writer."""

from __future__ import annotations

import io
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.live import Stopped, attach
from simgit.live.event_folder import nested_tags
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
    assert found[5]["/train"] == 7.0 and found[5]["train"] == {"loss": float(np.float32(1 / 6))}


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


def test_sounds_are_attached_as_they_were_heard(repo: Repository, tmp_path: Path) -> None:
    tone = np.sin(np.linspace(0, 60, 4000)).astype(np.float32)
    with attach(repo, "a") as control:
        control.recorder().append(1)
        control.tensorboard(tmp_path, seconds=0.05)
        with writer(tmp_path) as board:
            board.add_audio("voice/left", tone, 3, sample_rate=8000)
            board.add_audio("voice/left", -tone, 4, sample_rate=8000)
    states = repo.trajectory("a/metrics")
    assert [each.info["global_step"] for each in states] == [3, 4]
    for state, heard in zip(states, (tone, -tone), strict=True):
        data = bytes(repo.attachment(state.oid, "voice.left.wav"))
        with wave.open(io.BytesIO(data)) as file:
            shape = file.getframerate(), file.getnchannels(), file.getsampwidth()
            samples = np.frombuffer(file.readframes(-1), "<i2")
        assert shape == (8000, 1, 2)
        assert np.abs(samples / 32767 - heard).max() < 1e-4


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


def test_no_tag_takes_a_key_of_the_metrics_or_of_another_tag(
    repo: Repository, tmp_path: Path
) -> None:
    tags = ["time/fps", "time", "step", "global_step", "step/a/b", "a", "a/b", "a/b/c", "/a", "x/y"]
    for order in (tags, tags[::-1]):
        values = {tag: float(i) for i, tag in enumerate(order)}
        found = nested_tags(values)
        assert not {"time", "step", "global_step"} & found.keys()

        def leaves(of: Any) -> list[float]:
            if not isinstance(of, dict):
                return [of]
            return [each for inner in of.values() for each in leaves(inner)]

        assert sorted(leaves(found)) == sorted(values.values())  # none is lost
        assert found["time/fps"] == values["time/fps"] and found["/step"] == values["step"]
        assert found["x"] == {"y": values["x/y"]}
    with attach(repo, "a") as control:
        control.recorder().append(1)
        control.tensorboard(tmp_path, seconds=0.05)
        with writer(tmp_path) as board:
            board.add_scalar("time/fps", 777.0, 10)
            board.add_scalar("step", 4.0, 10)
    (info,) = infos(repo, "a/metrics")
    assert (info["step"], info["global_step"], info["time/fps"], info["/step"]) == (
        0,
        10,
        777.0,
        4.0,
    )
    assert abs(info["time"] - time.time()) < 600
    column = repo.trajectory("a/metrics")["info.time/fps"]
    assert list(column) == [777.0]


def log(folder: Path, suffix: str, steps: range, base: float, tag: str = "loss") -> None:
    with writer(folder, suffix) as board:
        for step in steps:
            board.add_scalar(tag, base + step, step)


def losses(repo: Repository) -> list[tuple[int, float]]:
    return [(each["global_step"], each["loss"]) for each in infos(repo, "a/metrics")]


def test_global_steps_that_begin_again_are_recorded_after_the_others(
    repo: Repository, tmp_path: Path
) -> None:
    """Learn twice, in folders of their own; stop in the second, and do all of it again."""
    for count, ends in ((2, True), (3, False)):
        with attach(repo, "a") as control:
            if not control.position:
                control.recorder().append(1)
            control.tensorboard(tmp_path, seconds=60)  # all is read in one look, at the end
            log(tmp_path / f"{count}_1", "", range(4), 0.0)
            log(tmp_path / f"{count}_2", "", range(count), 100.0)
            if ends:
                raise Stopped
        first, second = [(i, float(i)) for i in range(4)], [(i, 100.0 + i) for i in range(count)]
        assert losses(repo) == first + second
        repo.set_status("a", "active")
    with attach(repo, "a") as control:  # one that goes on in the second
        control.tensorboard(tmp_path, seconds=60)
        log(tmp_path / "on", "", range(2, 6), 100.0)
    assert losses(repo) == first + second + [(i, 100.0 + i) for i in (3, 4, 5)]


def test_global_steps_may_begin_again_in_one_file(repo: Repository, tmp_path: Path) -> None:
    with attach(repo, "a") as control:
        control.recorder().append(1)
        control.tensorboard(tmp_path, seconds=60)
        with writer(tmp_path) as board:
            for base in (0.0, 100.0):
                for step in (0, 0, 1, 2):
                    board.add_scalar("loss", base + step, step)
    assert losses(repo) == [(i, base + i) for base in (0.0, 100.0) for i in range(3)]


def test_files_that_are_read_in_one_look_share_the_states(repo: Repository, tmp_path: Path) -> None:
    with attach(repo, "a") as control:
        control.recorder().append(1)
        control.tensorboard(tmp_path, seconds=60)
        log(tmp_path / "one", "", range(3), 0.0)
        log(tmp_path / "two", "", range(4), 50.0, "other")
    found = infos(repo, "a/metrics")
    assert [(each["global_step"], each.get("loss"), each["other"]) for each in found] == [
        (0, 0.0, 50.0), (1, 1.0, 51.0), (2, 2.0, 52.0), (3, None, 53.0),
    ]  # fmt: skip


def test_what_an_earlier_version_recorded_is_not_recorded_again(
    repo: Repository, tmp_path: Path
) -> None:
    with repo.recorder("a/metrics") as recorder:
        recorder.append(info={"loss": 2.0, "global_step": 2, "step": 0})
        recorder.attach("event-steps", {"loss": 2})
    with attach(repo, "a") as control:
        control.recorder().append(1)
        control.tensorboard(tmp_path, seconds=60)
        log(tmp_path, "", range(5), 0.0)
    assert losses(repo) == [(2, 2.0), (3, 3.0), (4, 4.0)]


def test_a_tag_that_is_too_long_is_attached_under_a_shorter_name(
    repo: Repository, tmp_path: Path
) -> None:
    tags = ["eval/" + "x" * 395, "eval/" + "x" * 394 + "y"]
    with attach(repo, "a") as control:
        control.recorder().append(1)
        control.tensorboard(tmp_path, seconds=60)
        with writer(tmp_path) as board:
            for tag in tags:
                board.add_image(tag, np.zeros((3, 4, 5), np.uint8), 3)
    (state,) = repo.trajectory("a/metrics")
    names = [each for each in repo.attachments(state.oid) if each.endswith(".png")]
    assert len(names) == 2
    for name in names:
        assert len(name) <= 200 and name.startswith("eval%2Fxxx")
        assert bytes(repo.attachment(state.oid, name)).startswith(b"\x89PNG")


def test_what_cannot_be_recorded_is_said_in_a_line(
    repo: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with attach(repo, "a") as control:
        control.recorder().append(1)
        control.tensorboard(tmp_path, seconds=60)
        assert control._metrics is not None
        control._metrics.close()  # whatever is recorded now fails
        log(tmp_path, "", range(2), 0.0)
    assert "something of TensorBoard's files is not recorded" in "".join(capsys.readouterr())
