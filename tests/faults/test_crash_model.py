"""The state machine of undo, with commands that are cut off at any point and repositories reopened.

Whatever point of a command a process dies at: the repository opens without a repair step, holds
all or nothing of the command, and its operation log says which.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from simgit import Repository, SimgitError
from simgit.testing.failpoints import Fault, arm, traced
from tests.refs.oplog.test_undo_model import UndoMachine, seen
from tests.repository.test_repository_model import NAMES
from tests.support.examples import share

from .processes import start

Command = Callable[[Repository], object]
NAME = st.sampled_from(NAMES)
ACTIONS = st.sampled_from(["exit", "kill"])


def cut_off(path: str | Path, command: Command, left: int, action: str) -> int:
    """Do a command in a child that dies at the ``left``-th fail point; return how it ended."""

    def perform(say: Callable[[Any], None]) -> None:
        with Repository.open(path) as repo:
            repo.name_command("cut off")  # what a program does is undone by that program only
            arm(Fault("*", action, left))
            try:
                command(repo)
            except SimgitError as error:
                say(type(error))

    child = start(perform)
    status = child.wait()
    assert status != 1, child.said[-1]  # an error that is not simgit's own
    return status


class CrashMachine(UndoMachine):
    """Undo in any order, with crashes."""

    def crash(self, command: Command, left: int, action: str) -> None:
        """Cut a command off; do it in memory as well if it was done on disk."""
        disk, memory = self.repos
        before, count = seen(disk), self.newest
        disk.close()
        died = cut_off(self.directory, command, left, action) != 0
        self.repos[0] = disk = Repository.open(self.directory)
        assert not disk.fsck().problems
        number = disk.operation().number if disk.operations(1) else 0
        after = seen(disk)
        assert number in (count, count + 1)
        assert (after != before) <= (number == count + 1)
        if number == count + 1 or not died:
            try:
                command(memory)
            except SimgitError:
                assert number == count
        assert self.newest == number
        if number == count + 1 and disk.operation().reverts is not None:
            self.reverts[number] = disk.operation().reverts or 0
        self.follow()

    @precondition(lambda self: self.model.states)
    @rule(data=st.data(), name=NAME, left=st.integers(1, 9), action=ACTIONS)
    def crash_naming(self, data: st.DataObject, name: str, left: int, action: str) -> None:
        # renamed to its own name a run gets an entry in its reflog and no operation
        oid, other = self.some(data), data.draw(NAME.filter(lambda each: each != name))
        commands: list[Command] = [
            lambda repo: repo.branch(name, oid, overrides={"y": 1}),
            lambda repo: repo.delete_run(name),
            lambda repo: repo.rename_run(name, other),
            lambda repo: repo.tag("v1", oid, force=True),
            lambda repo: repo.delete_tag("v1"),
            lambda repo: repo.checkout(name),
            lambda repo: repo.checkout(oid),
            lambda repo: repo.configure(name, {"x": 7}),
            lambda repo: repo.attach(oid, "note", {"crash": left}),
            lambda repo: repo.detach(oid, "note"),
        ]
        self.crash(data.draw(st.sampled_from(commands)), left, action)

    @rule(left=st.integers(1, 9), action=ACTIONS)
    def crash_undo(self, left: int, action: str) -> None:
        # in another process it is undone by its number only
        target = self.expected_undo()
        assume(target is not None)
        self.crash(lambda repo: repo.undo(target), left, action)

    @rule(left=st.integers(1, 9), action=ACTIONS)
    def crash_redo(self, left: int, action: str) -> None:
        assume(self.expected_redo() is not None)
        self.crash(lambda repo: repo.redo(), left, action)

    @rule(back=st.integers(0, 12), left=st.integers(1, 9), action=ACTIONS)
    def crash_restore(self, back: int, left: int, action: str) -> None:
        number = max(self.newest - back, 0)
        self.crash(lambda repo: repo.restore_operation(number), left, action)


TestCrashes = CrashMachine.TestCase
TestCrashes.settings = settings(
    max_examples=share(40),
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)


def prepared(path: Path) -> None:
    with Repository.init(path) as repo:
        for i in range(3):
            repo.commit(i, files={"n": b"%d" % i})
        repo.branch("x", "main~1")
        repo.attach("x", "note", b"hello")
        repo.tag("v", "x")
        repo.rename_run("main", "trunk")
        repo.checkout("x")
        repo.delete_tag("v")


def several(repo: Repository) -> None:
    """Do several things as one."""
    with repo.transaction("several"):
        repo.branch("y", "x")
        repo.delete_run("trunk")
        repo.checkout("y~1")
        repo.detach("x", "note")


COMMANDS: dict[str, Command] = {
    "undo": lambda repo: repo.undo(9),
    "undo the checkout": lambda repo: repo.undo(8),
    "restore": lambda repo: repo.restore_operation(3),
    "restore nothing": lambda repo: repo.restore_operation(0),
    "several": several,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_dies_anywhere_is_done_or_not(name: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    prepared(whole)
    with Repository.open(whole) as repo:
        before = without_times(repo)
        with traced() as passed:
            COMMANDS[name](repo)
        after = without_times(repo)
    assert before != after
    for left in range(1, len(passed) + 1):
        path = tmp_path / str(left)
        prepared(path)
        assert cut_off(path, COMMANDS[name], left, "kill") != 0
        with Repository.open(path) as repo:
            assert not repo.fsck().problems
            assert without_times(repo) in (before, after), passed[: left + 1]
            if without_times(repo) == before:
                COMMANDS[name](repo)
            assert without_times(repo) == after
            assert not repo.fsck().problems


def without_times(repo: Repository) -> Any:
    """Return what a repository holds, and how many operations lead there."""
    fields = ("oid", "record", "status", "parent", "tag", "head")
    found = {
        key: {name: value[name] for name in fields if name in value}
        for key, value in seen(repo).items()
    }
    return found, len(repo.operations())
