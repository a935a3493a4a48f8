"""The process that restores and renders states for a server, which executes no environments itself.

It reads a request as a line of JSON, and answers with a line of JSON, after which bytes may follow;
``simgit.server.restorers`` starts it and ends it. What environments print is discarded. It ends
with the process that started it, and when it has had nothing to do for a while.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from simgit.errors import InvalidInput, SimgitError, collected_warnings, visible
from simgit.objects.oid import Oid
from simgit.repository import Repository
from simgit.repository.jsonable import error_data

IDLE: Final = 600.0
"""Seconds without a request after which it ends."""
MEMORY: Final = 8 << 30
"""The most bytes of data that it may have."""
FILE: Final = 1 << 30
"""The most bytes of a file that it writes."""
LARGEST: Final = 1 << 25
"""The most pixels of a frame."""
_SLACK: Final = 10
"""Seconds of processor time after which it ends itself, beyond those that it was given."""

Reply = tuple[dict[str, Any], bytes]


class RenderRequests:
    """The work of the process: each method answers a kind of request."""

    def __init__(self, directory: Path) -> None:
        """Open the repository, which is only read."""
        from simgit.gym.tools.frames import Frames

        self._repo = Repository.open(directory, read_only=True)
        self._frames = Frames()

    def _at(self, job: Mapping[str, Any]) -> Repository:
        number = job.get("as_of")
        return self._repo if number is None else self._repo.at_operation(number)

    def plan(self, job: Mapping[str, Any]) -> Reply:
        """Return how a state is reached; see ``restore_record``."""
        from simgit.gym.tools.restore_record import restore_record

        found = self._frames.noted(self._at(job), Oid.from_hex(job["oid"]), restore_record)
        return found, b""

    def frame(self, job: Mapping[str, Any]) -> Reply:
        """Return the image of a state as a PNG."""
        from simgit.plot.notebook import png
        from simgit.plot.scaling import narrowed

        pixels = self._frames.frame(self._at(job), Oid.from_hex(job["oid"]))
        if pixels.shape[0] * pixels.shape[1] > LARGEST:
            raise InvalidInput(f"the frame has more than {LARGEST} pixels")
        return {}, png(narrowed(pixels, job["width"]), level=2)

    def film(self, job: Mapping[str, Any]) -> Reply:
        """Write a film of a range of states to a file."""
        from simgit.gym.restoring.recorded_path import RecordedPath
        from simgit.gym.tools.film import Film
        from simgit.gym.tools.frames import refuse_live
        from simgit.plot.scaling import narrowed
        from simgit.plot.video import write_film, write_growing

        repo, states = self._at(job), job["revision"]
        refuse_live(RecordedPath(repo, states.rpartition("..")[2]))
        film = Film(repo, states, every=job["every"])
        fps = job["fps"] or film.fps
        path, frames = Path(job["path"]), (narrowed(each, job["width"]) for each in film)
        if path.suffix == ".mp4":
            count = write_growing(path, frames, fps, job["begun"])
        else:
            count = write_film(path, frames, fps)
        return {"frames": count, "fps": fps}, b""

    def cluster(self, job: Mapping[str, Any]) -> Reply:
        """Return the cluster of a SimKube state; see ``cluster_record``."""
        from simgit.analysis.recorded_clusters import cluster_record

        return cluster_record(self._at(job), Oid.from_hex(job["oid"])), b""


def answered(
    do: Callable[[Mapping[str, Any]], Reply],
    job: Mapping[str, Any],
    tell: Callable[[dict[str, Any], bytes], None],
) -> Reply:
    """Return the answer to a request, with warnings; or the error as data.

    ``tell`` sends what is said before it: that a film has begun.
    """

    def begun() -> None:
        tell({"result": {"begun": True}, "warnings": list(warned), "size": 0}, b"")

    with collected_warnings() as warned:
        try:
            record, body = do({**job, "begun": begun})
        except SimgitError as error:
            record, body = _failed(error), b""
        except Exception as error:  # of the environment
            first = str(error).partition("\n")[0]
            text = f"{type(error).__name__}: {visible(first)}" if first else type(error).__name__
            record = {"error": "InvalidInput", "message": text[:1000], "data": {}}
            body = b""
    return {"result": record, "warnings": warned, "size": len(body)}, body


def _failed(error: SimgitError) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": str(error), "data": error_data(error)}


def main(directory: str) -> None:
    """Answer requests from standard input on standard output, until that ends."""
    out = os.dup(1)  # environments print to the other one
    nowhere = os.open(os.devnull, os.O_RDWR)
    for each in (1, 2):
        os.dup2(nowhere, each)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    source = os.fdopen(os.dup(0), "rb")
    os.dup2(nowhere, 0)

    def read() -> None:
        for line in source:
            jobs.put(line)
        os._exit(0)  # whatever it does: nobody waits for it any more

    def tell(record: dict[str, Any], body: bytes) -> None:
        left = memoryview(json.dumps(record).encode() + b"\n" + body)
        while left:
            left = left[os.write(out, left) :]

    threading.Thread(target=read, daemon=True).start()
    work = RenderRequests(Path(directory))
    while True:
        try:
            job = json.loads(jobs.get(timeout=IDLE))
        except queue.Empty:
            os._exit(0)
        _limit_time(job["seconds"])
        tell(*answered(getattr(work, job["what"]), job, tell))


def _limit_time(seconds: float) -> None:
    """Let the system end this process if it computes for longer, whatever it is in."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + seconds * (os.cpu_count() or 1)) + _SLACK
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY or most <= hard:
        resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


if __name__ == "__main__":
    main(sys.argv[1])
