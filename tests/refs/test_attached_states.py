"""An attachment that refers to states keeps them, and takes them along."""

from __future__ import annotations

import io

import numpy as np
import pytest

import simgit
from simgit.errors import NotFound
from simgit.objects.oid import Oid


def two_runs(repo: simgit.Repository) -> Oid:
    """Record two runs, the first with an attachment that refers to the second's newest state."""
    for name, count in (("a", 5), ("b", 7)):
        with repo.recorder(name) as recorder:
            for i in range(count):
                recorder.append(float(i), reset={"seed": count} if i == 0 else None)
    other = repo.resolve("b")
    big = np.arange(1000.0)
    repo.attach("a", "agent", {"@states": [bytes(other)], "weights": big})
    return other


def test_gc_keeps_the_states_that_an_attachment_refers_to() -> None:
    with simgit.Repository.init(":memory:") as repo:
        other = two_runs(repo)
        repo.purge("b")
        repo.gc(grace=0)
        assert len(repo.trajectory(other)) == 7
        assert repo.fsck().is_clean
        repo.branch("b", other)
        assert len(repo["b"]) == 7
        repo.delete_run("b")
        repo.detach("a", "agent")
        repo.purge("b")
        repo.gc(grace=0)
        with pytest.raises(NotFound):
            repo.state(other)


@pytest.mark.parametrize("names", [None, ["agent"], []])
@pytest.mark.parametrize("run", ["a", "z"])
def test_a_bundle_of_a_run_carries_them(names: list[str] | None, run: str) -> None:
    with simgit.Repository.init(":memory:") as repo, simgit.Repository.init(":memory:") as there:
        other = two_runs(repo)
        if run == "z":  # a run whose line comes after the one that is referred to
            with repo.recorder("z") as recorder:
                recorder.append(0.5, reset={"seed": 0})
            repo.attach("z", "agent", {"@states": [bytes(repo.resolve("a@2")), bytes(other)]})
        file = io.BytesIO()
        repo.create_bundle(file, [run], attachments=names)
        file.seek(0)
        there.import_bundle(file)
        assert set(there.runs) == {run}
        if names == []:
            with pytest.raises(NotFound):
                there.state(other)
            return
        assert there.attachment(run, "agent")["@states"][-1] == other
        assert len(there.trajectory(other)) == 7
        there.gc(grace=0)
        assert len(there.trajectory(other)) == 7
        assert there.fsck().is_clean


def test_only_states_that_are_here_can_be_referred_to() -> None:
    with simgit.Repository.init(":memory:") as repo:
        two_runs(repo)
        with pytest.raises(NotFound):
            repo.attach("a", "other", {"@states": [bytes(32)]})
        for unlike in ("text", [1, 2], [b"short"], {"a": 1}):  # data of a user's own
            repo.attach("a", "other", {"@states": unlike})
            assert repo.attachment("a", "other") == {"@states": unlike}
        repo.gc(grace=0)
