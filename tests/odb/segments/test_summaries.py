"""Summaries say what the rows say, however the states came into the store."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from simgit import Repository
from simgit.errors import SimgitError
from simgit.objects.rows import unpack_row
from simgit.objects.schema import Schema
from simgit.odb.location import Location
from simgit.odb.segments import summaries
from simgit.odb.segments.header import last_header
from simgit.odb.segments.lines import read_line
from simgit.odb.segments.summaries import Summary, encode, scalars, unsummarised
from simgit.storage.lmdb import LmdbStorage

SMALL = 8
"""Steps of a block in these tests, instead of 2048."""
VALUES = st.sampled_from([0, 1, -3, True, 0.5, -0.0, 1e300, math.nan, math.inf, -math.inf, None])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "BLOCK_ROWS", SMALL)


def entries(repo: Repository) -> dict[bytes, bytes]:
    with repo.odb.read() as txn:
        return dict(txn.scan("summaries"))


def lines(repo: Repository) -> Iterator[tuple[int, int, int]]:
    """Yield number, first step and end of each line."""
    with repo.odb.read() as txn:
        for key, _ in list(txn.scan("lines")):
            number = int.from_bytes(key, "big")
            yield number, read_line(txn, number).step, last_header(txn, number).end


def numbers(
    value: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], list[float]]]:
    """Yield the numbers of a state by field, as a person would list them."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from numbers(item, (*path, name))
    elif isinstance(value, (bool, int, float, np.generic, np.ndarray)):
        found = np.asarray(value)
        if found.dtype.kind in "biuf" and found.size <= 8:
            yield path, found.astype(float).reshape(-1).tolist()


def model(states: list[dict[str, Any]], schema: Schema) -> list[list[float]]:
    """Return absent, least, greatest, sum and last of each scalar."""
    seen = [dict(numbers(state)) for state in states]
    out = []
    for path, (_, count) in sorted(scalars(schema).places.items(), key=lambda each: each[1]):
        for k in range(count):
            found = [each[path][k] + 0.0 for each in seen if len(each.get(path, ())) == count]
            found = [value for value in found if not math.isnan(value)]
            total = 0.0
            for value in found:
                total += value
            known = (min(found), max(found), total, found[-1]) if found else (0.0,) * 4
            out.append([float(len(states) - len(found)), *known])
    return out


def assert_true(repo: Repository, whole: bool = False) -> None:
    """Every entry says what its states say; with ``whole`` there is one for all states."""
    ends = {number: (first, end) for number, first, end in lines(repo)}
    for key, value in entries(repo).items():
        number, block = int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")
        first, end = ends[number]
        start = max(first, block * SMALL)
        stop = start + int.from_bytes(value[:2], "little")
        assert start < stop <= min(end, (block + 1) * SMALL)
        with repo.odb.read() as txn:
            rows = [repo.odb.states.row(txn, Location(number, s))[2] for s in range(start, stop)]
        states = [unpack_row(row, 0) for row in rows]
        schema = rows[-1].schema
        decoded = summaries.decode(key, value, scalars(schema).count)
        np.testing.assert_array_equal(decoded.values.T, np.array(model(states, schema)))
    if whole:
        with repo.odb.read() as txn:
            assert not any(unsummarised(txn, number) for number in ends)


def append(rec: Any, rng: np.random.Generator, values: list[Any], box: int | None = 2) -> None:
    value = values[rng.integers(len(values))]
    info = {} if value is None else {"x": value}
    if rng.integers(4) == 0:
        info["small"] = np.float32(rng.normal())
    reset = {"seed": 3} if rng.integers(5) == 0 else {}
    observation = rng.normal(size=box).astype(np.float32)
    if reset:
        rec.append(observation, info=info, reset=reset)
    else:
        rec.append(observation, int(rng.integers(2)), rng.normal(), info=info)


@given(
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(1, 3 * SMALL), st.integers(1, 20), st.booleans()), max_size=5),
    st.lists(VALUES, min_size=1, max_size=4),
)
def test_summaries_are_true_of_any_flushes_forks_and_values(
    seed: int, parts: list[tuple[int, int, bool]], values: list[Any]
) -> None:
    rng = np.random.default_rng(seed)
    with Repository.init(":memory:") as repo:
        run, length = "main", 0
        for number, (count, flush, fork) in enumerate([(5, 2, False), *parts]):
            if fork:
                length = int(rng.integers(length)) + 1
                repo.branch(f"r{number}", f"{run}@{length - 1}")
                run = f"r{number}"
            with repo.recorder(run, flush_every=flush) as rec:
                for _ in range(count):
                    append(rec, rng, values)
            length += count
        assert_true(repo, whole=True)
        written = entries(repo)
        assert repo.fsck().is_clean
        with repo.odb.write() as txn:
            for key in written:
                txn.delete("summaries", key)
        repo.gc()
        assert entries(repo) == written  # to the last bit, wherever flushes cut


def test_single_commits_and_long_flushes_give_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for name in ("commits", "flush"):
        rng = np.random.default_rng(1)
        with Repository.init(tmp_path / name) as repo:
            if name == "flush":
                with repo.recorder("main") as rec:
                    for _ in range(30):
                        rec.append(rng.normal(size=3), rng.integers(2), rng.normal(), False, False)
            else:
                for _ in range(30):
                    repo.commit(
                        rng.normal(size=3), rng.integers(2), rng.normal(), False, False, run="main"
                    )
            found.append(entries(repo))
    assert found[0] == found[1] and len(found[0]) == 4


def test_what_is_a_scalar() -> None:
    with Repository.init(":memory:") as repo:
        info = {
            "lives": 3, "name": "x", "none": None, "complex": 1j, "bytes": b"x",
            "eight": np.zeros((2, 4), np.int8), "nine": np.zeros(9), "date": np.zeros(1, "M8[s]"),
            "half": np.float16(1), "nested": {"flag": True}, "empty": np.zeros(0),
        }  # fmt: skip
        repo.commit({"a": np.zeros(1), "b": 1.5}, 1, 2.0, True, False, info)
        with repo.odb.read() as txn:
            header = repo.odb.states.header(txn, Location(0, 0))
            found = scalars(repo.odb.schema(txn, header.schema))
    places = {".".join(path): count for path, (_, count) in found.places.items()}
    assert [*places][:3] == ["reward", "terminated", "truncated"]
    assert places == {
        "reward": 1, "terminated": 1, "truncated": 1, "action": 1, "info.eight": 8, "info.half": 1,
        "info.lives": 1, "info.nested.flag": 1, "observation.a": 1, "observation.b": 1,
    }  # fmt: skip


def test_a_field_too_many_ends_the_scalars() -> None:
    with Repository.init(":memory:") as repo:
        repo.commit(0, 0, 1.0, False, False, {f"k{i:03}": i for i in range(300)})
        with repo.odb.read() as txn:
            header = repo.odb.states.header(txn, Location(0, 0))
            assert scalars(repo.odb.schema(txn, header.schema)).count == summaries.MAX_SCALARS
        assert repo.fsck().is_clean


def test_an_entry_has_the_bytes_that_the_page_says() -> None:
    """docs/store-layout.md §5.5: these bytes never change."""
    key = bytes(15) + b"\x05"
    values = np.array([[1, 0], [-2, 0], [0.5, 0], [-1.5, 0], [0.5, 0]], float)
    values[0, 1] = 3
    value = encode(key, Summary(3, values))
    body = bytes.fromhex("0300c0c08000c000c000c000f03f0840c0e03ff8bfe03f")
    assert value == body + blake3(key + body).digest(8)
    decoded = summaries.decode(key, value, 2)
    assert decoded.rows == 3
    np.testing.assert_array_equal(decoded.values, values)


def test_removed_states_leave_no_summary_behind(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        with repo.recorder("main", flush_every=7) as rec:
            for i in range(60):
                rec.append(i, i, float(i), False, False)
        repo.branch("kept", "main@20")
        repo.branch("whole", "kept")
        with repo.recorder("whole", flush_every=7) as rec:
            for i in range(9):
                rec.append(i, i, float(i), False, False)
        for run in ("main", "whole"):
            repo.checkout("kept")
            repo.delete_run(run, force=True)
        repo.gc(grace=0, expire=0)
        assert [end for _, _, end in lines(repo)] == [21]
        assert_true(repo, whole=True)
        assert len(entries(repo)) == 3
        assert repo.fsck().is_clean


def test_conflict_runs_bundles_and_clones_have_their_summaries(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "a") as repo:
        rng = np.random.default_rng(0)
        with repo.recorder("main", flush_every=5) as rec:
            for _ in range(30):
                append(rec, rng, [1, None, math.nan])
        assert_true(repo, whole=True)
        repo.create_bundle(tmp_path / "bundle", ["main"])
        written = entries(repo)
    with Repository.init(tmp_path / "b") as other:
        other.import_bundle(tmp_path / "bundle")
        assert entries(other) == written
    with Repository.clone(tmp_path / "a", tmp_path / "c") as clone:
        assert entries(clone) == written


def drop_table(path: Path) -> None:
    env = lmdb.open(str(path / ".simgit"), max_dbs=20, lib_version=0)
    with env.begin(write=True) as txn:
        txn.drop(env.open_db(b"summaries", txn=txn, create=False))
    env.close()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A repository without the table, as earlier versions made it."""
    with Repository.init(tmp_path) as repo, repo.recorder("main", flush_every=20) as rec:
        for i in range(40):
            rec.append(i, i, float(i), False, False)
    drop_table(tmp_path)
    return tmp_path


def test_a_store_without_the_table_is_read_and_not_changed(old: Path) -> None:
    before = (old / ".simgit" / "data.mdb").read_bytes()
    with Repository.open(old, read_only=True) as repo:
        assert entries(repo) == {}
        with repo.odb.read() as txn:
            assert txn.get("summaries", b"x") is None and txn.last("summaries") is None
            assert txn.floor("summaries", b"x") is None and txn.count("summaries") == 0
            assert list(txn.scan("summaries", reverse=True)) == []
            assert len(unsummarised(txn, 0)) == 5
        with pytest.raises(SimgitError, match="ended"):
            txn.get("summaries", b"x")
        assert repo.fsck().is_clean and repo.stats().tables["summaries"] == 0
        assert repo.trajectory("main").rewards.sum() == sum(range(40))
    assert (old / ".simgit" / "data.mdb").read_bytes() == before


def test_the_table_is_made_by_a_writer_and_filled_by_gc(old: Path) -> None:
    with Repository.open(old, read_only=True) as reader:
        with Repository.open(old) as repo:
            with repo.recorder("main") as rec:
                for i in range(10):
                    rec.append(i, i, float(i), False, False)
            assert_true(repo)
            repo.gc()
            assert_true(repo, whole=True)
        assert reader.runs["main"].step == 49


def test_an_older_program_leaves_entries_that_stay_true(tmp_path: Path) -> None:
    """It appends without them, and shortens lines without removing them."""
    with Repository.init(tmp_path) as repo:
        with repo.recorder("main", flush_every=20) as rec:
            for i in range(20):
                rec.append(i, i, float(i), False, False)
        saved = entries(repo)
        with repo.recorder("main", flush_every=20) as rec:
            for i in range(20):
                rec.append(i, i, float(i), False, False)
        with repo.odb.write() as txn:
            for key in entries(repo):
                txn.delete("summaries", key)
            for key, value in saved.items():
                txn.put("summaries", key, value)
        with repo.recorder("main", flush_every=20) as rec:
            for i in range(20):
                rec.append(i, i, float(i), False, False)
        assert_true(repo)
        assert repo.fsck().is_clean


@pytest.mark.parametrize("how", ["flipped", "wrong", "longer", "stray", "short"])
def test_damage_is_found_and_repaired(tmp_path: Path, how: str) -> None:
    with Repository.init(tmp_path) as repo:
        with repo.recorder("main", flush_every=20) as rec:
            for i in range(20):
                rec.append(i, i, float(i), False, False)
        written = entries(repo)
        key = max(written)
        value = written[key]
        with repo.odb.write() as txn:
            match how:
                case "flipped":
                    txn.put("summaries", key, bytes([value[0] ^ 1]) + value[1:])
                case "short":
                    txn.put("summaries", key, value[:9])
                case "stray":
                    txn.put("summaries", b"\x07" + key[1:], value)
                case _:
                    found = summaries.decode(key, value, 5)
                    rows, values = found.rows + (how == "longer"), found.values.copy()
                    values[summaries.GREATEST, 0] += how == "wrong"
                    txn.put("summaries", key, encode(key, Summary(rows, values)))
        with repo.recorder("main", flush_every=20) as rec:
            rec.append(1, 1, 1.0, False, False)  # which goes on all the same
        report = repo.fsck()
        assert [each.kind for each in report.problems] == ["summaries"]
        assert repo.repair().report.is_clean
        assert_true(repo, whole=True)


def test_lmdb_makes_the_table_when_a_store_is_opened_for_writing(old: Path) -> None:
    storage = LmdbStorage.open(old / ".simgit")
    with storage.write() as txn:
        txn.put("summaries", b"k", b"v")
        assert txn.get("summaries", b"k") == b"v"
    storage.close()
