"""Importing in tests: what ``simgit import`` does, without a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simgit import Repository
from simgit.datasets.formats.base import Contents, Source, probe
from simgit.datasets.formats.loading import Loaded, load


@contextmanager
def contents(source: Path | str, format_: str | None = None, **options: str) -> Iterator[Contents]:
    """Yield the contents of a source, after its format was found by a look at it."""
    given = Source(str(source), Path(source), {k.replace("_", "-"): v for k, v in options.items()})
    found = probe(given)
    assert format_ in (None, found.name)
    with given.closing:
        yield found.read(given)


def bring(
    repo: Repository, source: Path | str, format_: str | None = None, **options: str
) -> Loaded:
    """Import a source into a repository."""
    with contents(source, format_, **options) as found:
        return load(repo.odb, repo.refs, found, str(source))


def outcomes(done: Loaded) -> dict[str, str]:
    return {name: each.what for name, each in done.refs.items()}


def column(repo: Repository, run: str, name: str) -> list[Any]:
    """Return one value of each state of a run, from its root; None where it has none."""
    found = []
    for state in repo.trajectory(run):
        value: Any = state
        for part in name.split("."):
            value = getattr(value, part, None) if value is state else (value or {}).get(part)
        found.append(value)
    return found


def stored(repo: Repository) -> int:
    """Return the number of states in a repository, all of which and all links are in order."""
    report = repo.fsck()
    assert report.is_clean, report.problems
    return report.states


_MEASURED = """
import re, sys
from pathlib import Path
from simgit import Repository
from tests.datasets.earlier.importing import bring
with Repository.init(sys.argv[2]) as repo:
    bring(repo, Path(sys.argv[1]))
# of this program alone: getrusage counts what the process was before it became this one
peak = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
# the file of the store is mapped: its pages count, and belong to the system
print(peak - (Path(sys.argv[2]) / ".simgit" / "data.mdb").stat().st_blocks * 512)
"""


def peak_memory(source: Path) -> int:
    """Return the bytes of memory that an import takes at most, in a process of its own."""
    target = source.with_suffix(".repository")
    target.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(source), str(target)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(done.stdout)
