"""``simgit export`` and ``simgit import`` of other formats."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Call


@pytest.fixture
def filled(run: Call) -> Call:
    run("init")
    for i in range(3):
        run("commit", "-o", f"[{i}, 2.5]", "-r", str(i), "-m", f"state {i}")
    return run


def test_a_run_goes_out_and_comes_back(filled: Call, directory: Path) -> None:
    out = filled("export", "jsonl", "a.jsonl", "main").out
    assert out.startswith("3 states, 1 run: ") and out.endswith(" in a.jsonl\n")
    filled("init", "other")
    found = filled("-C", "other", "import", "../a.jsonl")
    assert found.lines == ["new        runs/main", "read 3 states"]
    assert filled("-C", "other", "rev-parse", "main").out == filled("rev-parse", "main").out
    assert "a.jsonl" in filled("-C", "other", "op", "log").out


@pytest.mark.slow
def test_standard_output_has_the_file_alone(filled: Call, directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simgit", "export", "csv", "-", "main", "--where", "reward > 0"],
        cwd=directory, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[0].startswith("run,step,episode,episode_step,observation")
    assert len(done.stdout.splitlines()) == 3
    assert "not the same run when imported" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "parquet", "tensorboard"])
@pytest.mark.parametrize("is_file", [True, False])
def test_standard_output_is_a_file_or_a_pipe(
    filled: Call, directory: Path, format: str, is_file: bool
) -> None:
    command = [sys.executable, "-m", "simgit", "export", format]
    out = directory / "out"
    out.write_bytes(b"before")
    with out.open("ab") as opened:
        done = subprocess.run(
            [*command, "-", "main"], cwd=directory, check=False,
            stdout=opened if is_file else subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    written = out.read_bytes() if is_file else b"before" + done.stdout
    if format == "tensorboard":
        assert (done.returncode, written) == (2, b"before")
        assert b"'tensorboard' makes a directory" in done.stderr
        return
    filled("export", format, "expected", "main")
    assert done.returncode == 0
    assert written == b"before" + (directory / "expected").read_bytes()


def test_what_is_left_out_is_said(filled: Call, directory: Path) -> None:
    found = filled("export", "jsonl", "a.jsonl", "main", "--fields", "reward", "--json").json
    assert found["lossy"] == "it has only the fields reward" and found["states"] == 3
    assert "--as-new" in filled("import", "a.jsonl", code=128).err
    filled("import", "a.jsonl", "--as-new", "--run", "new")
    assert "imported_from" in filled("show", "--run", "new").out


def test_a_dry_run_stores_nothing(filled: Call, directory: Path) -> None:
    (directory / "t.csv").write_text("obs,reward\n1,0.5\n2,1.5\n")
    assert "-o alignment=led" in filled("import", "t.csv", "--dry-run", code=128).err
    (directory / "t.csv").write_text("obs,x\n1,0.5\n2,1.5\n")
    out = filled("import", "t.csv", "--dry-run").out
    assert "run t: 2 states" in out and "observation 1" in out
    assert filled("import", "t.csv", "-n", "--json").json["runs"][0]["states"] == 2
    assert "t" not in filled("branch").out.split()


def test_an_edited_file_is_fatal(filled: Call, directory: Path) -> None:
    filled("export", "jsonl", "a.jsonl", "main")
    lines = (directory / "a.jsonl").read_text().splitlines()
    state = json.loads(lines[2]) | {"message": "edited"}
    (directory / "a.jsonl").write_text(
        "\n".join([*lines[:2], json.dumps(state), *lines[3:]]) + "\n"
    )
    err = filled("import", "a.jsonl", "--prefix", "x/", code=128).err
    assert "hash mismatch" in err and "--as-new" in err
    assert "x/main" not in filled("branch").out


def test_wrong_usage(filled: Call, directory: Path) -> None:
    assert "known: " in filled("export", "excel", "x", "main", code=128).err
    assert "did you mean 'parquet'" in filled("export", "parket", "x", "main", code=128).err
    assert "unknown option" in filled("export", "jsonl", "x", "main", "-o", "a=b", code=128).err
    filled("export", "jsonl", "x", "main", "-o", "=b", code=2)
    filled("export", "jsonl", "x", "main", "--fields", "", code=2)
    assert "standard input" in filled("import", "-", "--format", "csv", code=2).err
    (directory / "what").write_bytes(b"?")
    assert "parquet, " in filled("import", "what", code=128).err
    filled("export", "jsonl", "a.jsonl", "main")
    assert "--force" in filled("export", "jsonl", "a.jsonl", "main", code=128).err
    filled("export", "jsonl", "a.jsonl", "main", "-f")
    filled("bundle", "create", "b", "main")
    filled("import", "b", "--as-new", code=2)
    assert [each.name for each in directory.glob(".a*")] == []
