"""simgit's side: found when it is first needed, so that the peers can be measured without it."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import generate
from .case import Bench, NotBuilt
from .measure import disk

ROOT = Path(__file__).resolve().parents[2]
FLUSH = 8192


def store() -> Any:
    """Return ``simgit.Repository``."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    try:
        return importlib.import_module("simgit").Repository
    except (ImportError, AttributeError) as error:
        raise NotBuilt from error


def program(*arguments: str) -> list[str]:
    """Return the command line of ``simgit``: the installed script, or the checkout's."""
    beside = Path(sys.executable).with_name("simgit")
    script = str(beside) if beside.exists() else shutil.which("simgit")
    if script:
        return [script, *arguments]
    return [sys.executable, "-c", "from simgit.cli import main; main()", *arguments]


def environment() -> dict[str, str]:
    """Return the environment for child processes, with the checkout importable."""
    paths = filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NO_COLOR": "1"}


def stored(path: Path) -> int:
    """Return the bytes that a repository occupies, without what it reserves for a full disk."""
    reserve = path / ".simgit" / "reserve"
    return disk(path) - (disk(reserve) if reserve.exists() else 0)


def feed(append: Callable[..., object], rows: Iterable[generate.Row]) -> None:
    """Hand states to a recorder one by one, as a loop around an environment would."""
    for observation, action, reward, terminated, truncated, reset in rows:
        if reset is None:
            append(
                observation=observation,
                action=action,
                reward=reward,
                terminated=terminated,
                truncated=truncated,
                info={},
            )
        else:
            append(observation=observation, info={}, reset=reset)


def record(path: Path, rows: Iterable[generate.Row], run: str = "main", **options: Any) -> None:
    """Record states as a run of a repository that is created if need be."""
    repository = store()
    there = (path / ".simgit").exists()
    with (
        (repository.open if there else repository.init)(path) as repo,
        repo.recorder(run, flush_every=FLUSH, **options) as recorder,
    ):
        feed(recorder.append, rows)


def recorded(bench: Bench, count: int) -> Path:
    """Return a repository with ``count`` states in ``main``, built once."""

    def build() -> Path:
        path = bench.folder(f"simgit-{count}")
        record(path, generate.rows(count))
        return path

    store()
    return bench.keep(f"simgit-{count}", build)


def forked(bench: Bench, length: int) -> Path:
    """Return a repository with runs ``a`` and ``b`` that share the first half of their states."""

    def build() -> Path:
        path = bench.folder(f"simgit-fork-{length}")
        record(path, generate.rows(length), run="a")
        with store().open(path) as repo:
            repo.branch("b", f"a@{length // 2 - 1}")
        record(path, generate.rows(length - length // 2, seed=2), run="b")
        return path

    store()
    return bench.keep(f"simgit-fork-{length}", build)


def empty_size(bench: Bench) -> int:
    """Return what a repository without any state occupies."""

    def build() -> int:
        path = bench.folder("simgit-empty")
        with store().init(path):
            pass
        return disk(path)

    return bench.keep("simgit-empty", build)
