"""A bundle that several processes import gives what one gives: contents, errors, order of them."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import InvalidInput, NotFound, Repository, StorageError
from simgit.errors import SimgitError
from simgit.process import is_alive, writer_of
from simgit.remotes.bundle import decoding, loading, records, worker
from simgit.remotes.bundle.states_head import decode_head
from simgit.storage.base import TABLES
from tests.remotes.test_bundle import LIES, bundled, joined, parts

JOBS = 3
Worker = decoding._Worker


class Kept(Worker):
    """A process that outlives the imports of this file; it is ready, and counts its records."""

    given = 0

    def __init__(self, max_object: int) -> None:
        super().__init__(max_object)
        self.receive(waits=True)

    def send(self, task: decoding._Task) -> None:
        Kept.given += 1
        super().send(task)

    def kill(self) -> None:
        while self.count:  # what the import has not waited for
            self.receive(waits=True)


@pytest.fixture(scope="module")
def workers() -> Iterator[list[Kept]]:
    made = [Kept(records.MAX_OBJECT) for _ in range(JOBS - 1)]
    yield made
    for each in made:
        Worker.kill(each)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small bundle be in many batches, and be enough for processes to be started."""
    monkeypatch.setattr(decoding, "START", 0)
    monkeypatch.setattr(loading, "BATCH", 5_000)


@pytest.fixture
def kept(workers: list[Kept], monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter(workers * 1000)
    monkeypatch.setattr(decoding, "_Worker", lambda max_object: next(free))
    Kept.given = 0


@pytest.fixture(scope="module")
def source() -> Repository:
    """Return a repository with records of one state and of many, of each kind that there is."""
    repo = Repository.init(":memory:")
    rng = np.random.default_rng(0)
    with repo.recorder("main", flush_every=70, seed=7, config={"lr": 0.1}) as rec:
        for i in range(400):
            rec.append(np.float32([i, i / 3]), i % 4, float(i), i % 100 == 99)
    with repo.recorder("infos", flush_every=30) as rec:
        for i in range(100):
            rec.append([i, "é" * (i % 5)], i, info={"n": str(i), "of": {"all": [i, None]}})
    with repo.recorder("frames", flush_every=10) as rec:
        for i in range(40):
            frame = rng.integers(0, 9, (9, 9, 4), np.uint8) if i % 3 else np.zeros((9, 9, 4), "u1")
            rec.append({"frame": frame, "x": i}, i)
    repo.branch("try", "main@200", overrides={"lr": 0.5})
    repo.branch("child", "try~100", overrides={"lr": 0.3})
    for i in range(3):
        repo.commit({"y": i}, i, 1.0, run="try")
        repo.commit({"y": i}, i, 2.0, run="child", message=f"child {i}")
    repo.commit({"m": 1}, run="try", parents=["child", "frames"])
    repo.commit({"f": 1}, run="files", files={"a/b.py": b"1\n", "big": rng.bytes(70_000)})
    for step in (0, 150, 399):
        repo.attach(f"main@{step}", "agent", {"weights": np.arange(300.0) + step, "step": step})
    repo.tag("v1", "main@150", message="annotated")
    return repo


ALL = ("main", "infos", "frames", "try", "child", "files", "tags/v1")
WITH_TIMES = {"meta", "refs", "log", "operations", "pending"}


@pytest.fixture(scope="module")
def whole(source: Repository) -> bytes:
    return bundled(source, *ALL)


def outcome(data: bytes, jobs: int, known: bytes | None = None) -> dict[str, Any]:
    """Return all that an import leaves: what it says, its error, refs, and what is stored."""
    repo = Repository.init(":memory:")
    if known is not None:
        repo.import_bundle(io.BytesIO(known))
    told: list[int] = []
    found: dict[str, Any] = {"told": told}
    try:
        found["done"] = repo.import_bundle(io.BytesIO(data), jobs=jobs, progress=told.append)
    except SimgitError as error:
        found["error"] = type(error), str(error)
    report = repo.fsck()
    assert report.is_clean
    with repo.odb.read() as txn:
        found |= {table: dict(txn.scan(table)) for table in set(TABLES) - WITH_TIMES}
    found["states"] = report.states
    found["runs"] = {name: (run.oid, run.config) for name, run in repo.runs.items()}
    found["tags"] = repo.tags()
    return found


def check_same(data: bytes, known: bytes | None = None) -> dict[str, Any]:
    one = outcome(data, 1, known)
    assert outcome(data, JOBS, known) == one
    return one


def test_every_kind_of_thing_is_imported_as_by_one_process(
    kept: None, source: Repository, whole: bytes
) -> None:
    found = check_same(whole)
    assert found["runs"] == {name: (run.oid, run.config) for name, run in source.runs.items()}
    assert found["tags"] == source.tags() and found["states"] == source.fsck().states
    assert Kept.given > 10
    for refs in (("frames", "tags/v1"), ("child",)):
        check_same(bundled(source, *refs))


def test_states_that_are_there_are_passed_over(
    kept: None, source: Repository, whole: bytes
) -> None:
    part = bundled(source, "child", "frames")
    found = check_same(whole, known=part)
    assert 0 < found["done"].states < found["states"]
    Kept.given = 0
    assert check_same(whole, known=whole)["done"].states == 0
    assert Kept.given == 0
    rest = bundled(source, *ALL, exclude=["main@170", "frames@20"])
    check_same(rest, known=bundled(source, "main", "frames"))
    assert check_same(rest)["error"][0] is NotFound


def test_records_left_out_repeated_or_moved_end_in_the_same_way(kept: None, whole: bytes) -> None:
    found = parts(whole)
    states = [i for i, (kind, _) in enumerate(found) if kind == records.STATES]
    schemas = {decode_head(found[i][1]).schema: i for i in reversed(states)}
    first = [i for i, (_, body) in enumerate(found) if body[:32] in schemas]
    for i in (states[0], states[len(states) // 2], states[-1], *first[:1]):
        check_same(joined(found[:i] + found[i + 1 :]))
        check_same(joined([*found[: i + 1], *found[i:]]))
        check_same(joined([*found[:i], *found[i + 1 : i + 3], found[i], *found[i + 3 :]]))
    for name in ("states of nothing", "states of no schema", "states without rows", "a name"):
        for at in (states[1], states[-1]):
            assert "error" in check_same(joined([*found[:at], LIES[name], *found[at:]]))


def test_damaged_states_are_refused_with_the_same_words(kept: None, whole: bytes) -> None:
    found = parts(whole)
    states = [i for i, (kind, _) in enumerate(found) if kind == records.STATES]
    errors = set()
    for i in (states[1], states[-1]):
        body = found[i][1]
        head = decode_head(body).size
        for at in (0, 5, 40, 70, head - 2, head + 3, len(body) // 2, len(body) - 3):
            damaged = bytearray(body)
            damaged[at] ^= 0x41
            changed = [*found[:i], (records.STATES, bytes(damaged)), *found[i + 1 :]]
            result = check_same(joined(changed))
            errors.add(result["error"][1].partition("'")[0] if "error" in result else "")
    assert len(errors) > 4, errors


def test_of_two_errors_the_first_is_raised(kept: None, whole: bytes) -> None:
    found = parts(whole)
    states = [i for i, (kind, _) in enumerate(found) if kind == records.STATES]
    for early, late in ((0, 1), (1, 3), (2, len(states) - 1)):
        changed = list(found)
        for each, cut in ((states[early], 7), (states[late], 3)):
            changed[each] = records.STATES, found[each][1][:-cut]
        check_same(joined(changed))
        data = joined(changed)
        check_same(data[: len(data) * 2 // 3])


def test_a_bundle_that_is_cut_or_damaged_leaves_the_same(kept: None, whole: bytes) -> None:
    for at in range(5000, len(whole), len(whole) // 3):
        assert "truncated" in check_same(whole[:at])["error"][1]
        damaged = bytearray(whole)
        damaged[at] ^= 1
        assert "error" in check_same(bytes(damaged))
    assert "after its end" in check_same(whole + b"x")["error"][1]


def test_what_inflates_to_more_than_is_kept_is_decoded_when_it_is_needed(
    kept: None, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "IN_FLIGHT", 4_000)  # a record of many states has more
    check_same(whole)
    some = Kept.given
    monkeypatch.setattr(decoding, "IN_FLIGHT", 100)
    check_same(whole)
    assert 0 < Kept.given < 2 * some


def test_a_slow_process_is_helped(
    kept: None, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "AHEAD", 1)
    here: list[bytes] = []
    usual = worker.decoded

    def counted(schema: Any, body: bytes, max_object: int) -> Any:
        here.append(body)
        return usual(schema, body, max_object)

    def receive(self: Kept, waits: bool = False) -> None:
        if waits:  # what comes before it is waited for comes too late
            Worker.receive(self, waits)

    monkeypatch.setattr(worker, "decoded", counted)
    monkeypatch.setattr(Kept, "receive", receive)
    check_same(whole)
    assert here and Kept.given


def test_few_states_start_no_process(whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "START", 1 << 20)
    monkeypatch.setattr(decoding, "_Worker", None)
    check_same(whole)


def test_a_number_of_processes_is_one_or_more(whole: bytes) -> None:
    for jobs in (0, -1, 1.5, "2", 10_000):
        with pytest.raises(InvalidInput, match="jobs must be"):
            Repository.init(":memory:").import_bundle(io.BytesIO(whole), jobs=jobs)  # type: ignore[arg-type]


# --- processes that end ---------------------------------------------------------------------------


def test_a_process_that_is_killed_ends_the_import(
    whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, Any]] = []

    class Killed(Worker):
        def __init__(self, max_object: int) -> None:
            super().__init__(max_object)
            self.receive(waits=True)
            begun.append(writer_of(self._process.pid or 0))

        def send(self, task: decoding._Task) -> None:
            super().send(task)
            if self.count == 2:
                os.kill(begun[0]["pid"], signal.SIGKILL)

    monkeypatch.setattr(decoding, "_Worker", Killed)
    repo = Repository.init(":memory:")
    with pytest.raises(StorageError, match=r"exit code -9.*run the import again") as caught:
        repo.import_bundle(io.BytesIO(whole), jobs=3)
    assert "\n" not in str(caught.value)
    assert not repo.runs and not repo.tags()
    assert len(begun) == 2 and not any(map(is_alive, begun))
    repo.import_bundle(io.BytesIO(whole))
    assert repo.fsck().is_clean and repo.runs["main"].step == 399


SCRIPT = """
import multiprocessing, sys, time
from simgit import Repository
from simgit.remotes.bundle import decoding, loading

def reading(data):
    at = 0
    def read(size):
        nonlocal at
        if at > len(data) // 2:
            print(*(each.pid for each in multiprocessing.active_children()), flush=True)
            time.sleep(600)
        at += size
        return data[at - size : at]
    return read

class Stream:
    def __init__(self, path):
        self.read = reading(open(path, "rb").read())

if __name__ == "__main__":
    decoding.START, loading.BATCH = 0, 5_000
    Repository.init(":memory:").import_bundle(Stream(sys.argv[1]), jobs=3)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_processes_end_with_the_import(
    whole: bytes, tmp_path: Path, how: signal.Signals
) -> None:
    script, bundle = tmp_path / "script.py", tmp_path / "b"
    script.write_text(SCRIPT)
    bundle.write_bytes(whole)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, script, bundle], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, env=environment,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None and parent.stderr is not None
        others = [writer_of(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(others) == 2 and all(map(is_alive, others))
        if how == signal.SIGINT:
            os.killpg(parent.pid, how)  # as a terminal does
        else:
            parent.kill()
        said = parent.stderr.read()
        assert parent.wait() != 0
    while any(map(is_alive, others)):
        time.sleep(0.01)
    if how == signal.SIGINT:
        assert said.count("KeyboardInterrupt") == said.count("Traceback") == 1
