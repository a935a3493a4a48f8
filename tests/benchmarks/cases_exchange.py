"""Files of other formats: out, and in again with the same oids. Minari writes the same episodes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import cases_record as recording
from . import peer_minari, subject
from .case import Bench, Case, NotBuilt, at_least, at_most
from .cases_read import whole
from .measure import all_cores, disk, scratch, seconds

parquet = Case(
    "parquet", "export a run to Parquet", "states/s", at_least(1.2e6),
    "1 M states, seconds of CPU, in a process that has pyarrow loaded",
)  # fmt: skip
back = Case(
    "parquet-back", "a run to Parquet and in again, same oids", "s", at_most(6),
    "1 M states, seconds of CPU",
)  # fmt: skip
width = Case("parquet-bytes", "a Parquet file", "bytes/state", note="the same file")
minari = Case(
    "minari", "export episodes to Minari's HDF5", "states/s",
    note="30 000 states of CartPole in 1 280 episodes; Minari: its storage, an episode at a time",
)  # fmt: skip
bundle = Case(
    "import-1M", "import of a bundle in two processes", "s", at_most(3),
    "1 M states, by the clock on all cores, start of the processes and all checks included",
)  # fmt: skip
CASES = [parquet, back, width, minari, bundle]


def _loaded(bench: Bench, name: str) -> Path:
    """Return the path of a repository, once the format's packages are loaded."""
    path = subject.recorded(bench, whole(bench))
    try:
        with scratch(bench.path) as folder, subject.store().open(path) as repo:
            repo.export(name, folder / "x", "main@0..main@1000")
    except ImportError as error:
        raise NotBuilt from error
    return path


def _cpu(work: Callable[[], object]) -> float:
    """Return the seconds of CPU that a call takes: a core, whatever else the machine does."""
    start = time.process_time()
    work()
    return time.process_time() - start


@parquet.side("simgit")
def _(bench: Bench) -> float:
    path = _loaded(bench, "parquet")
    with scratch(bench.path) as folder, subject.store().open(path) as repo:
        return whole(bench) / _cpu(lambda: repo.export("parquet", folder / "x", "main"))


@back.side("simgit")
def _(bench: Bench) -> float:
    path = _loaded(bench, "parquet")
    store = subject.store()
    with (
        scratch(bench.path) as folder,
        store.open(path) as repo,
        store.init(folder / "other") as other,
    ):

        def around() -> None:
            repo.export("parquet", folder / "x", "main")
            other.import_data(folder / "x")

        taken = _cpu(around)
        if other.runs["main"].oid != repo.runs["main"].oid:
            raise ValueError("the states that came back are others")
    return taken


@width.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    path = _loaded(bench, "parquet")
    with scratch(bench.path) as folder, subject.store().open(path) as repo:
        repo.export("parquet", folder / "x", "main")
        return disk(folder / "x") / whole(bench)


def _imported(bench: Bench, jobs: int) -> float:
    """Return the seconds that importing the bundle takes."""
    path, store = subject.recorded(bench, whole(bench)), subject.store()

    def create() -> Path:
        file = bench.folder("bundle") / "x"
        with store.open(path) as repo:
            repo.create_bundle(file, ["main"])
        return file

    file = bench.keep("bundle of a run", create)
    with all_cores(), scratch(bench.path) as folder, store.init(folder / "repo") as other:
        taken = seconds(lambda: other.import_bundle(file, jobs=jobs))
        if other.runs["main"].step + 1 != whole(bench):
            raise ValueError("states are missing")
    return taken


@bundle.side("simgit")
def _(bench: Bench) -> float:
    return _imported(bench, 2)


@bundle.side("one process")
def _(bench: Bench) -> float:
    return _imported(bench, 1)


def _given(bench: Bench) -> list[Any]:
    return recording.rows(bench, 30_000, 3_000)


@minari.side("simgit")
def _(bench: Bench) -> float:
    rows = _given(bench)
    with scratch(bench.path) as folder, subject.store().init(folder / "repo") as repo:
        with repo.recorder("main") as recorder:
            subject.feed(recorder.append, rows)
        taken = _cpu(lambda: repo.export("minari", folder / "x", "main"))
    return len(rows) / taken


@minari.side("Minari")
def _(bench: Bench) -> float:
    rows = _given(bench)
    with scratch(bench.path) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return len(rows) / _cpu(lambda: peer_minari.write_episodes(folder, rows))
