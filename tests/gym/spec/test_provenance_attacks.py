"""The work tree of the user's code may be a stranger's: git must execute nothing of its settings.

Each attack is shown to work on plain git first, where git has it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from simgit.gym.spec.provenance import code_of

Attack = Callable[[Path, str], None]


def git(where: Path, *arguments: str, check: bool = True) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgSign=false")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=where, check=check, capture_output=True, timeout=20
    )
    return done.stdout.decode(errors="replace")


def configure(work: Path, name: str, value: str) -> None:
    git(work, "config", name, value)


def attributes(work: Path, text: str) -> None:
    (work / ".git" / "info").mkdir(exist_ok=True)
    (work / ".git" / "info" / "attributes").write_text(text)


def clean_filter(work: Path, command: str) -> None:
    configure(work, "filter.Evil.clean", command)
    attributes(work, "*.py filter=Evil\n")


def required_filter(work: Path, command: str) -> None:
    clean_filter(work, command)
    configure(work, "filter.Evil.required", "true")


def process_filter(work: Path, command: str) -> None:
    configure(work, "filter.a.b c.process", command)
    (work / ".gitattributes").write_text('*.py filter="a.b c"\n*.py filter=a.b\n')
    configure(work, "filter.a.b.process", command)


def filter_of_an_included_file(work: Path, command: str) -> None:
    configure(work, "include.path", "more")
    (work / ".git" / "more").write_text(f'[filter "evil"]\n\tclean = "{command}"\n')
    attributes(work, "*.py filter=evil\n")


def filter_that_cannot_be_named(work: Path, command: str) -> None:
    configure(work, "filter.a=b.clean", command)
    attributes(work, "*.py filter=a=b\n")


def text_conversion(work: Path, command: str) -> None:
    configure(work, "diff.evil.textconv", command)
    attributes(work, "*.py diff=evil\n")


def diff_command(work: Path, command: str) -> None:
    configure(work, "diff.evil.command", command)
    attributes(work, "*.py diff=evil\n")


def external_diff(work: Path, command: str) -> None:
    configure(work, "diff.external", command)


def fsmonitor(work: Path, command: str) -> None:
    configure(work, "core.fsmonitor", command)


def hook(work: Path, command: str) -> None:
    hooks = work / "hooks"
    hooks.mkdir()
    for name in (
        "post-index-change",
        "fsmonitor-watchman",
        "query-watchman",
        "reference-transaction",
    ):
        (hooks / name).write_text(f"#!/bin/sh\n{command}\n")
        (hooks / name).chmod(0o755)
    configure(work, "core.hooksPath", str(hooks))


def submodule(work: Path, command: str) -> None:
    inner = work / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "f.py").write_text("1\n")
    git(inner, "add", ".")
    git(inner, "commit", "-qm", "x")
    (work / ".gitmodules").write_text('[submodule "inner"]\n\tpath = inner\n\turl = ./inner\n')
    git(work, "-c", "advice.addEmbeddedRepo=false", "add", ".gitmodules", "inner")
    git(work, "commit", "-qm", "y")
    configure(inner, "core.fsmonitor", command)
    (inner / "f.py").write_text("2\n")
    configure(work, "diff.submodule", "diff")


ATTACKS: list[Attack] = [
    clean_filter, required_filter, process_filter, filter_of_an_included_file,
    filter_that_cannot_be_named, text_conversion, diff_command, external_diff, fsmonitor, hook,
    submodule,
]  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work tree with a changed file."""
    found = tmp_path / "work"
    found.mkdir()
    git(found, "init", "-q")
    (found / "train.py").write_text("lr = 1\n")
    (found / "same.py").write_text("pass\n")
    git(found, "add", ".")
    git(found, "commit", "-qm", "first")
    (found / "train.py").write_text("lr = 2\n")
    return found


@pytest.mark.parametrize("attack", ATTACKS)
def test_git_executes_nothing(work: Path, tmp_path: Path, attack: Attack) -> None:
    mark = tmp_path / "hacked"
    attack(work, f"touch {mark};cat")
    os.utime(work / "train.py", (7, 7))
    # touched, with the content that was committed: git writes its index anew, which runs a hook
    os.utime(work / "same.py", (7, 7))
    found = code_of(work)
    assert not mark.exists()
    assert found is not None and len(found.facts["commit"]) == 40
    if attack is filter_that_cannot_be_named:
        assert found.diff is None and "changed" not in found.facts
    else:
        assert "+lr = 2" in (found.diff or "")
    os.utime(work / "same.py", (8, 8))
    git(work, "status", check=False)
    git(work, "diff", "HEAD", check=False)
    assert mark.exists(), "the attack does not work: it shows nothing"


def test_a_missing_object_is_not_fetched(work: Path, tmp_path: Path) -> None:
    mark = tmp_path / "hacked"
    oid = git(work, "rev-parse", "HEAD:train.py").strip()
    (work / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    for name, value in {
        "core.repositoryFormatVersion": "1", "extensions.partialClone": "origin",
        "remote.origin.promisor": "true", "remote.origin.url": f"ext::touch {mark}",
        "protocol.ext.allow": "always", "protocol.allow": "always",
    }.items():  # fmt: skip
        configure(work, name, value)
    assert code_of(work) is not None
    assert not mark.exists()
    git(work, "diff", "HEAD", check=False)
    assert mark.exists(), "the attack does not work: it shows nothing"


def test_files_of_a_work_tree_elsewhere_are_not_recorded(work: Path, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "train.py").write_text("the user's own words\n")
    configure(work, "core.worktree", str(private))
    found = code_of(work)
    assert found is None or "own words" not in (found.diff or "")


def test_files_that_a_link_of_the_work_tree_leads_to_are_not_recorded(
    work: Path, tmp_path: Path
) -> None:
    (tmp_path / "private").write_text("the user's own words\n")
    (work / "train.py").unlink()
    (work / "train.py").symlink_to(tmp_path / "private")
    found = code_of(work)
    assert found is not None and "own words" not in (found.diff or "")
