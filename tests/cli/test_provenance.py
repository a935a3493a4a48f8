"""``simgit provenance``: what was recorded, and what would be."""

from __future__ import annotations

import subprocess
from pathlib import Path

from simgit import Repository
from tests.cli.conftest import Call


def test_a_dry_run_shows_what_would_be_recorded_and_stores_nothing(
    run: Call, directory: Path
) -> None:
    words = ["python", "train.py", "--api-key", "hunter2", "--lr", "0.1"]
    found = run("provenance", "--dry-run", "--json", "--", *words).json
    assert found["provenance"]["command"] == [
        "python",
        "train.py",
        "--api-key",
        "***",
        "--lr",
        "0.1",
    ]
    assert found["diff"] is None and "python" in found["provenance"]["versions"]
    text = run("provenance", "--dry-run", "--", *words).out
    assert "hunter2" not in text and "versions:" in text
    assert not list(directory.iterdir())


def test_a_dry_run_shows_the_masked_diff_of_the_script(run: Call, directory: Path) -> None:
    project = directory / "project"
    project.mkdir()
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    (project / "train.py").write_text("lr = 0.1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run(["git", *who, *words], cwd=project, check=True)
    (project / "train.py").write_text("lr = 0.2\nDB_PASS = 'hunter2'\n")
    text = run("provenance", "--dry-run", "--", "python", "project/train.py").out
    assert "+lr = 0.2" in text and "+DB_PASS = '***'" in text and "hunter2" not in text


def test_the_provenance_of_a_run_is_what_was_recorded(run: Call, directory: Path) -> None:
    run("init")
    run("record", "CartPole-v1", "--steps", "3")
    with Repository.open(directory) as repo:
        facts = repo.runs["main"].metadata["provenance"]
    assert run("provenance", "main", "--json").json["provenance"] == facts
    assert "\nversions:" in run("provenance").out
    run("commit", "-o", "1", "--run", "other")
    assert "without its provenance" in run("provenance", "other", code=128).err
    assert "takes one run" in run("provenance", "main", "other", code=2).err
