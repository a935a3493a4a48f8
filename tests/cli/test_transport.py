"""``clone``, ``bundle`` and ``import`` from the command line, and through pipes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from simgit import Repository


def test_a_clone_gets_the_sources_name_or_the_one_given(repo, run, directory: Path) -> None:
    out = run("clone", ".", "copy").out
    assert out == f"cloned 1 run into {directory}/copy/.simgit\n"
    found = run("clone", "copy/.simgit", "other", "--json").json
    assert found == {"directory": f"{directory}/other/.simgit", "runs": ["main"]}
    assert "already exists" in run("clone", ".", "copy", code=128).err


def test_a_bundle_is_made_listed_verified_and_imported(repo, run, directory: Path) -> None:
    made = repo("bundle", "create", "a.bundle", "--all", "--json").json
    assert made["states"] == 3
    assert made["bytes"] == (directory / "a.bundle").stat().st_size
    tip = repo("rev-parse", "main").out.strip()
    assert f"{tip}  runs/main" in run("bundle", "list", "a.bundle").lines
    assert run("bundle", "list", "a.bundle", "--json").json["refs"]["runs/main"] == tip
    assert "a.bundle is intact: 3 states" in run("bundle", "verify", "a.bundle").out
    run("init", "other")
    lines = run("-C", "other", "import", "../a.bundle", "--prefix", "from/").lines
    assert "new        runs/main → runs/from/main" in lines
    again = run("-C", "other", "import", "../a.bundle", "--prefix", "from/", "--json").json
    assert again["states"] == 0
    assert again["refs"]["runs/main"] == {"name": "runs/from/main", "what": "unchanged"}


def test_verify_says_what_a_repository_lacks(repo, run) -> None:
    repo("bundle", "create", "new.bundle", "main", "--not", "main~1")
    base = repo("rev-parse", "main~1").out.strip()
    assert f"{base}  required" in run("bundle", "list", "new.bundle").lines
    run("init", "other")
    found = run("-C", "other", "bundle", "verify", "../new.bundle", code=1)
    assert f"lacks state {base}" in found.out
    assert "builds on" in run("-C", "other", "import", "../new.bundle", code=128).err


@pytest.mark.slow
def test_a_bundle_goes_through_a_pipe(repo, environment: dict[str, str], directory: Path) -> None:
    repo("init", "other")
    simgit = f"{sys.executable} -m simgit"
    line = f"{simgit} bundle create - main | {simgit} -C other import - --json"
    subprocess.run(line, shell=True, check=True, env=environment, stdout=subprocess.DEVNULL)
    with Repository.open(directory / "other") as other:
        assert other.runs["main"].step == 2


def test_the_number_of_processes_is_of_a_bundle(repo, run, directory: Path) -> None:
    repo("bundle", "create", "a.bundle", "main")
    repo("export", "jsonl", "a.jsonl", "main")
    run("init", "other")
    assert (
        "only a bundle has --jobs"
        in run("-C", "other", "import", "../a.jsonl", "-j", "2", code=2).err
    )
    assert "--jobs" in run("-C", "other", "import", "../a.bundle", "--jobs", "0", code=2).err
    run("-C", "other", "import", "../a.bundle", "--jobs", "2")
    with Repository.open(directory / "other") as other:
        assert other.runs["main"].step == 2


def test_wrong_usage_is_said(repo, run, directory: Path) -> None:
    assert "--all" in run("bundle", "create", "x", code=2).err
    run("bundle", "create", "x", "main", "--all", code=2)
    run("bundle", "create", "x", "main", "--attachments", "a", "--no-attachments", code=2)
    assert "must be a run or a tag" in run("bundle", "create", "x", "nothing", code=128).err
    (directory / "junk").write_bytes(b"junk" * 100)
    assert "not a bundle" in run("import", "junk", code=128).err
    assert "not found" in run("bundle", "list", "none", code=128).err
