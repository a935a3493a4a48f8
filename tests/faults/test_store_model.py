"""The state machine of the store: what a few dicts would do, also after crashes, gc and transport.

The machine of undo and crashes, with transactions that are aborted, commits that are cut off, gc
that keeps nothing but what is reachable, clones with which it goes on, and bundles.
"""

from __future__ import annotations

import shutil
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from simgit import Conflict, NotFound, Repository, SimgitError
from simgit.testing.failpoints import Fault, arm, disarm
from tests.maintenance.gc.test_gc_model import roots
from tests.refs.oplog.test_undo_model import seen
from tests.repository.test_repository_model import passed, values
from tests.support.examples import share

from .test_crash_model import ACTIONS, NAME, CrashMachine, cut_off

OWN = 4 * 4096
"""The most bytes a clone may have more: the pages of the transaction that gives it its identity.

They are the ones of ``meta``, of the table of tables and of the free pages, beside those that they
replace, which stay unused until a later transaction.
"""


def gc(repo: Repository) -> Any:
    """Keep nothing but what refs lead to."""
    return repo.gc(grace=0, expire=0).removed


class StoreMachine(CrashMachine):
    """Everything that can happen to a store, in any order.

    Attributes:
        first: the operation up to which gc has forgotten them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = 0

    # --- crashes ---

    @rule(value=values, name=NAME, left=st.integers(1, 12), action=ACTIONS)
    def crash_commit(self, value: Any, name: str, left: int, action: str) -> None:
        count, tip = self.newest, self.model.runs.get(name)
        self.crash(lambda repo: repo.commit(**passed(value), run=name), left, action)
        if self.newest > count:
            parents = (tip.oid,) if tip is not None and tip.oid is not None else ()
            assert self.model.add(value, parents) == self.model.runs[name].oid

    @rule(value=values, name=NAME, left=st.integers(1, 12))
    def abort_commit(self, value: Any, name: str, left: int) -> None:
        """Let a commit of this process fail within its transaction: nothing was done."""
        disk, _ = self.repos
        before, count = seen(disk), self.newest
        arm(Fault("commit.before", "raise"), Fault("*", "raise", left))
        try:
            disk.commit(**passed(value), run=name)
        except (OSError, SimgitError):
            disarm()
        else:
            raise AssertionError("the fault was passed over")
        finally:
            disarm()
        assert (seen(disk), self.newest) == (before, count)

    # --- gc ---

    @rule(left=st.none() | st.integers(1, 40), action=ACTIONS)
    def prune(self, left: int | None, action: str) -> None:
        """Remove whatever no ref leads to, after a gc that was killed on its way."""
        disk, memory = self.repos
        if left is not None:
            count = self.newest
            disk.close()
            cut_off(self.directory, gc, left, action)
            self.repos[0] = disk = Repository.open(self.directory)
            assert not disk.fsck().problems
            with disk.odb.read() as txn:
                came_so_far = disk.oplog.newest(txn) > count
            if came_so_far:
                gc(memory)
        for phase in range(2):
            preview = disk.gc_preview(grace=0, expire=0)
            removed = gc(disk)
            assert removed == preview
            assert phase == 0 or removed.states == 0
            gc(memory)
        self._forget()

    @rule(name=NAME)
    def purge(self, name: str) -> None:
        """Remove a run for good: what only it led to is gone at once."""
        model, alone = self.model, self.both(lambda repo: name in repo.runs)
        log = model.logs.get(name, [])
        named = {oid for oid in log if oid}
        if self.both(lambda repo: repo.purge(name).runs, NotFound, Conflict) != (name,):
            assert (not alone and not log) or model.head == name
            return
        assert alone or log
        own = model.ancestors(*named)
        kept = model.ancestors(*self.both(roots))
        for repo in self.repos:
            with repo.odb.read() as txn:
                assert not any(repo.odb.exists(txn, oid) for oid in own - kept)
            with pytest.raises(NotFound):
                repo.reflog("runs/" + name)
        model.logs.pop(name, None)
        model.states = {
            oid: known
            for oid, known in model.states.items()
            if all(self._exists(repo, oid) for repo in self.repos)
        }
        assert kept <= set(model.states)
        self.first, self.reverts = self.newest, {}
        before, model.logs = model.logs, {}
        self.follow()
        assert before.keys() <= model.logs.keys()
        self.after = {self.newest: [seen(repo) for repo in self.repos]}

    def _exists(self, repo: Repository, oid: Any) -> bool:
        with repo.odb.read() as txn:
            return repo.odb.exists(txn, oid)

    def _forget(self) -> None:
        """Take from the model what no ref leads to."""
        model = self.model
        kept = model.ancestors(*self.both(roots))
        gone = set(model.states) - kept
        model.states = {oid: known for oid, known in model.states.items() if oid in kept}
        for repo in self.repos:
            with repo.odb.read() as txn:
                assert not any(repo.odb.exists(txn, oid) for oid in gone)
        model.logs = {}
        self.follow()
        newest = self.newest
        self.first, self.reverts = newest, {}
        self.after = {newest: [seen(repo) for repo in self.repos]}

    # --- transport ---

    @rule(left=st.none() | st.integers(1, 9), action=ACTIONS)
    def go_on_with_a_clone(self, left: int | None, action: str) -> None:
        disk, memory = self.repos
        target = tempfile.mkdtemp(prefix="simgit-model-")
        if left is not None:
            cut_off(self.directory, lambda repo: _clone(repo, target), left, action)
        if not (Path(target) / ".simgit" / "format").exists():
            Repository.clone(self.directory, target).close()
        clone = Repository.open(target)
        assert seen(clone) == seen(disk)
        assert clone.size() <= disk.size() + OWN
        disk.close()
        shutil.rmtree(self.directory)
        self.directory, self.repos = target, [clone, memory]

    @precondition(lambda self: any(run.oid for run in self.model.runs.values()))
    @rule(on_disk=st.booleans(), twice=st.booleans())
    def carry_a_bundle(self, on_disk: bool, twice: bool) -> None:
        """Bring all runs and tags to a new repository, and compare all that they lead to."""
        model, target = self.model, tempfile.mkdtemp(prefix="simgit-bundle-")
        names = [name for name, run in model.runs.items() if run.oid]
        packed = BytesIO()
        self.repos[0].create_bundle(packed, [*names, *model.tags])
        with Repository.init(target if on_disk else ":memory:") as other:
            for _ in range(2 if twice else 1):
                packed.seek(0)
                other.import_bundle(packed)
            assert {n: other.runs[n].oid for n in other.runs} == {
                n: model.runs[n].oid for n in names
            }
            assert {n: dict(other.runs[n].config) for n in names} == {
                n: {**model.runs[n].inherited, **model.runs[n].own} for n in names
            }
            assert {n: oid for n, (oid, _) in other.tags().items()} == model.tags
            tips = [model.runs[n].oid for n in names]
            for oid in model.ancestors(*[t for t in tips if t], *model.tags.values()):
                assert other.state(oid).parents == model.states[oid].parents
                assert other.attachments(oid) == self.repos[0].attachments(oid)
            assert not other.fsck().problems
        shutil.rmtree(target)

    # --- undo, as far back as it is known ---

    def changed(self, number: int) -> bool:
        return number > self.first and super().changed(number)

    def standing(self) -> list[int]:
        return [number for number in super().standing() if number > self.first]

    @precondition(lambda self: self.newest > self.first)
    @rule(back=st.integers(0, 6))
    def undo_one(self, back: int) -> None:
        number = self.newest - back
        assume(number > self.first)
        self.take_back(lambda repo: repo.undo(number).number, number)

    @rule(back=st.integers(0, 12))
    def restore(self, back: int) -> None:
        number = max(self.newest - back, self.first)
        self.both(lambda repo: repo.restore_operation(number))
        assert [seen(repo) for repo in self.repos] == self.after[number]
        self.follow()

    @rule(back=st.integers(0, 12), left=st.integers(1, 9), action=ACTIONS)
    def crash_restore(self, back: int, left: int, action: str) -> None:
        number = max(self.newest - back, self.first)
        self.crash(lambda repo: repo.restore_operation(number), left, action)

    @precondition(lambda self: self.first > 2)
    @rule()
    def what_is_forgotten_cannot_be_undone(self) -> None:
        number = self.first - 2  # the one after it was the newest when gc came, and stays, empty
        assert self.both(lambda repo: repo.undo(number), NotFound) is NotFound

    @invariant()
    def every_operation_can_be_looked_at(self) -> None:
        if not hasattr(self, "repos"):
            return
        now, newest = [seen(repo) for repo in self.repos], self.newest
        assert self.after.setdefault(newest, now) == now  # nothing changes without an operation
        number = self.first + self.step_number * 7 % (newest + 1 - self.first)
        past = [seen(repo.at_operation(number)) for repo in self.repos]
        assert past == self.after[number]


def _clone(repo: Repository, target: str) -> None:
    assert repo.worktree is not None
    Repository.clone(repo.worktree, target).close()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=share(40),
    stateful_step_count=25,
    suppress_health_check=list(HealthCheck),
)
