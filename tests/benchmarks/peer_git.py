"""git itself, given the same states: one commit a state, its packed fields as the only file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .checkpoints import Tensors
from .generate import Row
from .measure import run
from .peers import as_bytes

WHO = b"bench <bench@example.org> %d +0000"
ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    # Else the C library gives git's heap back to the system and fetches it again for each object,
    # which costs more than half of an import of small states.
    "MALLOC_TOP_PAD_": str(1 << 26),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
}


class Git:
    """A bare repository driven by the ``git`` program."""

    def __init__(self, path: Path) -> None:
        self.path = path
        run(["git", "init", "--quiet", "--bare", "-b", "main", path], env=ENVIRONMENT)

    def __call__(self, *arguments: str, **options: object) -> bytes:
        """Run one git command, and return what it printed."""
        command = ["git", "-C", str(self.path), *arguments]
        return run(command, env=ENVIRONMENT, **options).stdout

    def fast_import(self, stream: Path) -> None:
        """Import a stream; git syncs its pack at the end."""
        with stream.open("rb") as file:
            self("fast-import", "--quiet", stdin=file)

    def reader(self) -> subprocess.Popen[bytes]:
        """Start a ``git cat-file --batch`` that answers one request after another."""
        command = ["git", "-C", str(self.path), "cat-file", "--batch"]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
        )


def ask(reader: subprocess.Popen[bytes], name: bytes) -> bytes:
    """Return one object's bytes from a running ``cat-file --batch``."""
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write(name + b"\n")
    reader.stdin.flush()
    size = int(reader.stdout.readline().split()[2])
    return reader.stdout.read(size + 1)[:-1]


def bodies(git: Git, branch: str) -> NDArray[np.float32]:
    """Return the observations of a branch's states, oldest first: two processes of git."""
    commits = git("rev-list", "--reverse", branch).split()
    wanted = b"".join(commit + b":state\n" for commit in commits)
    output, found, at = git("cat-file", "--batch", input=wanted), [], 0
    while at < len(output):
        head = output.index(b"\n", at)
        size = int(output[at:head].split()[2])
        found.append(output[head + 1 : head + 17])
        at = head + 1 + size + 1
    return np.frombuffer(b"".join(found), np.float32).reshape(-1, 4)


def write_stream(path: Path, rows: Iterable[Row]) -> Path:
    """Write the states of one run as a fast-import stream, one commit a state."""
    with path.open("wb") as file:
        for step, row in enumerate(rows):
            body = as_bytes(row)
            file.write(_commit(b"main", step))
            file.write(b"M 100644 inline state\ndata %d\n%s\n" % (len(body), body))
    return path


def write_fork(path: Path, shared: int, length: int) -> Path:
    """Write two branches of ``length`` commits that share their first ``shared``; no files."""
    with path.open("wb") as file:
        file.writelines(_fork(shared, length))
    return path


def _fork(shared: int, length: int) -> Iterator[bytes]:
    for step in range(length):
        yield _commit(b"a", step, mark=step == shared - 1)
    for step in range(shared, length):
        yield _commit(b"b", step, parent=b":1" if step == shared else b"")


def _commit(branch: bytes, step: int, mark: bool = False, parent: bytes = b"") -> bytes:
    message = b"%s, step %d" % (branch, step)
    return b"commit refs/heads/%s\n%scommitter %s\ndata %d\n%s\n%s" % (
        branch,
        b"mark :1\n" if mark else b"",
        WHO % (1_700_000_000 + step),
        len(message),
        message,
        b"from %s\n" % parent if parent else b"",
    )


def write_checkpoints(path: Path, trees: Iterable[dict[str, Tensors]]) -> Path:
    """Write checkpoints as a stream: one commit each, one file a tensor."""
    with path.open("wb") as file:
        for step, tree in enumerate(trees):
            file.write(_commit(b"main", step))
            for part, tensors in tree.items():
                for name, array in tensors.items():
                    body = array.tobytes()
                    file.write(b"M 100644 inline %s/%s\n" % (part.encode(), name.encode()))
                    file.write(b"data %d\n%s\n" % (len(body), body))
    return path
