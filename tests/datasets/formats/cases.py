"""Runs whose states have every kind of value, and an export and import by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simgit import Repository
from simgit.datasets.formats.base import Source, find_format, probe
from simgit.datasets.formats.loading import Loaded, load
from simgit.datasets.formats.selection import Export


def write(repo: Repository, name: str, target: Path, *revisions: str, **options: Any) -> Export:
    """Export revisions to a file; return what was exported."""
    export = Export(repo.odb, repo.refs, revisions, **options)
    find_format(name).write(export, target)
    return export


def read(repo: Repository, path: Path, as_new: bool = False, **options: str) -> Loaded:
    """Import a file whose format is probed."""
    source = Source(str(path), path, options, as_new)
    with source.closing:
        contents = probe(source).read(source)
        return load(repo.odb, repo.refs, contents, str(path), as_new=as_new)


def everything(repo: Repository) -> Sequence[str]:
    """Record runs with values of every kind; return their names."""
    with repo.recorder("main", config={"agent": {"lr": 0.1}}, seed=3) as recorder:
        for i in range(40):
            recorder.append(
                observation=_OBSERVATIONS[i % len(_OBSERVATIONS)](i),
                action=None if i % 10 == 0 else np.int64(i % 3),
                reward=None if i % 10 == 0 else [0.5, -0.0, float("inf"), 1e300][i % 4],
                terminated=None if i % 10 == 0 else i % 10 == 9,
                truncated=None if i % 10 == 0 else False,
                reset={"seed": i, "options": {"x": (1, None)}} if i % 10 == 0 else False,
                info={"lives": 3, "δ": "ü\x00", **({"rare": [1, {2: b"\xff"}]} if i > 20 else {})},
                message="half" if i == 20 else None,
            )
    repo.branch("what-if", "main@13")
    with repo.recorder("what-if") as recorder:
        for i in range(7):
            recorder.append(observation=float(i), action=2, reward=1.0)
    return ["main", "what-if"]


def episodes(
    repo: Repository,
    observe: Callable[[int], Any] = lambda i: np.arange(4, dtype="f4") * i,
    action: Callable[[int], Any] = lambda i: np.int64(i % 2),
) -> None:
    """Record three episodes, the last unfinished, and a branch out of the middle of the second."""
    with repo.recorder("main") as recorder:
        for i in range(25):
            begins = i % 10 == 0
            recorder.append(
                observe(i), None if begins else action(i), None if begins else i / 2,
                terminated=None if begins else i % 10 == 9, truncated=None if begins else False,
                info={"lives": i}, reset={"seed": i} if begins else False,
            )  # fmt: skip
    repo.branch("what-if", "main@13")
    with repo.recorder("what-if") as recorder:
        for i in range(3):
            recorder.append(observe(i), action(i), 1.0, False, i == 2, {"text": "ü"})


_NAN = np.array([0x7FF8000000000123, 0x8000000000000000], "<u8").view("<f8")
_OBSERVATIONS: list[Callable[[int], Any]] = [
    lambda i: np.arange(4, dtype="f4") * i,
    lambda i: {"a": None, "b": {}, "c": (1, 2.5, np.float32(3))},
    lambda i: {"a": i, "b": {"deep": {"er": b"\x00\xff" * i}}, "c": (1, 2, 3)},
    lambda i: _NAN,
    lambda i: 2**80 + i,
    lambda i: np.zeros((i, 40), "u1") + i,
    lambda i: [np.float64(-0.0), 1 + 2j, np.datetime64("2026-01-01"), "x"],
    lambda i: {1, 2, i},
    lambda i: np.array(["a", "bc"]),
]
