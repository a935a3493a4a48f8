"""Damaged files: one bit flipped or the end cut off, at every structure of every file.

Each damaged repository is opened, checked and read in a child process: it yields what was stored,
or one of our errors; never other bytes, a crash, a hang, or memory beyond measure.

A file that comes from elsewhere is a copy, and is audited when it is first opened. Damage that
befalls a file in its place is met when a page is read: where LMDB does not see it coming, it ends
the process. Such cases are counted.
"""

from __future__ import annotations

import random
import resource
import shutil
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simgit import Repository
from simgit.errors import SimgitError
from simgit.storage.datafile import record_origin

from .processes import in_child

PAGE = 4096
BATCH = 20
MEMORY = 256 << 20
"""Bytes that a child may take, besides what it had when it was forked."""
ENDED = "ended the process"


@dataclass(frozen=True)
class Damage:
    """What is done to a file: the bit that is flipped, or the length that is left."""

    file: str
    structure: str
    bit: int | None = None
    length: int | None = None

    def apply(self, directory: Path) -> None:
        """Do it."""
        path = directory / self.file
        data = bytearray(path.read_bytes())
        if self.bit is None:
            del data[self.length :]
        else:
            data[self.bit // 8] ^= 1 << self.bit % 8
        path.write_bytes(data)


def make(path: Path) -> dict[str, Any]:
    """Make a repository with something of every kind; return what is in it."""
    rng = np.random.default_rng(0)
    with Repository.init(path) as repo:
        with repo.recorder("main", config={"lr": 1}, spec={"id": "X"}) as rec:
            for i in range(1500):
                frame = np.full((20, 20), i // 9, np.uint8)
                rec.append({"x": rng.random(4), "f": frame}, i, float(i), info={"t": str(i)})
        repo.branch("b", "main@100", overrides={"lr": 2})
        for i in range(4):
            repo.commit(
                {"y": i}, i, 1.0, run="b", files={"a/b": b"x" * 300, "c": rng.bytes(70_000)}
            )
        repo.attach("main@200", "agent", {"w": np.arange(700.0), "b": rng.bytes(500)})
        repo.attach("main@300", "agent", {"w": np.arange(700.0) + 1, "b": rng.bytes(500)})
        repo.tag("v1", "b", message="annotated")
        repo.branch("gone", "b")
        repo.delete_run("gone")
    with Repository.open(path) as repo:
        return contents(repo)


def contents(repo: Repository) -> dict[str, Any]:
    """Return what can be read of a repository, piece by piece; an error where there is one."""
    found: dict[str, Any] = {}
    for name in ("main", "b"):
        found |= _tried(f"run {name}", lambda name=name: repo.runs[name].config)
        found |= _tried(f"tip {name}", lambda name=name: bytes(repo.resolve(name)))
        found |= _tried(f"columns {name}", lambda name=name: _columns(repo, name))
        found |= _tried(f"log {name}", lambda name=name: [e.new for e in repo.reflog(name)])
    for revision in ("main@0", "main@77", "main@333", "b~2", "v1"):
        found |= _tried(f"state {revision}", lambda r=revision: repr(repo.state(r).value))
    found |= _tried(
        "files", lambda: {k: b"".join(repo.read_blob(v)) for k, v in repo.files("b").items()}
    )
    for step in (200, 300):
        found |= _tried(f"agent {step}", lambda s=step: repr(repo.attachment(f"main@{s}", "agent")))
    return found


def _columns(repo: Repository, run: str) -> bytes:
    trajectory = repo.trajectory(run)
    seen = trajectory.observations
    columns = [trajectory.actions, trajectory.rewards, *(seen.values() if run == "main" else ())]
    return b"".join(np.asarray(each).tobytes() for each in columns)


def _tried(name: str, read: Any) -> dict[str, Any]:
    try:
        return {name: read()}
    except SimgitError as error:
        return {name: error}


def draw(rng: random.Random, directory: Path) -> Damage:
    """Draw a damage: most of them to structures, for those are few bytes."""
    name = rng.choice(("data.mdb",) * 12 + ("format", "origin", "lock.mdb"))
    size = (directory / name).stat().st_size
    if rng.random() < 0.1 or not size:
        return Damage(name, "length", length=rng.randrange(size + 1))
    if name != "data.mdb":
        return Damage(name, name, bit=rng.randrange(8 * size))
    page = rng.randrange(size // PAGE) if rng.random() < 0.9 else rng.randrange(2)
    with (directory / name).open("rb") as file:
        file.seek(page * PAGE)
        at, structure = _place(rng, file.read(PAGE))
    return Damage(
        name, "meta" if page < 2 else structure, bit=8 * (page * PAGE + at) + rng.randrange(8)
    )


def _place(rng: random.Random, page: bytes) -> tuple[int, str]:
    """Return a place in a page, and what lies there."""
    (lower,) = struct.unpack_from("<H", page, 12)
    kind = rng.random()
    if kind < 0.2:
        return rng.randrange(16), "page header"
    if kind < 0.35 and 16 < lower <= PAGE:
        return rng.randrange(16, lower), "pointers"
    if kind < 0.7 and 16 < lower <= PAGE:
        node = struct.unpack_from("<H", page, rng.randrange(16, lower, 2))[0]
        return min(node + rng.randrange(8), PAGE - 1), "node header"
    return rng.randrange(PAGE), "content"


def judge(path: Path, whole: dict[str, Any]) -> str:
    """Open, check and read a damaged repository; return what became of it.

    Raises:
        AssertionError: it has yielded other bytes than were stored.
    """
    try:
        with Repository.open(path) as repo:
            clean = repo.fsck().is_clean
            found = contents(repo)
    except SimgitError as error:
        return type(error).__name__
    wrong = [k for k, v in found.items() if not isinstance(v, SimgitError) and v != whole[k]]
    missing = [k for k, v in found.items() if isinstance(v, SimgitError)]
    assert not wrong, f"other bytes than were stored: {wrong}"
    assert not (clean and missing), f"fsck found nothing, but {missing} cannot be read"
    return "found by fsck" if not clean else "harmless"


def sweep(
    directory: Path, count: int, seed: int = 0, in_place: bool = False
) -> tuple[Counter[str], list[str]]:
    """Damage a repository in many ways; return what became of it, and what should not have.

    Args:
        directory: where to work.
        count: how many damages.
        seed: of what they are.
        in_place: whether the file is damaged in its place, and not a copy.
    """
    source, rng = directory / "source", random.Random(seed)
    if not source.exists():
        make(source)
    with Repository.open(source) as repo:
        whole = contents(repo)
    outcomes, failures = Counter[str](), list[str]()
    for first in range(0, count, BATCH):
        damages = [draw(rng, source / ".simgit") for _ in range(min(BATCH, count - first))]
        for outcome, failure in _batch(directory, damages, whole, in_place):
            if in_place and ENDED in failure:
                outcome, failure = f"{outcome}: {ENDED}", ""
            outcomes[outcome] += 1
            failures += [failure] if failure else []
    return outcomes, failures


def _batch(
    directory: Path, damages: list[Damage], whole: dict[str, Any], in_place: bool
) -> list[tuple[str, str]]:
    """Judge damages in a child; one by one if that ended."""
    status, found = in_child(lambda: _all(directory, damages, whole, in_place))
    if status == 0:
        return [(outcome, "") for outcome in found]
    if len(damages) > 1:
        return [each for d in damages for each in _batch(directory, [d], whole, in_place)]
    how = f"{ENDED} with signal {-status}" if status < 0 else f"exit {status}"
    return [(damages[0].structure, f"{damages[0]}: {how}: {found}")]


def _all(
    directory: Path, damages: list[Damage], whole: dict[str, Any], in_place: bool
) -> list[str]:
    outcomes, had = [], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    for damage in damages:
        outcomes.append(_one(directory, damage, whole, in_place))
        taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - had
        assert taken < MEMORY, f"{damage}: {taken >> 20} MiB were taken"
    return outcomes


def _one(directory: Path, damage: Damage, whole: dict[str, Any], in_place: bool) -> str:
    copy = directory / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(directory / "source", copy)
    damage.apply(copy / ".simgit")
    if in_place:
        record_origin(copy / ".simgit")
    outcome = judge(copy, whole)
    return f"{damage.structure}: {outcome}"
