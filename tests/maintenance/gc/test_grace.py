"""The grace period begins when gc first finds something unreachable, however it came here."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from simgit import NotFound, Oid, Repository
from simgit.maintenance.gc.plan import DAY
from simgit.storage.failpoints import set_hook


def fill(repo: Repository) -> Oid:
    """Record a run with an attachment and a file; return its newest state."""
    for i in range(5):
        oid = repo.commit({"x": float(i)}, run="try", files={"file": b"f" * 70_000})
    repo.attach("try", "video", b"v" * 5000)
    return oid


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    with Repository.init(tmp_path / "other") as other:
        fill(other)
        other.create_bundle(tmp_path / "bundle", ["try"])
    return tmp_path / "bundle"


def recorded(repo: Repository, bundle: Path) -> None:
    fill(repo)


def imported(repo: Repository, bundle: Path) -> None:
    repo.import_bundle(bundle)


def brought_back(repo: Repository, bundle: Path) -> None:
    oid = fill(repo)
    repo.delete_run("try", force=True)
    found = time.time_ns()
    assert not repo.gc(expire=0, clock=lambda: found).removed.states  # it is pending now
    repo.branch("try", oid)


@pytest.mark.parametrize("come", [recorded, imported, brought_back])
def test_what_is_lost_after_long_stays_for_the_grace_period(
    tmp_path: Path, bundle: Path, come: Callable[[Repository, Path], None]
) -> None:
    with Repository.init(tmp_path / "here") as repo:
        repo.commit({"x": 9.0}, run="main")
        come(repo, bundle)
        oid = repo.runs["try"].oid
        assert oid is not None
        repo.delete_run("try", force=True)
        later = time.time_ns() + 100 * DAY  # there was no gc in all this time
        dry = repo.gc_preview(expire=0, clock=lambda: later)
        assert not dry.states and not dry.objects and not dry.attachments
        assert not repo.gc(expire=0, clock=lambda: later).removed.states
        lost = repo.unreachable(clock=lambda: later)
        assert {each.since for each in lost} == {later}
        repo.gc(expire=0, clock=lambda: later + 14 * DAY - 1)
        assert repo.attachment(oid, "video") == b"v" * 5000
        removed = repo.gc(expire=0, clock=lambda: later + 14 * DAY).removed
        assert removed.states == 5 and removed.attachments == 1 and removed.objects["blob"]
        with pytest.raises(NotFound):
            repo.state(oid)
        assert repo.fsck().is_clean


def later() -> int:
    return time.time_ns() + 100 * DAY


def importing(repo: Repository, bundle: Path) -> None:
    """Import a bundle, while another process collects whenever that lets it."""
    set_hook(lambda name: name == "import.batch" and bool(repo.gc(clock=later)))
    try:
        repo.import_bundle(bundle)
    finally:
        set_hook(None)


@pytest.mark.parametrize("kept", [0, 3])
@pytest.mark.parametrize("more", [0, 4])
def test_what_an_import_finds_lost_stays_till_refs_lead_to_it(
    tmp_path: Path, kept: int, more: int
) -> None:
    with Repository.init(tmp_path / "other") as other, Repository.init(tmp_path / "here") as here:
        oids = [other.commit({"x": float(i)}, run="try") for i in range(6)]
        other.create_bundle(tmp_path / "old", ["try"])
        here.import_bundle(tmp_path / "old")
        oids += [other.commit({"x": float(i)}, run="try") for i in range(more)]
        other.create_bundle(tmp_path / "new", ["try"])
        if kept:
            here.branch("kept", oids[kept])
        here.delete_run("try", force=True)
        assert not here.gc(expire=0).removed.states  # they are pending now
        importing(here, tmp_path / "new")
        assert here.runs["try"].oid == oids[-1]
        assert here.fsck().is_clean
