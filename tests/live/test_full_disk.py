"""A simulation whose disk is full: it fails with the cause, and nothing that was flushed is lost.

``python -m tests.live.test_full_disk DIRECTORY`` does it, in a small file system.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from simgit import Repository, StorageFullError
from simgit.live import Tracker
from simgit.live.control import write_line
from tests.faults.full import fill_disk, on_disk
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

NUMBERS = 1000
"""Random numbers in a state."""


def fill(control: Any) -> None:
    """Records states that cannot be packed, and says how many are stored."""
    import numpy as np

    recorder, rng = control.recorder(), np.random.default_rng(0)
    for step in control.range(control.config["steps"]):
        recorder.append(observation=rng.random(NUMBERS), action=step)
        if step % 20 == 19:
            control.flush()
            Path(control.config["said"]).write_text(str(step))
            control.log(f"stored up to step {step}")


fill.defaults = {"steps": 10**9, "said": ""}  # type: ignore[attr-defined]


def main(place: Path) -> None:
    """Fill the file system of a directory with a simulation."""
    kind = f"{__spec__.name}:fill" if __spec__ is not None else "fill"
    said = place.parent / "said"  # on another file system
    with Repository.init(place) as repo, Tracker(repo, workers=1) as tracker:
        one = tracker.queue(kind, "one", folder=ROOT, config={"said": str(said)})
        assert one.wait(PATIENCE) == "failed"
        assert str(one.reason).startswith("StorageFullError: disk is full; delete runs"), one.reason
        info = repo.runs["one"]
        assert (info.status, info.writer) == ("failed", None)
        assert info.step is not None and info.step >= int(said.read_text()) > 50
        states = repo.trajectory("one")
        assert [each.action for each in states[1:]] == list(range(1, len(states)))
        assert repo.fsck().is_clean
        fill_disk(place / "filler")
        try:
            two = tracker.queue(kind, "two", folder=ROOT, config={"steps": 5, "said": str(said)})
        except StorageFullError:
            two = None
        else:
            two.wait(PATIENCE)  # there may have been room in the store's file
        (place / "filler").unlink()
        repo.delete_run("one", force=True)
        repo.gc(grace=0, expire=0)
        assert tracker._thread.is_alive()
        three = tracker.queue(kind, "three", folder=ROOT, config={"steps": 5, "said": str(said)})
        assert three.wait(PATIENCE) == "completed"
        assert two is None or two.outcome in ("completed", "failed"), two.outcome
        assert repo.runs["three"].step == 4


def test_a_line_of_the_log_that_has_no_space_ends_nothing() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        out = io.TextIOWrapper(full, write_through=True)  # as the process of a simulation has it
        with contextlib.redirect_stdout(out):
            write_line("all is well", "info", 1)
        with pytest.raises(OSError, match="No space left"):
            out.write("but it is full")
    with (
        Path(os.devnull).open() as closed,
        contextlib.redirect_stdout(closed),
        pytest.raises(OSError, match="not writable"),
    ):
        write_line("another error is one", "info", 1)


@pytest.mark.slow
def test_a_simulation_on_a_full_disk_fails_and_the_tracker_goes_on(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    on_disk(place, "4m", __name__)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
