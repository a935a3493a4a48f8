"""Refs, reflogs and operations that somebody made up, checksums and all, raise our own errors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simgit import Repository, SimgitError
from simgit.cli.output import when
from simgit.refs.records import pack_ref
from tests.support.examples import share

SETTINGS = settings(max_examples=share(60), suppress_health_check=list(HealthCheck))
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5)
    | st.binary(max_size=3) | st.just(bytes(32))
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)


def records() -> dict[tuple[str, bytes], dict[str, Any]]:
    """Return a good record of each kind by its table and key."""
    from simgit.refs.records import unpack_ref

    with repository() as repo, repo.odb.read() as txn:
        keys = [
            ("refs", b"runs/main"), ("refs", b"tags/v"), ("refs", b"HEAD"),
            ("log", b"runs/main\0" + bytes(8)),
            ("operations", (3).to_bytes(8, "big") + bytes(4)),
            ("operations", (3).to_bytes(8, "big") + bytes(3) + b"\1"),
            ("operations", (4).to_bytes(8, "big") + bytes(3) + b"\1"),
        ]  # fmt: skip
        return {key: unpack_ref(txn.get(*key) or b"") for key in keys}


def repository() -> Repository:
    repo = Repository.init(":memory:")
    repo.commit(0)
    repo.commit(1)
    repo.tag("v")
    repo.attach("main", "note", b"hello")
    repo.checkout("main~1")
    return repo


RECORDS = records()


def look(repo: Repository) -> None:
    """Ask everything that reads refs and operations; only our own errors may come."""
    questions = (
        repo.runs.values, repo.tags, repo.reflog, repo.operations, repo.changes, repo.fsck,
        lambda: repo.head, lambda: repo.reflog("main"), lambda: repo.resolve("main@{1}"),
        lambda: [repo.changes(number) for number in range(1, 6)],
        lambda: [when(each.time) for each in repo.operations()],
        lambda: list(repo.at_operation(1).runs.values()), lambda: list(repo.log(every=True)),
        lambda: repo.undo(3), lambda: repo.undo(4), repo.undo, repo.redo,
        lambda: repo.restore_operation(2), lambda: repo.commit(2, run="main"),
        lambda: repo.checkout("main"), lambda: repo.rename_run("main", "x"),
    )  # fmt: skip
    for question in questions:
        try:
            question()
        except SimgitError:
            continue


@pytest.mark.parametrize("where", RECORDS, ids=lambda where: f"{where[0]}-{where[1].hex()}")
@SETTINGS
@given(data=st.data())
def test_a_made_up_record_raises_our_own_errors(
    where: tuple[str, bytes], data: st.DataObject
) -> None:
    record = dict(RECORDS[where])
    name = data.draw(st.sampled_from([*record, "other"]))
    if data.draw(st.booleans()):
        record[name] = data.draw(values)
    else:
        record.pop(name, None)
    for side in ("old", "new"):
        if isinstance(record.get(side), dict) and data.draw(st.booleans()):
            inner = dict(record[side])
            inner[data.draw(st.sampled_from([*inner, "oid", "run", "binding"]))] = data.draw(values)
            record[side] = inner
    repo = repository()
    with repo.odb.write() as txn:
        txn.put(*where, pack_ref(record))
    look(repo)
