"""Numbers that no writer writes, in every kind of record, with right checksums around them.

Whatever is forged: only our own errors come, everything ends, and what ``fsck`` calls good can be
read, with the states that were recorded.
"""

from __future__ import annotations

import io
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import settings

from simgit import IntegrityError, Repository, SimgitError
from simgit.maintenance.fsck import Repaired
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.refs.records import pack_ref, unpack_ref
from simgit.repository.store import Store
from simgit.storage.base import TABLES
from simgit.storage.memory import MemoryStorage
from tests.support.examples import FULL, share

Tables = dict[str, dict[bytes, bytes]]
Place = tuple[str, bytes]
SECONDS: Final = 120
"""After these something is taken to hang: it takes some hundredths of one."""
NUMBERS: Final = (
    0,
    1,
    2,
    255,
    1 << 31,
    (1 << 32) - 1,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
MSGPACK: Final = (-(1 << 63), -1, 0, 1, 1 << 31, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


@contextmanager
def ending() -> Iterator[None]:
    """Fail if the block does not end."""

    def late(*_: object) -> None:
        raise AssertionError("does not end")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def filled() -> Tables:
    """Return the tables of a store with entries in each of them."""
    with Repository.init(":memory:") as repo:
        for run, count in (("main", 150), ("other", 70)):
            with repo.recorder(run, flush_every=50, config={"lr": 0.5}) as rec:
                for i in range(count):
                    image = np.full((16, 17), i, np.uint8)
                    rec.append(
                        {"x": np.float32([i]), "image": image}, i, 1.0,
                        reset={"seed": i} if i % 40 == 39 else None, info={"text": f"{run}{i}"},
                    )  # fmt: skip
        repo.branch("b", "main@100", overrides={"lr": 2})
        repo.commit({"x": 1}, run="b")
        repo.branch("c", "b~1")
        repo.commit({"x": 7}, run="c", parents=["other"])
        repo.tag("v1", "main@50", message="annotated")
        repo.attach("main", "agent", {"w": np.arange(999.0)})
        repo.attach("main~1", "agent", {"w": np.arange(999.0) + 1})
        repo.attach("main", "file", bytes(range(256)) * 40)
        repo.odb.put_blob(io.BytesIO(bytes(range(251)) * 500).read)
        repo.branch("gone", "main@20")
        repo.commit({"x": 3}, run="gone")
        repo.delete_run("gone")
        repo.undo()
        repo.redo()
        repo.set_setting("gc.reflog", 30)
        repo.gc()
        repo.commit({"x": 9}, run="c")
        repo.add_remote("origin", "memory://forged-numbers")
        with repo.remote() as remote:
            remote.push(["main"])
        repo.checkout("main~2")
        assert repo.fsck().is_clean
        with repo.odb.read() as txn:
            tables = {table: dict(txn.scan(table)) for table in TABLES}
    assert not [table for table, entries in tables.items() if not entries]
    return tables


def opened(tables: Tables) -> Repository:
    storage = MemoryStorage()
    with storage.write() as txn:
        for table, entries in tables.items():
            for key, value in entries.items():
                txn.put(table, key, value)
    return Repository(Store(storage))


def states(repo: Repository) -> Any:
    return sorted(
        (line.oid, line.step, line.episode, line.reward or 0) for line in repo.log(every=True)
    )


def columns(repo: Repository) -> Any:
    found = [repo.trajectory(name) for name in repo.runs]
    return [
        (t.returns.tolist(), t.lengths.tolist(), [str(text) for text in t.column("info.text")])
        for t in found
    ]


def arrays(repo: Repository) -> Any:
    return repo.trajectory("main").column("observation.image").sum()


READS: Final[dict[str, Callable[[Repository], object]]] = {
    "states": states,
    "columns": columns,
    "arrays": arrays,
    "runs": lambda repo: [(run.config, run.step, run.episodes) for run in repo.runs.values()],
    "lineage": lambda repo: [repo.lineage(run) for run in repo.runs],
    "tags": lambda repo: repo.tags(),
    "reflogs": lambda repo: [repo.reflog(name) for name in ("HEAD", "main", "c", "gone")],
    "operations": lambda repo: [repo.changes(each.number) for each in repo.operations()],
    "settings": lambda repo: repo.settings(),
    "episodes": lambda repo: [repo.episodes(name) for name in repo.runs],
    "find": lambda repo: (repo.state("main@ep2.3").value, repo.state("c~3").oid),
    "outline": lambda repo: list(repo.outline(every=True)),
    "bases": lambda repo: (repo.merge_bases("main", "c"), repo.leaves(), repo.children("main@100")),
    "diff": lambda repo: (repo.diff_runs("main", "b"), repo.diff_configs("main", "b")),
    "attachments": lambda repo: [
        repo.attachment(state, name)
        for state in ("main", "main~1") for name in repo.attachments(state)
    ],
    "stats": lambda repo: repo.stats(),
    "preview": lambda repo: (repo.gc_preview(grace=0, expire=0), repo.unreachable()),
    "bundle": lambda repo: repo.create_bundle(io.BytesIO(), list(repo.runs)),
    "past": lambda repo: [list(repo.at_operation(n).runs.values()) for n in (3, 9)],
    "status": lambda repo: (repo.head, repr(repo.trajectory("main")), repo.runs["main"]._repr_html_()),
}  # fmt: skip
WRITES: Final[dict[str, Callable[[Repository], object]]] = {
    "undo": lambda repo: repo.undo(),
    "redo": lambda repo: repo.redo(),
    "restore": lambda repo: repo.restore_operation(9),
    "commit": lambda repo: repo.commit({"x": 1}, run="main"),
    "fork": lambda repo: repo.branch("new", "other~3"),
    "record": lambda repo: repo.commit({"x": 1}, run="new"),
    "attach": lambda repo: repo.attach("main~3", "agent", {"w": np.arange(999.0)}),
    "rename": lambda repo: repo.rename_run("b", "bb"),
    "gc": lambda repo: repo.gc(grace=0, expire=0),
    "repair": lambda repo: repo.repair(),
    "log": states,
}


def answers(
    repo: Repository, questions: dict[str, Callable[[Repository], object]]
) -> dict[str, Any]:
    """Return what each question gives; only our own errors may come."""
    found: dict[str, Any] = {}
    for name, question in questions.items():
        try:
            with ending():
                found[name] = question(repo)
        except SimgitError as error:
            found[name] = error
    return found


STORE: Final = filled()
BEFORE: Final = answers(opened(STORE), READS)
FREE: Final = {"refs", "log", "operations", "meta", "pending"}
"""Tables whose numbers are not all derived from others: times, processes, settings."""


def check(tables: Tables, what: str) -> None:
    """Check that a forged store is refused, or found out, or as good as before."""
    table = what.partition("/")[0]
    try:
        with ending():
            clean = opened(tables).fsck().is_clean
        found = answers(opened(tables), READS)
        if clean:
            for name, answer in found.items():
                if name == "past" and "whole" in what:
                    continue  # older operations may have been removed
                assert not isinstance(answer, SimgitError), (what, name, answer)
                if name in ("states", "columns", "arrays") and table not in FREE:
                    assert answer == BEFORE[name], (what, name)
        answers(opened(tables), WRITES)
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error


def sealed(value: bytes, new: bytes) -> bytes:
    """Return changed bytes with a right checksum, if the original had one."""
    if checksum(value[:-CHECKSUM_SIZE]) == value[-CHECKSUM_SIZE:]:
        return new[:-CHECKSUM_SIZE] + checksum(new[:-CHECKSUM_SIZE])
    return new


def test_nothing_is_wrong_with_the_store_itself() -> None:
    assert not [answer for answer in BEFORE.values() if isinstance(answer, SimgitError)]
    check(STORE, "whole")
    done = answers(opened(STORE), WRITES)
    assert not [answer for answer in done.values() if isinstance(answer, SimgitError)], done


def forged_bytes(rng: random.Random, table: str) -> tuple[Tables, str]:
    """Return the store with a number somewhere in the bytes of a value or a key replaced."""
    key = rng.choice(list(STORE[table]))
    value = STORE[table][key]
    in_key = rng.random() < 0.2
    data = key if in_key else value
    width = rng.choice([w for w in (1, 2, 4, 8) if w <= len(data)] or [0])
    end = len(data) if in_key or len(data) <= CHECKSUM_SIZE else len(data) - CHECKSUM_SIZE
    at = rng.randrange(max(1, min(end, 400) - width + 1))
    order: Any = rng.choice(["big", "little"])
    before = int.from_bytes(data[at : at + width], order)
    number = rng.choice((*NUMBERS, before + 1, before - 1)) % (1 << 8 * width)
    new = data[:at] + number.to_bytes(width, order) + data[at + width :]
    changed = dict(STORE[table])
    if in_key:
        changed[new] = changed.pop(key)
    else:
        changed[key] = sealed(value, new)
    where = "key" if in_key else "value"
    return STORE | {table: changed}, f"{table}/{key.hex()}: {where}[{at}:{at + width}] = {number}"


@pytest.mark.slow
@pytest.mark.parametrize("table", [table for table in STORE if table not in ("blocks",)])
def test_a_forged_number_anywhere(table: str, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(share(24)):
        check(*forged_bytes(rng, table))


@pytest.mark.slow
@pytest.mark.parametrize("number", [(1 << 62) - 1, 1 << 62, (1 << 63) - 1, (1 << 64) - 1])
def test_a_line_with_a_number_that_none_has(number: int) -> None:
    key = next(iter(STORE["lines"]))
    changed = dict(STORE["lines"])
    changed[number.to_bytes(8, "big")] = changed.pop(key)
    tables = STORE | {"lines": changed}
    check(tables, f"lines: {number}")
    assert isinstance(answers(opened(tables), {"repair": WRITES["repair"]})["repair"], Repaired)


FIELDS: Final = {
    "lines": (0, 60, 4), "segments": (101, 130, 8), "oids": (1, 17, 8), "pending": (0, 8, 8),
    "groups": (0, 16, 8),
}  # fmt: skip
"""Where the numbers of 8 bytes of a record begin: from, to, and every so many bytes."""


def some(rng: random.Random, cases: list[Any], full: int) -> list[Any]:
    """Return some of the cases: in the profile ``full`` so many, in the quick one a 24th of it."""
    count = share(full) if settings().max_examples >= FULL else share(full // 3)
    return rng.sample(cases, min(len(cases), count))


@pytest.mark.slow
@pytest.mark.parametrize("table", FIELDS)
def test_fields_of_a_record(table: str, seed: int) -> None:
    """Aligned numbers of the first and the last record of a table."""
    start, stop, step = FIELDS[table]
    cases = [
        (key, at, number)
        for key in (min(STORE[table]), max(STORE[table]))
        for at in range(start, min(stop, len(STORE[table][key])) - 7, step)
        for number in NUMBERS
    ]
    for key, at, number in some(random.Random(seed), cases, 120):
        value = STORE[table][key]
        new = value[:at] + number.to_bytes(8, "little") + value[at + 8 :]
        changed = STORE[table] | {key: sealed(value, new)}
        check(STORE | {table: changed}, f"{table}/{key.hex()}[{at}] = {number}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "number"), [(0, (1 << 62) - 1), (101, 3), (101, (1 << 64) - 1), (109, 3)]
)
def test_the_place_and_the_episode_before_a_segment(at: int, number: int) -> None:
    """An episode that is not that of the state before was good for fsck, and broke the log."""
    table = "lines" if at < 100 else "segments"
    key = max(STORE[table])
    value = STORE[table][key]
    new = value[:at] + number.to_bytes(8, "little") + value[at + 8 :]
    forged = STORE | {table: STORE[table] | {key: sealed(value, new)}}
    assert not opened(forged).fsck().is_clean
    check(forged, f"{table}[{at}] = {number}")


def numbers_in(record: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(record, dict):
        for name, value in record.items():
            yield from numbers_in(value, (*path, name))
    elif isinstance(record, list):
        for i, value in enumerate(record):
            yield from numbers_in(value, (*path, i))
    elif type(record) in (int, float):
        yield path


def replaced(record: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    name, *rest = path
    if isinstance(record, list):
        return [replaced(v, tuple(rest), value) if i == name else v for i, v in enumerate(record)]
    return {k: replaced(v, tuple(rest), value) if k == name else v for k, v in record.items()}


def records() -> dict[str, tuple[Place, tuple[Any, ...]]]:
    """Return one place for each number of each kind of record that is a map."""
    found: dict[str, tuple[Place, tuple[Any, ...]]] = {}
    for table in ("refs", "log", "operations", "meta"):
        for key, value in STORE[table].items():
            try:
                record = unpack_ref(value)
            except SimgitError:
                continue
            kind = table if table != "operations" else f"{table}-{key[8:] == bytes(4)}"
            kind += f"-{key[:5].decode(errors='replace')}" if table in ("refs", "meta") else ""
            for path in numbers_in(record):
                found.setdefault(f"{kind}-{'.'.join(map(str, path))}", ((table, key), path))
    return found


RECORDS: Final = records()


@pytest.mark.slow
def test_numbers_of_a_map(seed: int) -> None:
    cases = [(where, number) for where in RECORDS for number in MSGPACK]
    for where, number in some(random.Random(seed), cases, 120):
        (table, key), path = RECORDS[where]
        record = unpack_ref(STORE[table][key])
        changed = STORE[table] | {key: pack_ref(replaced(record, path, number))}
        check(STORE | {table: changed}, f"{where} {table}/{key!r} {path} = {number}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [-1, 1 << 62, (1 << 63) - 1])
@pytest.mark.parametrize("field", ["line", "step", "episodes"])
def test_a_run_at_a_place_that_no_store_has(field: str, number: int) -> None:
    """It raised struct.error."""
    key = b"runs/b"
    changed = pack_ref(unpack_ref(STORE["refs"][key]) | {field: number})
    forged = STORE | {"refs": STORE["refs"] | {key: changed}}
    assert not opened(forged).fsck().is_clean
    check(forged, f"runs/b {field} = {number}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["next-line", "next-index", "whole", "settled", "collected"])
def test_counters(name: str, seed: int) -> None:
    cases = [n.to_bytes(9, "big")[9 - size :] for n in NUMBERS for size in (8, 7, 9, 0)]
    at_end = b"\xff" * 8
    for value in [at_end, *some(random.Random(seed), cases, 12)]:
        changed = STORE["meta"] | {name.encode(): value}
        check(STORE | {"meta": changed}, f"meta/{name} = {value.hex()}")
    if name in ("next-line", "next-index"):
        at_its_end = opened(STORE | {"meta": STORE["meta"] | {name.encode(): at_end}})
        assert not at_its_end.fsck().is_clean
        at_its_end.repair()
        assert at_its_end.fsck().is_clean
        at_its_end.commit({"x": 1}, run="anew")


def test_a_run_whose_ref_names_another_state_is_not_read() -> None:
    key = b"runs/b"
    other = unpack_ref(STORE["refs"][b"runs/c"])["oid"]
    changed = pack_ref(unpack_ref(STORE["refs"][key]) | {"oid": other})
    repo = opened(STORE | {"refs": STORE["refs"] | {key: changed}})
    for read in (repo.trajectory, repo.state, lambda name: list(repo.log(name))):
        with pytest.raises(IntegrityError):
            read("b")
