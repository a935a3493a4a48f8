"""What every transport promises: subclass ``TransportContract`` and provide ``open_it``."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from simgit.errors import (
    AlreadyExists,
    Conflict,
    IntegrityError,
    InvalidInput,
    NotFound,
    TransportError,
)
from simgit.remotes.transport import Listed, Transport, probe_conditions

KEYS = [
    "heads",
    "packs/ab/abcdef",
    "packs/ab-c/x",
    "packs/ab/x.tmp",
    "refs/runs/CON@",
    "refs/runs/aux.txt@",
    "refs/runs/walk@",
    "refs/runs/walk-1@",
    "refs/runs/walk/1@",
    "refs/runs/walk/1/deep/er@",
    "refs/runs/Walk@",
    "refs/runs/%E6%AD%A9%23@",
    "refs/runs/~a_b+c=d@e,f.@",
    f"refs/runs/{'%E6%AD%A9' * 60}@",
    f"refs/runs/{'%E6%AD%A9' * 60}/{'x' * 255}@",
    f"refs/runs/{'y' * 200}@",
    f"refs/runs/{'y' * 200}/below@",
    f"refs/runs/{'y' * 200}+@",
    f"refs/runs/{'y' * 201}.@",
    "simgit-remote",
]
"""Keys in no order: some begin as others do, and some are long."""


class TransportContract:
    """The suite; a subclass's fixture ``open_it`` opens an empty store, the same at each call."""

    @pytest.fixture
    def transport(self, open_it: Callable[[], Transport]) -> Iterator[Transport]:
        with open_it() as transport:
            yield transport

    def test_what_is_put_is_got_by_another_transport(
        self, transport: Transport, open_it: Callable[[], Transport]
    ) -> None:
        for i, key in enumerate(KEYS):
            transport.put(key, b"%d" % i)
        with open_it() as other:
            for i, key in enumerate(KEYS):
                got = other.get(key)
                assert got is not None and got.data == b"%d" % i
                assert type(got.data) is bytes
                head = other.head(key)
                assert head == Listed(key, len(got.data), head.modified, got.etag)
                assert head.modified == pytest.approx(got.modified, abs=1)

    def test_a_missing_object_is_not_found(self, transport: Transport) -> None:
        transport.put("refs/runs/a", b"")
        for key in ("none", "refs", "refs/runs", "refs/runs/a/b", "refs/runs/b"):
            with pytest.raises(NotFound, match=f"no object '{key}' in '"):
                transport.get(key)
            with pytest.raises(NotFound):
                transport.get(key, unless="0")
            with pytest.raises(NotFound):
                transport.head(key)
            with pytest.raises(NotFound):
                transport.get_range(key, 0, 1)
            with pytest.raises(NotFound):
                transport.get_range(key, -1, 1)

    def test_no_more_of_an_object_is_read_than_it_may_have(self, transport: Transport) -> None:
        transport.put("a", bytes(1000))
        got = transport.get("a", most=1000)
        assert got is not None and got.data == bytes(1000)
        with pytest.raises(IntegrityError, match=r"'a' in .* has more than the 999 bytes"):
            transport.get("a", most=999)

    def test_an_empty_store_has_nothing(self, transport: Transport) -> None:
        assert list(transport.list("")) == []
        assert list(transport.list("refs/runs")) == []
        transport.delete([])
        transport.delete(["refs/runs/a"])

    def test_an_object_that_is_known_is_not_sent_again(self, transport: Transport) -> None:
        etag = transport.put("a", b"x" * 1000)
        transport.put("b", b"y" * 1000)
        before = transport.counts.requests
        assert transport.get("a", unless=etag) is None
        assert transport.counts.received == 0
        got = transport.get("b", unless=etag)
        assert got is not None and got.data == b"y" * 1000
        assert transport.counts.requests == before + 2

    def test_a_put_replaces(self, transport: Transport) -> None:
        first = transport.put("a/b", b"1" * 100)
        second = transport.put("a/b", b"2")
        assert first != second
        got = transport.get("a/b")
        assert got is not None and (got.data, got.etag) == (b"2", second)

    def test_an_etag_is_the_same_from_every_call(self, transport: Transport) -> None:
        etags = [transport.put_new("a", b"1"), transport.head("a").etag]
        got = transport.get("a")
        assert got is not None
        etags += [got.etag, *(each.etag for each in transport.list("", etags=True))]
        assert len(set(etags)) == 1 and etags[0]

    def test_a_file_is_put_from_where_it_stands(self, transport: Transport) -> None:
        file = io.BytesIO(b"head" + b"body" * 1000)
        file.seek(4)
        before = transport.counts.sent
        transport.put("a", file)
        assert transport.counts.sent - before == 4000
        got = transport.get("a")
        assert got is not None and got.data == b"body" * 1000
        transport.put("a", io.BytesIO())
        got = transport.get("a")
        assert got is not None and got.data == b""

    def test_a_range_is_what_was_asked_for(self, transport: Transport) -> None:
        transport.put("a", bytes(range(100)))
        whole = bytes(range(100))
        before = transport.counts.received
        assert transport.get_range("a", 0, 1) == whole[:1]
        assert transport.get_range("a", 10, 20) == whole[10:30]
        assert transport.get_range("a", 90, 1000) == whole[90:]
        assert transport.get_range("a", -7, 0) == whole[-7:]
        assert transport.get_range("a", -1000, 1) == whole
        assert transport.counts.received - before == 1 + 20 + 10 + 7 + 100
        assert type(transport.get_range("a", 0, 1)) is bytes
        with pytest.raises(InvalidInput, match="object 'a' has 100 bytes, none at 100"):
            transport.get_range("a", 100, 1)
        with pytest.raises(InvalidInput, match="at least 1 byte, got 0"):
            transport.get_range("a", 3, 0)
        transport.put("empty", b"")
        assert transport.get_range("empty", -5, 5) == b""

    def test_a_listing_has_what_is_below_a_prefix_in_order(self, transport: Transport) -> None:
        for key in KEYS:
            transport.put(key, key.encode())
        for prefix in ("", "packs", "packs/ab", "refs", "refs/runs/walk/", "refs/runs", KEYS[-2]):
            below = f"{prefix.rstrip('/')}/" if prefix else ""
            found = list(transport.list(prefix))
            assert [each.key for each in found] == sorted(k for k in KEYS if k.startswith(below))
            assert all(each.size == len(each.key) for each in found)
        assert list(transport.list("refs/ru")) == []
        assert list(transport.list("simgit-remote")) == []
        assert all(each.etag for each in transport.list("", etags=True))

    def test_a_listing_is_of_pages(self, transport: Transport) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: transport.put(f"refs/runs/{i:04}", b"x"), range(1005)))
        before = transport.counts.requests
        assert [each.key[-4:] for each in transport.list("refs/runs")] == [
            f"{i:04}" for i in range(1005)
        ]
        assert transport.counts.requests - before == 2
        transport.delete(f"refs/runs/{i:04}" for i in range(1002))
        assert transport.counts.requests - before == 4
        assert len(list(transport.list(""))) == 3

    def test_what_is_deleted_is_not_there(self, transport: Transport) -> None:
        for key in KEYS:
            transport.put(key, b"1")
        transport.delete(iter([*KEYS[:-1], "missing/one"]))
        assert [each.key for each in transport.list("")] == KEYS[-1:]
        transport.put_new(KEYS[0], b"2")

    def test_a_new_object_is_written_once(self, transport: Transport) -> None:
        etag = transport.put_new("refs/runs/a", b"1")
        with pytest.raises(AlreadyExists, match="object 'refs/runs/a' is already in '") as caught:
            transport.put_new("refs/runs/a", b"2")
        assert caught.value.__dict__["key"] == "refs/runs/a"
        got = transport.get("refs/runs/a")
        assert got is not None and (got.data, got.etag) == (b"1", etag)

    def test_an_object_is_replaced_only_if_it_is_the_known_one(self, transport: Transport) -> None:
        first = transport.put_new("refs/runs/a", b"1")
        second = transport.put_if("refs/runs/a", b"2", first)
        for key, etag in [("refs/runs/a", first), ("refs/runs/b", first)]:
            with pytest.raises(Conflict, match=f"object '{key}' in '.*' was changed by somebody"):
                transport.put_if(key, b"3", etag)
        got = transport.get("refs/runs/a")
        assert got is not None and (got.data, got.etag) == (b"2", second)
        assert [each.key for each in transport.list("")] == ["refs/runs/a"]
        transport.delete(["refs/runs/a"])
        with pytest.raises(Conflict):
            transport.put_if("refs/runs/a", b"3", second)

    @pytest.mark.parametrize(
        "key",
        ["", "/a", "a/", "a//b", "..", "a/../b", "./a", ".locks/00", "a/.b", "a b", "a\\b", "é",
         "a\n", "a\0", "a?b", "a#b", "a*", "a:b", "x" * 901],
    )  # fmt: skip
    def test_what_is_no_key_is_refused_before_anything_is_asked(
        self, transport: Transport, key: str
    ) -> None:
        before = transport.counts.requests
        calls: list[Callable[[], object]] = [
            lambda: transport.get(key),
            lambda: transport.get_range(key, 0, 1),
            lambda: transport.head(key),
            lambda: transport.put(key, b""),
            lambda: transport.put_new(key, b""),
            lambda: transport.put_if(key, b"", "0"),
            lambda: transport.delete([key]),
        ]
        if key not in ("", "a/"):  # which are prefixes
            calls.append(lambda: list(transport.list(key)))
        for call in calls:
            with pytest.raises(InvalidInput, match="key of an object"):
                call()
        assert transport.counts.requests == before

    def test_the_longest_key_can_be_used(self, transport: Transport) -> None:
        for key in ("x" * 900, "/".join(["y" * 99] * 9)):
            transport.put_new(key, b"1")
            assert [each.key for each in transport.list(key[: key.rfind("/") + 1])] == [key]

    def test_threads_that_write_one_new_object_leave_one_winner(self, transport: Transport) -> None:
        def write(i: int) -> bool:
            start.wait()
            try:
                transport.put_new("refs/runs/a", b"%d" % i * 1000)
            except AlreadyExists:
                return False
            winners.append(i)
            return True

        winners: list[int] = []
        start = threading.Barrier(8)
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(write, range(8))) == 1
        got = transport.get("refs/runs/a")
        assert got is not None and got.data == b"%d" % winners[0] * 1000

    def test_threads_that_count_by_comparing_lose_nothing(self, transport: Transport) -> None:
        def count(_: int) -> None:
            for _ in range(5):
                increase(transport, "refs/runs/a")

        transport.put_new("refs/runs/a", b"")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(count, range(8)))
        got = transport.get("refs/runs/a")
        assert got is not None and got.data.count(b"\n") == 40

    def test_counts_are_exact_under_threads(self, transport: Transport) -> None:
        def work(i: int) -> None:
            for j in range(5):
                transport.put(f"packs/{i}/{j}", b"x" * 10)
                transport.get(f"packs/{i}/{j}")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        counts = transport.counts
        assert (counts.requests, counts.sent, counts.received, counts.retries) == (80, 400, 400, 0)

    def test_its_store_keeps_conditions(self, transport: Transport) -> None:
        assert probe_conditions(transport, "probes") == transport.conditional == self.conditional
        assert list(transport.list("")) == []

    conditional = "exclusive"

    def test_a_closed_transport_is_closed_again(self, transport: Transport) -> None:
        transport.close()
        transport.close()


def increase(transport: Transport, key: str) -> None:
    """Add a line to an object, whoever else does so, and whatever answers are lost."""
    line = uuid4().hex.encode() + b"\n"
    while True:
        got = transport.get(key)
        assert got is not None
        if line in got.data:  # the answer was lost
            return
        try:
            transport.put_if(key, got.data + line, got.etag)
            return
        except Conflict:
            continue
        except TransportError as error:
            if not error.unknown:
                raise
