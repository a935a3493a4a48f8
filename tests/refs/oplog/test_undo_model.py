"""Undo, redo, restore and the past do what snapshots of everything would do, in any order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from simgit import Conflict, NotFound, Repository
from simgit.refs.remotes import run_refs
from tests.repository.test_repository_model import RepositoryMachine, Run, names
from tests.support.examples import share
from tests.support.tracking import forget, track

Seen = dict[tuple[Any, ...], dict[str, Any]]
"""Run, run of a remote, tag, HEAD or binding to its fields."""


def seen(repo: Repository) -> Seen:
    """Return all that undo has to bring back."""
    found: Seen = {("HEAD",): {"head": repo.head}}
    with repo.odb.read() as txn:
        for full, run in run_refs(txn):
            kind, _, name = full.partition("/")
            found[kind.removesuffix("s"), name] = {
                field: getattr(run, field)
                for field in ("oid", "step", "record", "status", "ended", "created", "parent",
                              "episodes", "returned")
            }  # fmt: skip
        for name, tag in repo.refs.tags(txn):
            found["tag", name] = {"oid": tag.oid, "tag": tag.tag}
        for key, value in txn.scan("attachments"):
            found["attachment", key] = {"oid": value}
    return found


class Clash(Exception):
    """What was changed was changed again since."""


def taken_back(now: Seen, before: Seen, after: Seen) -> Seen:
    """Return what is there when the change from ``before`` to ``after`` is taken back now."""
    found = dict(now)
    for key in before.keys() | after.keys():
        old, new, current = before.get(key), after.get(key), now.get(key)
        if old == new:
            continue
        if key[0] in ("run", "remote") and old and new:
            changed = [name for name in new if new[name] != old[name]]
            if current is None or any(current[name] != new[name] for name in changed):
                raise Clash
            found[key] = current | {name: old[name] for name in changed}
        elif current != new:
            raise Clash
        elif old is None:
            del found[key]
        else:
            found[key] = old
    for key in now.keys() - found.keys():
        head = found["HEAD",]["head"]
        if key == ("run", head) and before["HEAD",]["head"] != head:
            raise Clash
        for other, fields in found.items():
            is_below = key[0] == other[0] == "run" and fields["parent"] == key[1]
            if is_below and now.get(other) == fields:
                found[other] = fields | {"parent": None}
    return found


class UndoMachine(RepositoryMachine):
    """The state machine of the repository, with undo, redo, restore and looks at the past.

    The model is a snapshot of everything after each operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.after: dict[int, list[Seen]] = {}
        self.reverts: dict[int, int] = {}

    @property
    def newest(self) -> int:
        found = self.both(lambda repo: [each.number for each in repo.operations(1)])
        return int(found[0]) if found else 0

    def standing(self) -> list[int]:
        """Return the operations that nothing has taken back, the newest first."""
        gone: set[int] = set()
        found = []
        for number in range(self.newest, 0, -1):
            if number not in gone:
                found.append(number)
                gone.add(self.reverts.get(number, 0))
        return found

    def changed(self, number: int) -> bool:
        return self.after[number] != self.after[number - 1]

    def expected_undo(self) -> int | None:
        mine = (n for n in self.standing() if n not in self.reverts and self.changed(n))
        return next(mine, None)

    def expected_redo(self) -> int | None:
        for number in self.standing():
            if number not in self.reverts:
                if self.changed(number):
                    return None
            elif self.reverts[number] not in self.reverts:
                return number
        return None

    def take_back(self, call: Any, target: int) -> None:
        """Call; check that it takes back an operation, or that it cannot."""
        found = next(each for each in self.repos[0].operations() if each.number == target)
        if not found.changes and not found.moves:
            for repo in self.repos:
                with pytest.raises(NotFound, match="it changed nothing"):
                    call(repo)
            return
        wanted = []
        for i, repo in enumerate(self.repos):
            try:
                sides = self.after[target - 1][i], self.after[target][i]
                wanted.append(taken_back(seen(repo), *sides))
            except Clash:
                wanted.append({})
        before = [seen(repo) for repo in self.repos]
        count = self.newest
        if self.both(call, Conflict) is Conflict:
            assert wanted == [{}, {}]
            assert [seen(repo) for repo in self.repos] == before
            assert self.newest == count
            return
        assert [seen(repo) for repo in self.repos] == wanted
        if self.newest > count:
            self.reverts[self.newest] = target
        self.follow()

    def follow(self) -> None:
        """Let the model of the other rules be what the repositories are now."""
        model, repo = self.model, self.repos[0]
        model.head = repo.head
        model.tags = {name: oid for name, (oid, _) in repo.tags().items()}
        model.runs = {
            info.name: Run(
                info.oid, dict(info.overrides), dict(info.config), info.status == "completed"
            )
            for info in repo.runs.values()
        }
        before = model.logs
        with repo.odb.read() as txn:  # a rename that is taken back moves a log to a name of old
            logged = {key[5:-9].decode() for key, _ in txn.scan("log", b"runs/", b"runs0")}
        for name in {*model.logs, *model.runs, *logged}:
            try:
                found = self.both(lambda r, n=name: [e.new for e in r.reflog("runs/" + n)])
            except NotFound:
                found = []
            model.logs[name] = found
        assert sum(map(len, model.logs.values())) >= sum(map(len, before.values()))

    # --- what is done ---

    @precondition(lambda self: self.model.states)
    @rule(data=st.data(), value=st.integers(0, 2))
    def attach(self, data: st.DataObject, value: int) -> None:
        oid = self.some(data)
        self.both(lambda repo: repo.attach(oid, "note", [value]))

    @precondition(lambda self: self.model.states)
    @rule(data=st.data())
    def detach_attachment(self, data: st.DataObject) -> None:
        oid = self.some(data)
        self.both(lambda repo: repo.detach(oid, "note"), NotFound)

    @rule(short=st.sampled_from(["origin/main", "origin/x"]), run=names)
    def fetch(self, short: str, run: str) -> None:
        known = self.model.runs.get(run)
        if known is not None and known.oid:
            self.both(lambda repo: track(repo, short, run))

    @rule(short=st.sampled_from(["origin/main", "origin/x"]))
    def untrack(self, short: str) -> None:
        self.both(lambda repo: forget(repo, short), NotFound)

    @rule()
    def undo(self) -> None:
        target = self.expected_undo()
        if target is None:
            assert self.both(lambda repo: repo.undo(), NotFound) is NotFound
        else:
            self.take_back(lambda repo: repo.undo().number, target)

    @rule()
    def redo(self) -> None:
        target = self.expected_redo()
        if target is None:
            assert self.both(lambda repo: repo.redo(), NotFound) is NotFound
        else:
            self.take_back(lambda repo: repo.redo().number, target)

    @precondition(lambda self: self.newest)
    @rule(back=st.integers(0, 6))
    def undo_one(self, back: int) -> None:
        number = self.newest - back
        assume(number > 0)
        self.take_back(lambda repo: repo.undo(number).number, number)

    @rule(back=st.integers(0, 12))
    def restore(self, back: int) -> None:
        number = max(self.newest - back, 0)
        self.both(lambda repo: repo.restore_operation(number))
        assert [seen(repo) for repo in self.repos] == self.after[number]
        self.follow()

    # --- what has to hold ---

    @invariant()
    def every_operation_can_be_looked_at(self) -> None:
        if not hasattr(self, "repos"):
            return
        now = [seen(repo) for repo in self.repos]
        newest = self.newest
        if newest not in self.after:
            assert newest == 0 or newest - 1 in self.after  # one operation a call
        self.after.setdefault(newest, now)
        assert self.after[newest] == now  # nothing changes without an operation
        number = self.step_number * 7 % (newest + 1)
        past = [seen(repo.at_operation(number)) for repo in self.repos]
        assert past == self.after[number]


TestUndo = UndoMachine.TestCase
TestUndo.settings = settings(
    max_examples=share(40),
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
