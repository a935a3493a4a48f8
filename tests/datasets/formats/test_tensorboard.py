"""Event files: written as TensorBoard reads them, read as it and torch write them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import AlreadyExists, IntegrityError, InvalidInput, NotFound, Repository, StorageError
from simgit.datasets import event_files, event_records
from simgit.datasets.event_files import (
    EventFile,
    LoggedPoint,
    SessionStart,
    scalar_events,
    version_event,
)
from simgit.datasets.event_records import RecordFile, crc32c, records
from simgit.errors import SimgitWarning
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE


def record(repo: Repository, run: str, lengths: Sequence[int], first: float = 0.0) -> None:
    with repo.recorder(run) as recorder:
        for number, length in enumerate(lengths):
            recorder.append(np.float32(number), reset=True)
            for step in range(1, length + 1):
                recorder.append(np.float32(step), 0, first + step / 4, step == length)


@pytest.fixture
def repo() -> Repository:
    """A run of three episodes and an open one, with series; and a branch of it."""
    made = Repository.init(":memory:")
    made.recorder("main", config={"agent.lr": 0.5, "agent.name": "dqn", "n": 3, "on": True}).close()
    record(made, "main", [4, 2, 5])
    made.add_series("main", {"train/loss": ([10, 20], np.float32([0.5, 0.25]), [100.0, 101.0])})
    made.commit(observation=np.float32(0), reset=True)
    made.branch("try/1", "main@7", overrides={"agent.lr": 0.25})
    record(made, "try/1", [3], 1.0)
    made.add_series("try/1", {"train/loss": ([30], [7.0]), "train/new": (1, 1.0)})
    return made


def accumulated(directory: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(directory), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard itself reads of a directory."""
    found = accumulated(directory)
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def points(file: EventFile) -> list[LoggedPoint]:
    return [each for each in file.points() if isinstance(each, LoggedPoint)]


# --- checks --------------------------------------------------------------------------------------


def test_checks_are_crc_32c(seed: int) -> None:
    draw = random.Random(seed)
    assert crc32c(b"123456789") == 0xE3069283  # as every description of CRC-32C says
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720
    table = event_records._listed()
    for size in [0, 1, 255, 256, 511, 512, 513, *(draw.randrange(3000) for _ in range(5))]:
        data = draw.randbytes(size)
        register = 0xFFFFFFFF
        for byte in data:
            register = table[(register ^ byte) & 255] ^ register >> 8
        assert crc32c(data) == register ^ 0xFFFFFFFF
    many = [draw.randbytes(draw.choice([3, 40, 600])) for _ in range(60)]
    assert event_records.checks(many) == [event_records.check(each) for each in many]


# --- out -----------------------------------------------------------------------------------------


def test_tensorboard_reads_what_is_exported(repo: Repository, tmp_path: Path) -> None:
    repo.export("tensorboard", tmp_path / "logs", "main", "try/1")
    ended = [e for e in reversed(repo.episodes("main")) if e.end != "open"]
    found = scalars(tmp_path / "logs/main")
    assert found == {
        "charts/episodic_return": [(e.stop - 1, e.return_) for e in ended],
        "charts/episodic_length": [(e.stop - 1, e.steps) for e in ended],
        "rollout/ep_rew_mean": [
            (e.stop - 1, pytest.approx(np.mean([x.return_ for x in ended[: i + 1]])))
            for i, e in enumerate(ended)
        ],
        "rollout/ep_len_mean": [
            (e.stop - 1, pytest.approx(np.mean([x.steps for x in ended[: i + 1]])))
            for i, e in enumerate(ended)
        ],
        "train/loss": [(10, 0.5), (20, 0.25)],
    }
    branch = scalars(tmp_path / "logs/try/1")
    assert branch["charts/episodic_return"][:2] == found["charts/episodic_return"][:2]
    assert len(branch["charts/episodic_return"]) == 3
    assert branch["train/loss"] == [(30, 7.0)]  # main's were added after the branch point
    event = accumulated(tmp_path / "logs/main").Scalars("train/loss")[1]
    assert event.wall_time == 101.0
    event = accumulated(tmp_path / "logs/main").Scalars("charts/episodic_return")[0]
    recorded = repo.time(repo.trajectory("main").oids[4])
    assert recorded is not None
    assert event.wall_time == pytest.approx(recorded / 1e9)


def test_the_configuration_is_shown_under_hparams(repo: Repository, tmp_path: Path) -> None:
    plugin = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    repo.export("tensorboard", tmp_path / "logs", "try/1")
    content = accumulated(tmp_path / "logs/try/1").PluginTagToContent("hparams")
    data = plugin.HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    found = {
        key: getattr(value, value.WhichOneof("kind"))
        for key, value in data.session_start_info.hparams.items()
    }
    assert found == {"agent.lr": 0.25, "agent.name": "dqn", "n": 3.0, "on": True}


def test_means_are_of_the_last_hundred_episodes(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    record(repo, "main", [1 + i % 7 for i in range(130)])
    repo.export("tensorboard", tmp_path / "logs", "main")
    found = scalars(tmp_path / "logs/main")
    lengths = [value for _, value in found["charts/episodic_length"]]
    means = [value for _, value in found["rollout/ep_len_mean"]]
    expected = [np.mean(lengths[max(0, i - 99) : i + 1]) for i in range(130)]
    np.testing.assert_allclose(means, expected, rtol=1e-6)


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    for reward in (float("nan"), 1e300, -float("inf")):
        repo.commit(observation=1, reset=True)
        repo.commit(observation=1, reward=reward, terminated=True)
    repo.export("tensorboard", tmp_path / "logs", "main")
    found = [value for _, value in scalars(tmp_path / "logs/main")["charts/episodic_return"]]
    assert np.isnan(found[0])
    assert found[1:] == [np.inf, -np.inf]
    repo.export("tensorboard", tmp_path / "logs", "main")  # which finds nothing new


def test_a_second_export_adds_what_is_new(repo: Repository, tmp_path: Path) -> None:
    repo.export("tensorboard", tmp_path / "logs", "main")
    (file,) = (tmp_path / "logs/main").iterdir()
    size = file.stat().st_size
    repo.export("tensorboard", tmp_path / "logs", "main")
    assert file.stat().st_size == size
    record(repo, "main", [2, 2])
    repo.add_series("main", {"train/loss": ([40], [0.1])})
    repo.export("tensorboard", tmp_path / "logs", "main")
    repo.export("tensorboard", tmp_path / "other", "main")
    assert scalars(tmp_path / "logs/main") == scalars(tmp_path / "other/main")
    assert len(list((tmp_path / "logs/main").iterdir())) == 1


def test_an_export_that_was_cut_off_is_continued(repo: Repository, tmp_path: Path) -> None:
    repo.export("tensorboard", tmp_path / "logs", "main")
    (file,) = (tmp_path / "logs/main").iterdir()
    whole = file.read_bytes()
    for cut in (1, 7, 20, 60):
        file.write_bytes(whole[:-cut])
        repo.export("tensorboard", tmp_path / "logs", "main")
        assert file.read_bytes() == whole


def test_another_history_is_not_mixed_in(repo: Repository, tmp_path: Path) -> None:
    repo.export("tensorboard", tmp_path / "logs", "main")
    repo.reset("main@5", run="main")
    record(repo, "main", [6, 7, 8])
    with pytest.raises(AlreadyExists, match="another history"):
        repo.export("tensorboard", tmp_path / "logs", "main")


def test_files_of_other_programs_are_left_alone(repo: Repository, tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    (tmp_path / "main/events.out.tfevents.1.host").write_bytes(records([version_event(1.0)]))
    with pytest.raises(AlreadyExists, match="another program"):
        repo.export("tensorboard", tmp_path, "main")


@pytest.mark.parametrize(
    "options",
    [{"where": "reward > 0"}, {"fields": ["reward"]}, {"options": {"frames": "x"}},
     {"options": {"every": "-1"}}, {"options": {"folow": "true"}}, {"options": {"follow": "yes"}}],
)  # fmt: skip
def test_what_an_export_cannot_do(
    repo: Repository, tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        repo.export("tensorboard", tmp_path / "logs", "main", **options)


def test_a_place_that_cannot_be_written(repo: Repository, tmp_path: Path) -> None:
    (tmp_path / "logs").write_bytes(b"")
    with pytest.raises(StorageError, match=r"cannot write '.*logs'"):
        repo.export("tensorboard", tmp_path / "logs", "main")


def test_images_of_some_states(tmp_path: Path, seed: int) -> None:
    pytest.importorskip("PIL")
    from io import BytesIO

    from PIL import Image

    draw = np.random.default_rng(seed)
    frames = draw.integers(0, 255, (7, 20, 30, 3), np.uint8)
    repo = Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        for frame in frames[:5]:
            recorder.append({"camera": frame, "speed": 1.0}, reset=True)
    repo.export("tensorboard", tmp_path / "logs", "main", options={"frames": "2"})
    with repo.recorder("main") as recorder:
        for frame in frames[5:]:
            recorder.append({"camera": frame, "speed": 1.0}, reset=True)
    repo.export("tensorboard", tmp_path / "logs", "main", options={"frames": "2"})
    found = accumulated(tmp_path / "logs/main").Images("observation/camera")
    assert [event.step for event in found] == [0, 2, 4, 6]
    for event in found:
        pixels = np.asarray(Image.open(BytesIO(event.encoded_image_string)))
        np.testing.assert_array_equal(pixels, frames[event.step])


def test_an_export_follows_a_run_until_it_has_ended(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    repo = Repository.init(directory)
    record(repo, "main", [2])
    follower = Repository.open(directory)
    options = {"follow": "true", "every": "0.01"}
    thread = threading.Thread(
        target=lambda: follower.export("tensorboard", tmp_path / "logs", "main", options=options)
    )
    thread.start()
    file = tmp_path / "logs/main/events.out.tfevents.0000000000.simgit"
    reader: EventFile | None = None
    seen: list[LoggedPoint] = []
    for number in range(1, 4):
        deadline = time.monotonic() + PATIENCE
        while sum(p.tag == "charts/episodic_return" for p in seen) < number:
            assert time.monotonic() < deadline
            if file.exists() and file.stat().st_size:
                reader = reader or EventFile(file)
                seen += points(reader)  # while it grows
            time.sleep(0.005)
        record(repo, "main", [2 + number])
    repo.set_status("main", "completed")
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert len(scalars(tmp_path / "logs/main")["charts/episodic_return"]) == 4
    follower.close()
    repo.close()


# --- in ------------------------------------------------------------------------------------------


def check_imported(directory: Path) -> None:
    """Check what is imported of event files that torch wrote, see ``write_with_torch``."""
    repo = Repository.init(":memory:")
    done = repo.import_data(directory, rename="run")
    series = repo.series("run")
    assert series["train/loss"].step.tolist() == list(range(20))
    assert series["train/loss"].time.tolist() == [1000.0 + step for step in range(20)]
    np.testing.assert_array_equal(
        series["train/loss"].value, np.float32([1 / (step + 1) for step in range(20)])
    )
    assert series["train/loss"].value.dtype == np.float32
    assert series["new/style"].value.tolist() == [2.5]
    assert series["train/double"].value.tolist() == [0.1]
    left_out = [note.partition(": ")[2] for note in done.notes]
    assert left_out == ["1 histogram left out", "1 image left out", "1 text left out"]
    assert repo.runs["run"].created == 10**12
    assert repo.runs["run"].config == {"agent": {"lr": 0.25}, "layers": 2, "name": "dqn"}


def test_what_torch_wrote_is_imported(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "files/torch.tfevents", tmp_path)
    check_imported(tmp_path)


@pytest.mark.slow
def test_what_torch_writes_is_imported(tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(str(tmp_path / "logs")) as writer:
        for step in range(20):
            writer.add_scalar("train/loss", 1 / (step + 1), step, walltime=1000.0 + step)
        new = {"walltime": 1000.0, "new_style": True}
        writer.add_scalar("new/style", 2.5, 3, **new)
        writer.add_scalar("train/double", 0.1, 3, double_precision=True, **new)
        writer.add_histogram("weights", np.arange(9.0), 1)
        writer.add_image("frame", np.zeros((3, 4, 5)), 1)
        writer.add_text("note", "hello", 1)
        settings = {"agent.lr": 0.25, "layers": 2, "name": "dqn"}
        for each in tensorboard.summary.hparams(settings, {}):
            writer.file_writer.add_summary(each)
    check_imported(tmp_path)


def test_each_directory_is_a_run(tmp_path: Path) -> None:
    for name in ("seed 1", "b/c"):
        (tmp_path / "logs" / name).mkdir(parents=True)
        for part in range(2):  # as after a restart
            events = [version_event(0.0), *scalar_events("x", [part], [5.0], [part + 0.5])]
            file = tmp_path / "logs" / name / f"events.out.tfevents.{part}.host"
            file.write_bytes(records(events))
    repo = Repository.init(":memory:")
    repo.import_data(tmp_path / "logs", prefix="tb/")
    assert set(repo.runs) == {"tb/seed-1", "tb/b/c"}
    for run in repo.runs:
        assert repo.series(run, "x").value.tolist() == [0.5, 1.5]


def test_out_and_in_again(repo: Repository, tmp_path: Path) -> None:
    repo.export("tensorboard", tmp_path / "logs", "main", "try/1")
    other = Repository.init(":memory:")
    other.import_data(tmp_path / "logs")
    assert set(other.runs) == {"main", "try/1"}
    for run in other.runs:
        assert other.runs[run].config == repo.runs[run].config
        before, after = repo.series(run), other.series(run)
        for tag, series in before.items():
            np.testing.assert_array_equal(after[tag].step, series.step)
            np.testing.assert_array_equal(after[tag].value, series.value.astype(np.float32))
    returns = other.series("main", "charts/episodic_return").value.tolist()
    assert returns == [e.return_ for e in reversed(repo.episodes("main")) if e.end != "open"]


# --- in, again and again -------------------------------------------------------------------------


def events(
    first: int, count: int, value: float = 0.5, start: int | None = None, tag: str = "x"
) -> bytes:
    """Return the bytes of an event file: its version, perhaps a restart, and some points."""
    made = [version_event(value)]
    if start is not None:  # as torch's SummaryWriter(purge_step=start)
        made.append(event_files._event(start, 0.0, event_files.message(7, b"\x08\x01")))
    steps = range(first, first + count)
    return records(made + scalar_events(tag, steps, [1e9 + i for i in steps], [value] * count))


def logged(repo: Repository, run: str, tag: str = "x") -> list[tuple[int, float]]:
    series = repo.series(run, tag)
    return list(zip(series.step.tolist(), series.value.tolist(), strict=True))


def test_a_second_import_adds_what_is_new(tmp_path: Path) -> None:
    file = tmp_path / "logs/events.out.tfevents.1.host"
    file.parent.mkdir()
    repo = Repository.init(":memory:")
    whole = events(0, 9)
    for size in (len(whole) - 200, len(whole) - 100, len(whole)):
        file.write_bytes(whole[:size])  # within a record
        repo.import_data(file.parent)
        assert repo.runs["logs"].status == "paused"
    second = file.with_name("events.out.tfevents.2.host")
    second.write_bytes(events(5, 6, 0.25))  # as after a restart
    assert repo.import_data(file.parent).refs["runs/logs"].what == "forward"
    tip = repo.runs["logs"].oid
    assert repo.import_data(file.parent).refs["runs/logs"].what == "unchanged"
    assert list(repo.runs) == ["logs"]
    assert repo.runs["logs"].oid == tip
    assert logged(repo, "logs") == scalars(file.parent)["x"]
    assert len(logged(repo, "logs")) == 15
    assert [state.info["points"] for state in repo["logs"]] == [3, 3, 3, 6]
    repo.fsck()


def test_runs_that_look_alike_keep_their_own_series(tmp_path: Path) -> None:
    """As many points of the same tags in each: seeds of one experiment."""
    repo = Repository.init(":memory:")
    for name in ("a", "b", "c"):
        (tmp_path / "logs" / name).mkdir(parents=True)
        for part, value in enumerate({"a": (1.0, 2.0), "b": (1.0, 3.0), "c": (1.0, 2.0)}[name]):
            file = tmp_path / "logs" / name / "events.out.tfevents.1.host"
            old = file.read_bytes() if part else b""
            file.write_bytes(old + events(part, 1, value))
            assert repo.import_data(tmp_path / "logs").notes == []
    assert logged(repo, "a") == logged(repo, "c") == [(0, 1.0), (1, 2.0)]
    assert logged(repo, "b") == [(0, 1.0), (1, 3.0)]
    assert set(repo.runs) == {"a", "b", "c"}


def test_other_files_are_not_added_to_a_run(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    for number in (1, 2):
        file = tmp_path / f"{number}/logs/events.out.tfevents.1.host"
        file.parent.mkdir(parents=True)
        file.write_bytes(events(0, 1, float(number)))
        repo.import_data(file.parent)
    assert logged(repo, "logs") == [(0, 1.0)]
    assert logged(repo, "logs.conflict-1") == [(0, 2.0)]
    with pytest.raises(AlreadyExists, match="was not imported from"):
        repo.import_data(file.parent, options={"follow": "true", "every": "0"})


def test_a_restart_discards_as_tensorboard_does(tmp_path: Path) -> None:
    files = [tmp_path / f"logs/events.out.tfevents.{number}.host" for number in (1, 2, 3)]
    files[0].parent.mkdir()
    contents = [events(0, 9), events(5, 2, 0.25, start=5), events(1, 1, 0.75, start=6)]
    repo = Repository.init(":memory:")
    notes = []
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
        notes.append(repo.import_data(file.parent, rename="added").notes)
        assert logged(repo, "added") == scalars(file.parent)["x"]
    assert notes == [
        [],
        ["restart at step 5: 4 earlier points from there on are discarded"],
        ["restart at step 6: 1 earlier point from there on is discarded"],
    ]
    done = repo.import_data(files[0].parent, rename="at-once")
    assert logged(repo, "at-once") == logged(repo, "added")
    assert done.notes == notes[1] + notes[2]
    repo.fsck()


def follow(repo: Repository, directory: Path, steps: Sequence[Any]) -> Any:
    """Follow a directory; a step is called when something was added, the last is Ctrl-C."""
    left = iter(steps)

    def progress(done: int, total: int | None) -> None:
        try:
            next(left)()
        except StopIteration:
            raise KeyboardInterrupt from None

    options = {"follow": "true", "every": "0"}
    return repo.import_data(directory, options=options, progress=progress)


@pytest.mark.parametrize("end", ["copied anew", "replaced", "a second file", "a restart"])
def test_what_happens_to_files_that_are_followed(tmp_path: Path, end: str) -> None:
    file = tmp_path / "logs/events.out.tfevents.1.host"
    second = file.with_name("events.out.tfevents.2.host")
    file.parent.mkdir()
    repo = Repository.init(":memory:")
    whole = events(0, 40)
    size = len(events(0, 2)) - len(events(0, 1))
    begin = len(events(0, 1)) + size // 2

    def grow(count: int) -> Any:
        return lambda: file.write_bytes(whole[: begin + count * size])  # to within a record

    def copy() -> None:  # as cp and rsync do: cut off at first, or under another name
        file.write_bytes(whole[:begin])
        other = file.with_name(f".{file.name}.Xy12")
        other.write_bytes(whole[: begin + 9 * size])
        other.replace(file)

    last: Any = {
        "copied anew": copy,
        "replaced": lambda: file.write_bytes(events(0, 20, 0.25)),
        "a second file": lambda: second.write_bytes(events(3, 2, 0.25)),
        "a restart": lambda: second.write_bytes(events(3, 2, 0.25, start=3)),
    }[end]

    def interrupt() -> None:  # while another run is imported, which has nothing of it then
        other = file.parent / "other/events.out.tfevents.1.host"
        other.parent.mkdir()
        other.write_bytes(whole)

    grow(0)()
    done = follow(repo, file.parent, [grow(1), grow(5), last, interrupt])
    assert list(repo.runs) == ["logs"]
    before = [(step, 0.5) for step in range(6)]
    expected = {
        "copied anew": [(step, 0.5) for step in range(10)],
        "replaced": [*before, *((step, 0.25) for step in range(20))],
        "a second file": [*before, (3, 0.25), (4, 0.25)],
        "a restart": [*before[:3], (3, 0.25), (4, 0.25)],
    }
    assert logged(repo, "logs") == expected[end]
    if end != "replaced":
        assert logged(repo, "logs") == scalars(file.parent)["x"]
    assert (f"'{file.name}' was replaced: the points it had are kept" in done.notes) == (
        end == "replaced"
    )


def test_who_follows_files_is_told_at_once_what_is_left_out(tmp_path: Path) -> None:
    board = pytest.importorskip("torch.utils.tensorboard").SummaryWriter(str(tmp_path / "logs"))
    said: list[str] = []
    board.add_scalar("loss", 0.5, 1)
    board.add_audio("voice", np.zeros(100), 1, sample_rate=8000)
    board.add_histogram("weights", np.arange(9.0), 1)
    board.flush()

    def grow() -> None:
        said.extend(str(each.message) for each in caught)
        board.add_image("frame", np.zeros((3, 4, 5), np.uint8), 2)
        board.add_scalar("loss", 0.25, 2)
        board.flush()

    def interrupt() -> None:  # while another run is imported, which has nothing of it then
        (tmp_path / "logs/other").mkdir()
        (tmp_path / "logs/other/events.out.tfevents.1.host").write_bytes(events(0, 4))

    with warnings.catch_warnings(record=True) as caught, Repository.init(":memory:") as repo:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", SimgitWarning)
        done = follow(repo, tmp_path / "logs", [grow, interrupt])
        assert [value for _, value in logged(repo, "logs", "loss")] == [0.5, 0.25]
    board.close()
    end = (
        "of the event files of 'logs' are left out: only numbers are imported; in a simulation, "
        "'control.tensorboard' attaches them"
    )
    assert said == [f"sounds {end}"]
    assert [str(each.message) for each in caught] == [f"sounds {end}", f"images {end}"]
    assert sum("left out" in note for note in done.notes) == 3


def test_a_file_that_is_empty_while_it_is_written_anew_is_the_same(tmp_path: Path) -> None:
    path, whole = tmp_path / "events", events(0, 40)
    path.write_bytes(whole[: len(whole) // 2])
    file = RecordFile(path)
    read = list(file.payloads())
    for part in (b"", whole[:30], whole[:100], whole):
        path.write_bytes(b"")
        assert file.is_same() and not list(file.payloads())
        path.write_bytes(part)
        assert file.is_same()
    assert [*read, *file.payloads()] == list(RecordFile(path).payloads())
    path.write_bytes(events(0, 40, 0.25))
    assert not file.is_same()


@pytest.mark.slow
def test_the_command_follows_a_directory_through_a_crash(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    repo = Repository.init(tmp_path / "store")
    logs = tmp_path / "logs"
    logs.mkdir()
    arguments = ["-C", str(tmp_path / "store"), "import", str(logs), "--prefix", "tb/"]
    command = [sys.executable, "-m", "simgit", *arguments, "-o", "follow", "-o", "every=0.1"]
    paths = {name: logs / name / "events.out.tfevents.1.host" for name in ("a", "b")}
    whole = events(0, 60)

    def begin() -> subprocess.Popen[str]:
        begun = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        request.addfinalizer(begun.kill)
        return begun

    def grow(name: str, size: int, count: int) -> None:
        paths[name].parent.mkdir(exist_ok=True)
        paths[name].write_bytes(whole[:size])
        deadline = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            if f"tb/{name}" in repo.runs and len(logged(repo, f"tb/{name}")) == count:
                return
            time.sleep(0.1)

    process = begin()
    size = len(events(0, 2)) - len(events(0, 1))
    for number in (1, 2, 30):
        grow("a", len(events(0, number)) + size // 2, number)
    process.kill()
    process.communicate()
    process = begin()
    for number in (31, 60):
        grow("a", len(events(0, number)), number)
    grow("b", len(events(0, 3)), 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[:2] == [
        "forward    runs/a → runs/tb/a",
        "new        runs/b → runs/tb/b",
    ]
    for name, path in paths.items():
        assert logged(repo, f"tb/{name}") == scalars(path.parent)["x"]
    assert repo.runs["tb/a"].status == "paused"
    repo.close()


def test_what_an_import_cannot_do(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    (tmp_path / "events.out.tfevents.1").write_bytes(events(0, 1))
    for options in ({"follow": "yes"}, {"every": "-1"}, {"folow": "true"}):
        with pytest.raises(InvalidInput):
            repo.import_data(tmp_path, options=options)
    with pytest.raises(NotFound):
        repo.import_data(tmp_path / "none", format="tensorboard", options={"follow": "true"})


# --- damaged files -------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "logs/events.out.tfevents.1.host"
    path.parent.mkdir()
    events = scalar_events("loss", range(9), [float(i) for i in range(9)], range(9))
    path.write_bytes(records([version_event(0.0), *events]))
    return path


def test_a_file_that_ends_within_a_record(file: Path) -> None:
    whole = file.read_bytes()
    size = len(records([scalar_events("loss", [1], [1.0], [1.0])[0]]))
    for cut in (1, 4, 5, size - 12, size - 1):
        file.write_bytes(whole[:-cut])
        repo = Repository.init(":memory:")
        done = repo.import_data(file.parent, rename="a")
        assert repo.series("a", "loss").step.tolist() == list(range(8))
        word = "byte" if size - cut == 1 else "bytes"
        assert done.notes == [
            f"'{file.name}': the last record is cut off; {size - cut} {word} left out"
        ]


def test_a_damaged_record_is_left_out_and_told(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-10] ^= 1
    file.write_bytes(data)
    repo = Repository.init(":memory:")
    done = repo.import_data(file.parent, rename="a")
    assert repo.series("a", "loss").step.tolist() == list(range(8))
    assert done.notes == [f"'{file.name}': 1 damaged record left out"]


def test_a_damaged_length_ends_the_file_and_is_told(file: Path) -> None:
    data = bytearray(file.read_bytes())
    size = len(records([scalar_events("loss", [1], [1.0], [1.0])[0]]))
    data[-3 * size] ^= 1
    file.write_bytes(data)
    repo = Repository.init(":memory:")
    done = repo.import_data(file.parent, rename="a")
    assert repo.series("a", "loss").step.tolist() == list(range(6))
    at = len(data) - 3 * size
    assert done.notes == [
        f"'{file.name}': damaged at byte {at}; the {3 * size} bytes from there on are left out"
    ]


def test_hostile_files(file: Path, seed: int) -> None:
    """Whatever a record holds, its points or an error of simgit's come of it."""
    draw = random.Random(seed)
    good = scalar_events("loss", [1], [1.0], [1.0])[0]
    for _ in range(100):
        body = bytearray(good if draw.random() < 0.8 else draw.randbytes(40))
        for _ in range(draw.randrange(1, 4)):
            body[draw.randrange(len(body))] = draw.randrange(256)
        file.write_bytes(records([version_event(0.0), bytes(body)]))
        for point in EventFile(file).points():
            assert isinstance(point, LoggedPoint | SessionStart)
    file.write_bytes(b"\xff" * 64)
    with pytest.raises(IntegrityError, match="not an event file"):
        points(EventFile(file))
    length = (1 << 40).to_bytes(8, "little")
    file.write_bytes(length + event_records.check(length) + b"x" * 100)
    with pytest.raises(IntegrityError, match="not an event file"):
        points(EventFile(file))


def test_a_file_is_read_while_it_grows(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(b"")
    reader, found = EventFile(file), []
    for at in range(0, len(whole) + 5, 5):
        with file.open("r+b") as opened:
            opened.write(whole[: at + 5])
        found += points(reader)
    assert [point.step for point in found] == list(range(9))
    assert (reader.rest, reader.damaged, reader.broken) == (0, 0, False)


def test_links_are_not_followed(file: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/events.out.tfevents.1.x").symlink_to(file)
    repo = Repository.init(":memory:")
    with pytest.raises((NotFound, InvalidInput)):
        repo.import_data(tmp_path / "linked")


def test_values_of_every_kind_of_tensor() -> None:
    for code, dtype in event_files._DTYPES.items():
        content = np.array([1], dtype).tobytes()
        body = b"\x08" + bytes([code]) + event_files.message(4, content)
        assert event_files._tensor(body) == 1.0
    assert event_files._tensor(b"\x08\x01" + event_files.message(5, np.float32(2).tobytes())) == 2.0
    assert event_files._tensor(b"\x08\x09\x50\x07") == 7.0
    two = event_files.message(2, event_files.message(2, b"\x08\x02"))
    assert event_files._tensor(b"\x08\x01" + two + event_files.message(4, bytes(8))) is None
