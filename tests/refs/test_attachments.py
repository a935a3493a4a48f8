from __future__ import annotations

import pytest

from simgit import Repository
from simgit.errors import InvalidInput, NotFound
from simgit.objects.kinds import Blob, ValueObject
from simgit.objects.oid import Oid
from simgit.odb.database import ObjectDatabase
from simgit.odb.trees import store_data
from simgit.recording.states import prepare, store
from simgit.refs.attachments import attach, attachments, detach, find, latest
from simgit.storage.memory import MemoryStorage


def a_state(odb: ObjectDatabase) -> Oid:
    with odb.write() as txn:
        return store(odb, txn, prepare({"reward": [1.0]}, ()), ()).oid


def test_an_attachment_is_found_replaced_and_removed() -> None:
    odb = ObjectDatabase(MemoryStorage())
    state = a_state(odb)
    with odb.write() as txn:
        one, two = odb.put(txn, Blob(b"1")), odb.put(txn, ValueObject(2))
        assert attach(odb, txn, state, "note", "blob", one) is None
        assert attach(odb, txn, state, "note", "value", two) == ("blob", one)
        attach(odb, txn, state, "clock", "blob", one)
        assert attachments(odb, txn, state) == {"clock": ("blob", one), "note": ("value", two)}
        assert find(odb, txn, state, "note") == ("value", two)
        assert detach(odb, txn, state, "note") == ("value", two)
        for name in ("note", "a/b", "", "\udc80", "x" * 600):
            with pytest.raises(NotFound):
                find(odb, txn, state, name)


def test_the_latest_tree_of_a_name_is_known() -> None:
    odb = ObjectDatabase(MemoryStorage())
    state = a_state(odb)
    with odb.write() as txn:
        assert latest(txn, "checkpoint") is None
        kind, oid = store_data(odb, txn, {"a": 1})
        attach(odb, txn, state, "checkpoint", kind, oid)
        attach(odb, txn, state, "video", "blob", odb.put(txn, Blob(b"")))
        assert latest(txn, "checkpoint") == ("tree", oid)
        assert latest(txn, "video") is None


def test_bad_names_kinds_and_targets_are_refused() -> None:
    odb = ObjectDatabase(MemoryStorage())
    state, nothing = a_state(odb), Oid(bytes(32))
    with odb.write() as txn:
        oid = odb.put(txn, Blob(b""))
        for name in ("", "a/b", "..", "a b", ".hidden"):
            with pytest.raises(InvalidInput):
                attach(odb, txn, state, name, "blob", oid)
        with pytest.raises(InvalidInput):
            attach(odb, txn, state, "a", "state", oid)
        with pytest.raises(NotFound):
            attach(odb, txn, nothing, "a", "blob", oid)
        with pytest.raises(NotFound):
            attach(odb, txn, state, "a", "blob", nothing)


def test_the_newest_attachment_of_a_history_is_found() -> None:
    repo = Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        for i in range(10):
            recorder.append(action=i)
    for step in (2, 7):
        repo.attach(f"main@{step}", "agent", {"step": step})
    repo.attach("main@4", "video", b"film")
    repo.branch("try", "main@5")
    with repo.recorder("try") as recorder:
        recorder.append(action=-1)
    repo.attach("try", "agent", {"step": "try"})
    listed = lambda *args: [(each.step, each.name) for each in repo.history_attachments(*args)]  # noqa: E731
    assert listed("main") == [(7, "agent"), (4, "video"), (2, "agent")]
    assert listed("try", "agent") == [(6, "agent"), (2, "agent")]
    assert listed("main@1") == []
    assert repo.history_attachments("main")[0].state == repo.resolve("main@7")
    assert repo.attachment("main", "agent", newest=True) == {"step": 7}
    assert repo.attachment("main@6", "agent", newest=True) == {"step": 2}
    assert repo.attachment("try", "agent", newest=True) == {"step": "try"}
    with pytest.raises(
        NotFound, match="has no attachment 'agent'; the newest before it is at step 7"
    ):
        repo.attachment("main", "agent")
    with pytest.raises(NotFound, match=r"^no state from the first one to '\w+' has"):
        repo.attachment("main", "nope", newest=True)
