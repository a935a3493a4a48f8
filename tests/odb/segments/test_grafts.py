"""Grafts: docs/store-layout.md §4.1, byte by byte, and what is written anew when one is joined."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3

from simgit import Missing, Repository
from simgit.objects.oid import Oid
from simgit.objects.rows import Rows
from simgit.odb.location import Location
from simgit.odb.segments.batch import Graft, StateBatch
from simgit.odb.segments.lines import GRAFTS, graft_of, grafts, read_line

PARENT = bytes(range(32))


def rows_of(repo: Repository, run: str, start: int, stop: int) -> tuple[Rows, list[bytes]]:
    """Return states of a run, and their oids."""
    with repo.odb.read() as txn:
        line = repo.refs.run(txn, run).line
        oids = repo.odb.states.all_oids(txn, line, start, stop)
        parts = [rows for _, rows in repo.odb.states.rows(txn, line, start, stop)]
        assert len(parts) == 1
        return Rows(parts[0].schema, parts[0].fixed, parts[0].variable), oids


@pytest.fixture
def source(tmp_path: Path) -> Any:
    with Repository.init(tmp_path / "a") as repo:
        with repo.recorder("main") as rec:
            for i in range(300):
                reset = {"seed": i} if i % 50 == 0 else None
                rec.append(np.float64(i), i % 2, float(i % 7), reset=reset)
        yield repo


def store(repo: Repository, source: Repository, start: int, stop: int) -> Location:
    """Store some of the states of a run as they come from a remote."""
    rows, oids = rows_of(source, "main", start, stop)
    parent = bytes(source.resolve(f"main@{start - 1}")) if start else b""
    with source.odb.read() as txn:
        line = read_line(txn, source.refs.run(txn, "main").line)
    with repo.odb.write() as txn:
        repo.odb.put(txn, rows.schema)
        place = repo.odb.states.locate(txn, parent) if start else None
        parents = () if place is None else (repo.odb.states.tip(txn, place),)
        graft = Graft((parent,), start, "origin") if start and place is None else None
        origin = b"" if start else line.origin
        batch = StateBatch(rows, oids, parents, origin, None, graft)
        return repo.odb.states.append(txn, batch).place


def test_its_bytes(source: Repository) -> None:
    with Repository.init(":memory:") as repo:
        place = store(repo, source, 60, 70)
        number = (1 << 61) + (60 << 24)
        assert place == Location(number, 69)
        with repo.odb.read() as txn:
            key = number.to_bytes(8, "big")
            value = txn.get("lines", key)
            header = txn.get("segments", key + (60).to_bytes(8, "big"))
            parent = bytes(source.resolve("main@59"))
            nowhere = (1 << 64) - 1
            body = struct.pack(
                "<QQQQQIQBB", 60, 60, nowhere, 0, nowhere, 0, number, 0b100, 1
            ) + parent  # fmt: skip
            assert value == body + blake3(body).digest(8)
            assert header is not None
            fields = struct.unpack_from("<BI32s32s32sQQdHH", header)
            assert fields[3:7] == (parent, bytes(source.resolve("main@69")), nowhere, nowhere)
            assert fields[7] != fields[7]
            assert txn.get("meta", b"grafts") == b""
            assert txn.get("meta", b"graft\0" + parent + key) == b"origin" + blake3(
                b"origin"
            ).digest(8)
            assert not list(txn.scan("children"))
            assert grafts(txn) == [(parent, number)] and graft_of(txn, number) is not None


@pytest.mark.parametrize(
    "parts",
    [
        [(200, 300), (100, 200), (0, 100)],
        [(0, 100), (200, 300), (100, 200)],
        [(120, 130), (110, 125), (0, 300)],
        [(299, 300), (1, 2), (40, 60), (0, 300)],
        [(150, 250), (0, 300)],
        [(50, 100), (150, 200), (250, 300), (0, 300)],
    ],
)
def test_parts_in_any_order_become_one_history(
    source: Repository, parts: list[tuple[int, int]]
) -> None:
    with Repository.init(":memory:") as repo:
        for start, stop in parts:
            store(repo, source, start, stop)
        with repo.odb.read() as mine, source.odb.read() as theirs:
            assert not grafts(mine)
            states = 0
            for key, _ in mine.scan("lines"):
                number = int.from_bytes(key, "big")
                line = read_line(mine, number)
                assert line.parent_line < number or line.is_root
                for _, rows in repo.odb.states.rows(mine, number, line.step, _end(mine, number)):
                    states += rows.count
            assert states == 300  # none is there twice
            main = source.refs.run(theirs, "main").line
            tip = repo.odb.locate(mine, source.resolve("main"))
            for step in range(300):
                oid = source.resolve(f"main@{step}")
                place = repo.odb.states.ancestor(mine, tip, step)
                assert repo.odb.states.locate(mine, oid) == place
                standing = repo.odb.states.standing(mine, repo.odb.states.header(mine, place), step)
                there = source.odb.states
                header = there.header(theirs, Location(main, step))
                assert standing == pytest.approx(there.standing(theirs, header, step))


def _end(txn: Any, line: int) -> int:
    from simgit.odb.segments.header import last_header

    return last_header(txn, line).end


def test_a_walk_stops_at_it(source: Repository) -> None:
    from simgit.odb import ancestry

    with Repository.init(":memory:") as repo:
        low, high = store(repo, source, 60, 70), store(repo, source, 100, 110)
        assert low.line < high.line and low.line >= GRAFTS
        odb = repo.odb
        with odb.read() as txn:
            assert ancestry.ancestor(txn, high, 100) == Location(high.line, 100)
            for ask in (
                lambda: ancestry.ancestor(txn, high, 99),
                lambda: ancestry.parents_at(odb, txn, Location(high.line, 100)),
                lambda: list(ancestry.line_ranges(txn, high)),
                lambda: ancestry.merge_bases(odb, txn, low, high),
                lambda: ancestry.is_ancestor(odb, txn, low, high),
                lambda: ancestry.ahead_behind(odb, txn, low, high),
                lambda: ancestry.episode_start(odb, txn, high, 1),
                lambda: ancestry.episode_of(odb, txn, high),
            ):
                with pytest.raises(Missing):
                    ask()
            assert ancestry.reach(odb, txn, [high]) == {high.line: 109}
            assert [*ancestry.line_ranges(txn, high, shallow=True)] == [(high.line, 100, 110)]
            assert ancestry.ahead_behind(odb, txn, high, high._replace(step=105)) == (4, 0)


def test_a_merge_below_it(source: Repository) -> None:
    """Where a history is merged, another common ancestor may lie in what is not here."""
    from simgit.odb import ancestry

    with Repository.init(":memory:") as repo:
        low, high = store(repo, source, 60, 70), store(repo, source, 100, 110)
        oids = [Oid(source.resolve(f"main@{step}")) for step in (69, 109)]
        repo.commit({"m": 1}, run="merged", parents=[oid.hex() for oid in oids])
        odb = repo.odb
        with odb.read() as txn:
            tip = repo.refs.run(txn, "merged").place
            assert tip.line > high.line and tip.step == 70
            assert ancestry.merge_bases(odb, txn, tip, high) == [high]
            assert ancestry.is_ancestor(odb, txn, low, tip)
        repo.commit({"x": 1}, run="other")
        with odb.read() as txn, pytest.raises(Missing):
            other = repo.refs.run(txn, "other").place
            ancestry.merge_bases(odb, txn, tip, other)
        store(repo, source, 0, 100)
        with odb.read() as txn:
            assert not grafts(txn)
            tip = repo.refs.run(txn, "merged").place
            assert ancestry.merge_bases(odb, txn, tip, other) == []
            assert odb.states.tip(txn, tip).episode == 3 - 1
