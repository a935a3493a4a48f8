"""``simgit import`` of other programs' data: looks first, tells what is lost, is safe to interrupt."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from simgit import Repository
from tests.cli.conftest import Call
from tests.datasets.earlier.importing import stored
from tests.datasets.earlier.sources import branching, step_records, write_steps


@pytest.fixture
def log(seed: int, directory: Path) -> Path:
    rng = np.random.default_rng(seed)
    return write_steps(directory / "runs", step_records(rng, [("first", 2, 3), ("learned", 2, 2)]))


def test_a_look_stores_nothing(run: Call, log: Path) -> None:
    run("init")
    shown = run("import", "runs", "--dry-run")
    assert shown.lines[0] == "run sim-arena/20251122T012648: 6 states"
    assert "runs and episodes are guessed" in shown.out
    assert run("run", "list").out == ""
    found = run("import", str(log), "--dry-run", "--json").json
    assert [(each["name"], each["states"]) for each in found["runs"]] == [
        ("sim-arena/20251122T012648", 6), ("sim-arena/20251122T043854", 4)
    ]  # fmt: skip
    assert found["notes"]


def test_what_was_shown_is_what_comes(run: Call, log: Path) -> None:
    run("init")
    shown = run("import", "runs", "--dry-run", "--json").json
    done = run("import", "runs", "--json").json
    assert done["states"] == sum(each["states"] for each in shown["runs"])
    assert [f"runs/{each['name']}" for each in shown["runs"]] == list(done["refs"])
    assert done["notes"] == shown["notes"]
    assert (
        run("import", "runs", "--prefix", "x/")
        .lines[0]
        .endswith("→ runs/x/sim-arena/20251122T012648")
    )


def test_an_option_that_the_format_has_not(run: Call, log: Path) -> None:
    run("init")
    wrong = run("import", "runs", "-o", "keep-line", code=128)
    assert "unknown option 'keep-line'; did you mean 'keep-lines'?" in wrong.err


def test_a_map(run: Call, directory: Path) -> None:
    run("init")
    (directory / "t.csv").write_text("a,b\n1,2.5\n2,x\n")
    (directory / "map.toml").write_text("[columns]\nb = 'reward'\n")
    wrong = run("import", "t.csv", "--map", "map.toml", code=128)
    assert "line 3: column 'b': 'x' is not of its type" in wrong.err
    (directory / "t.csv").write_text("a,b\n1,2.5\n2,\n")
    done = run("import", "t.csv", "--map", "map.toml")
    assert done.lines == [
        "new        runs/t", "columns that the map does not name are left out: a",
        "1 row not imported: line 3: no value in a column that is mapped", "read 1 state",
    ]  # fmt: skip
    assert (
        "cannot be used together"
        in run("import", "t.csv", "--map", "m", "--format", "csv", code=2).err
    )


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_interrupted_import_has_changed_no_run(seed: int, directory: Path, after: int) -> None:
    """Ctrl-C between two blocks: a second import finds what was stored, and completes."""
    made = branching(np.random.default_rng(seed))
    path = made.write_sqlite(directory / "states.db")
    told: list[int] = []

    def interrupt(done: int, total: int | None) -> None:
        told.append(done)
        if len(told) == after + 1:
            os.kill(os.getpid(), signal.SIGINT)

    with Repository.init(directory) as repo:
        if after < 2:  # there are two runs, each of one block
            with pytest.raises(KeyboardInterrupt):
                repo.import_data(path, progress=interrupt)
            assert not repo.runs
        repo.import_data(path)
        assert set(repo.runs) == {"main", "high-lr"}
        assert stored(repo) == len(made.states)
