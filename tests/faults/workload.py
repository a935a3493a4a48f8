"""What the crashing processes do: commands drawn from a seed, and what a repository holds then.

Every command is atomic: however it is cut off, a repository must hold what it held before it or
after it. An oid names content, so that a run of the same commands in memory says what that is.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from simgit import Oid, Repository

Held = dict[str, Any]
"""What a repository holds, as far as a user can tell."""
Command = Callable[[Repository], object]


def held(repo: Repository, prefix: str = "") -> Held:
    """Return what a repository holds: its refs, and every byte that they lead to.

    Args:
        repo: the repository.
        prefix: look only at runs and tags whose names begin so, and not at HEAD.
    """
    with repo.odb.read() as txn:
        runs = {name: ref for name, ref in repo.refs.runs(txn) if name.startswith(prefix)}
        tags = {name: ref.oid for name, ref in repo.refs.tags(txn) if name.startswith(prefix)}
        head = None if prefix else repo.refs.head(txn)
    found: Held = {"head": head, "tags": tags}
    for name, ref in runs.items():
        found[f"runs/{name}"] = ref.oid, ref.record
        for oid in [ref.oid] if ref.oid else []:
            found[f"data/{name}"] = repo.attachments(oid)
            assert repo.state(oid).oid == oid
    return found


class Workload:
    """Commands on runs of one prefix, drawn from a seed.

    The ``i``-th command depends on the seed and ``i`` alone, and does the same after a crash.
    """

    def __init__(self, seed: int, directory: Path, prefix: str = "", gc: bool = True) -> None:
        self.seed = seed
        self.prefix = prefix
        self.gc = gc
        self.file = directory / f"big-{prefix or 'all'}-{seed}"

    def prepare(self) -> None:
        """Write the file that is attached."""
        self.file.write_bytes(random.Random(self.seed).randbytes(300_000))

    def command(self, i: int) -> tuple[str, Command]:
        """Return the name of the ``i``-th command, and the command."""
        rng = random.Random(f"{self.seed} {i}")
        name = rng.choice(self._names()) if i else "flush"
        run = self.prefix + rng.choice("ab") if i else self.prefix + "a"
        return name, lambda repo: getattr(self, f"_{name}")(repo, rng, run, i)

    def _names(self) -> list[str]:
        weights = {"flush": 6, "commit": 3, "branch": 2, "tag": 1, "attach": 2, "attach_file": 1}
        weights |= {"delete": 1, "rename": 1, "configure": 1, "checkout": not self.prefix}
        weights |= {"gc": self.gc, "merge": 1, "files": 1}
        return [name for name, weight in weights.items() for _ in range(weight)]

    def _tip(self, repo: Repository, run: str) -> Oid | None:
        return repo.runs[run].oid if run in repo.runs else None

    def _flush(self, repo: Repository, rng: random.Random, run: str, i: int) -> None:
        with repo.recorder(run) as rec:
            for n in range(rng.choice((3, 70, 300))):
                rec.append(*self._step(i, n), info={"text": f"{self.prefix}{i} {n}"})
            if rng.random() < 0.5:
                frame = np.full((30, 30), i % 251, np.uint8)
                rec.append(frame, 0, 0.0, info={"text": self.prefix})

    def _step(self, i: int, n: int) -> tuple[Any, int, float]:
        return np.float32([i, n, n / 3]), n, float(i)

    def _commit(self, repo: Repository, rng: random.Random, run: str, i: int) -> None:
        repo.commit(
            {"x": i, "y": rng.random()}, i, 1.0, run=run, message=f"commit {self.prefix}{i}"
        )

    def _branch(self, repo: Repository, rng: random.Random, run: str, i: int) -> None:
        if self._tip(repo, run):
            back = rng.randrange(repo.runs[run].step + 1)
            repo.branch(f"{self.prefix}branch{i}", f"{run}~{back}", overrides={"lr": i})

    def _others(self, repo: Repository) -> list[str]:
        return [name for name in repo.runs if name.startswith(f"{self.prefix}branch")]

    def _delete(self, repo: Repository, rng: random.Random, run: str, i: int) -> None:
        others = self._others(repo)
        if others:
            repo.delete_run(rng.choice(others), force=True)

    def _rename(self, repo: Repository, rng: random.Random, run: str, i: int) -> None:
        others = self._others(repo)
        if others:
            repo.rename_run(rng.choice(others), f"{self.prefix}branch-renamed{i}")

    def _merge(self, repo: Repository, rng: random.Random, run: str, i: int) -> None:
        others = [name for name in self._others(repo) if self._tip(repo, name)]
        if others and self._tip(repo, run):
            parents = sorted(
                {str(self._tip(repo, rng.choice(others)))} - {str(self._tip(repo, run))}
            )
            repo.commit({"merged": f"{self.prefix}{i}"}, run=run, parents=parents)

    def _tag(self, repo: Repository, rng: random.Random, run: str, i: int) -> None:
        if self._tip(repo, run):
            repo.tag(f"{self.prefix}tag{i}", run)

    def _attach(self, repo: Repository, rng: random.Random, run: str, i: int) -> None:
        if self._tip(repo, run):
            weights = np.arange(400.0) * (i // 5)
            repo.attach(run, "agent", {"weights": weights, "step": i, "rng": bytes(300)})

    def _attach_file(self, repo: Repository, rng: random.Random, run: str, i: int) -> None:
        if self._tip(repo, run):
            repo.attach(run, "video", self.file)

    def _files(self, repo: Repository, rng: random.Random, run: str, i: int) -> None:
        repo.commit(
            {"i": f"{self.prefix}{i}"}, run=run, files={"a/b.txt": b"%d" % i * 200, "c": b"same"}
        )

    def _configure(self, repo: Repository, rng: random.Random, run: str, i: int) -> None:
        if run in repo.runs:
            repo.configure(run, {"optimizer.lr": i})

    def _checkout(self, repo: Repository, rng: random.Random, run: str, i: int) -> None:
        if run in repo.runs:
            repo.checkout(run)

    def _gc(self, repo: Repository, rng: random.Random, run: str, i: int) -> None:
        repo.gc()
        repo.odb.storage.compact()  # also where gc finds that it is not worth it


def check(path: Path, expected: list[Held], prefix: str = "") -> Held:
    """Open a repository as it was left; return what it holds.

    Raises:
        AssertionError: that is nothing of what it may hold, or it is not whole.
    """
    with Repository.open(path) as repo:
        problems = [str(problem) for problem in repo.fsck().problems]
        assert not problems, problems
        found = held(repo, prefix)
    last = expected[-1]
    differs = sorted(name for name in found.keys() | last if found.get(name) != last.get(name))
    assert found in expected, f"neither before nor after: {differs}"
    return found
