"""What is missing from a damaged store is an error, and never an answer that looks like one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository, SimgitError

PER_EPISODE = 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Repository.init(tmp_path) as repo:
        with repo.recorder("main") as rec:
            for i in range(50):
                frame = np.full((20, 20), i // 9, np.uint8)
                value = {"x": np.float32([i, 1]), "f": frame}
                reset = True if i % PER_EPISODE == 0 else None
                rec.append(value, i, float(i), False, False, info={"n": i}, reset=reset)
        repo.attach("main@20", "agent", {"w": np.arange(400.0)})
        repo.commit({"x": np.float32([0, 0])}, run="main", files={"a": b"x" * 500, "b/c": b"y"})
    return tmp_path


READS: dict[str, Callable[[Repository], Any]] = {
    "observations": lambda repo: repo.trajectory("main").observations,
    "actions": lambda repo: repo.trajectory("main").actions,
    "rewards": lambda repo: repo.trajectory("main").rewards,
    "terminations": lambda repo: repo.trajectory("main").terminations,
    "truncations": lambda repo: repo.trajectory("main").truncations,
    "infos": lambda repo: repo.trajectory("main").column("info.n"),
    "present": lambda repo: repo.trajectory("main").present("info"),
    "has": lambda repo: repo.trajectory("main").has("observation"),
    "episodes": lambda repo: [len(each) for each in repo.trajectory("main").episodes],
    "state": lambda repo: repo.state("main@33").value,
    "revision": lambda repo: repo.resolve("main@ep3.4"),
    "log": lambda repo: [line.oid for line in repo.log("main")],
    "reflog": lambda repo: [entry.new for entry in repo.reflog("main")],
    "files": lambda repo: [b"".join(repo.read_blob(o)) for o in repo.files("main").values()],
    "agent": lambda repo: repo.attachment("main@20", "agent"),
    "diff": lambda repo: repr(repo.diff("main@10", "main@20")),
    "stretch": lambda repo: repo.trajectory("main@ep2").actions,
}
TABLES = [
    "log",
    "objects",
    "segments",
    "blocks",
    "groups",
    "bodies",
    "lines",
    "attachments",
    "chunks",
]


def answers(path: Path) -> dict[str, str]:
    found = {}
    with Repository.open(path) as repo:
        for name, read in READS.items():
            try:
                found[name] = repr(read(repo))
            except SimgitError as error:
                found[name] = f"error: {type(error).__name__}"
    return found


@pytest.fixture
def entries(path: Path) -> Iterator[list[tuple[str, bytes]]]:
    with Repository.open(path) as repo, repo.odb.read() as txn:
        yield [(table, key) for table in TABLES for key, _ in txn.scan(table)]


@pytest.mark.slow
def test_without_any_entry_a_read_answers_as_before_or_says_that_something_is_missing(
    path: Path, entries: list[tuple[str, bytes]]
) -> None:
    whole = answers(path)
    assert not any(answer.startswith("error") for answer in whole.values())
    failed = 0
    for table, key in entries:
        with Repository.open(path) as repo, repo.odb.storage.write() as txn:
            value = txn.get(table, key)
            assert value is not None
            txn.delete(table, key)
        found = answers(path)
        wrong = {name for name in whole if found[name] not in (whole[name],) and
                 not found[name].startswith("error")}  # fmt: skip
        assert not wrong, (table, key.hex(), {name: found[name][:200] for name in wrong})
        failed += found != whole
        with Repository.open(path) as repo, repo.odb.storage.write() as txn:
            txn.put(table, key, value)
    assert failed > len(entries) // 3
    assert answers(path) == whole
