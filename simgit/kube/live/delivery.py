"""Traces where SimKube's driver finds them: a directory that its node has too.

``cluster.trace_path`` is ``LOCAL[:NODE[:mounted]]``: the directory here, the one of the same files
on the driver's node, and ``mounted`` where the driver's pod has that one already, so that SimKube
needs not mount it. ``kind`` with ``extraMounts`` needs two names, a cluster on one machine one.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from simgit.errors import ClusterError, InvalidInput, StorageError, reason
from simgit.kube.live.cleanup import Created
from simgit.kube.trace.model import Trace
from simgit.kube.trace.sktrace import dump_trace

SKIP_MOUNT: Final = "controller.simkube.io/skip-local-volume-mount"
_MOUNTED: Final = "mounted"


@dataclass(frozen=True, slots=True)
class TracePlace:
    """The directory of traces: its path here and on the driver's node."""

    local: Path
    node: str
    mounted: bool = False

    @classmethod
    def of(cls, text: str) -> TracePlace:
        """Read a ``cluster.trace_path``; raises InvalidInput."""
        given = text.removeprefix("file://")
        scheme, separator, _ = given.partition("://")
        if separator:
            raise InvalidInput(
                f"cluster.trace_path '{text}': traces cannot be put on {scheme}:// yet; name a "
                "directory that the driver's node has too: DIR[:DIR-ON-NODE]",
                path="trace_path",
            )
        local, *rest = given.split(":")
        node = rest[0].removeprefix("//") if rest else local
        if not text or len(rest) > 2 or rest[1:] not in ([], [_MOUNTED]):
            raise InvalidInput(
                "the driver simkube needs cluster.trace_path, a directory that the driver's node "
                f"has too: DIR[:DIR-ON-NODE[:mounted]], got '{text}'",
                path="trace_path",
            )
        for each in (local, node):
            if not each.startswith("/"):
                raise InvalidInput(
                    f"cluster.trace_path must be absolute, got '{each}'", path="trace_path"
                )
        return cls(Path(local), node.rstrip("/"), bool(rest[1:]))

    def annotations(self) -> dict[str, str]:
        """Return the annotations that a Simulation needs for it."""
        return {SKIP_MOUNT: "true"} if self.mounted else {}

    def check(self) -> None:
        """Raise ClusterError if no file can be written there."""
        if not self.local.is_dir():
            raise ClusterError(f"cluster.trace_path: no directory '{self.local}'")
        if not os.access(self.local, os.W_OK | os.X_OK):
            raise ClusterError(f"cluster.trace_path: no permission to write to '{self.local}'")

    @contextmanager
    def delivered(self, trace: Trace, created: Created) -> Iterator[str]:
        """Give the URL of a trace while the block lasts; its name is no other delivery's.

        ``created`` notes the file. Raises ClusterError if it cannot be written.
        """
        self.check()
        path = self.local / f"simgit-{uuid.uuid4().hex}.sktrace"
        created.note(f"file://{path}")
        try:
            try:
                path.write_bytes(dump_trace(trace))
                path.chmod(0o644)  # the driver may be another user
            except OSError as error:
                raise ClusterError(f"cannot write '{path}': {reason(error)}") from None
            yield f"file://{self.node}/{path.name}"
        finally:
            with suppress(OSError, StorageError):  # the cleanup that follows says what is left
                path.unlink()
                created.gone(f"file://{path}")
