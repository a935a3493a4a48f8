"""Jobs: work that takes long, each a command of the command line in a process of its own.

All that is known of a job is in a directory, so that it needs no server: one that ends or dies
leaves its jobs running, and the next one finds them. A job that is killed leaves the repository as
whole as its command does. Nothing of it is part of the history. What came with a copy of a
repository is not believed: it may be a stranger's.

.simgit/live/jobs/N/job.json: what it is, its process, how it ended; out, err: what it prints;
progress: how far it is; bundle: what it imports, or has exported.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from simgit import errors
from simgit.errors import (
    InvalidInput,
    NotFound,
    StorageError,
    StorageFullError,
    reason,
    without_folders,
)
from simgit.live.channel import make_private
from simgit.live.processes import Child, end, interrupt, signal_name
from simgit.process import is_alive, now, writer_of
from simgit.refs.simulations import home_of
from simgit.repository.jsonable import stamp
from simgit.server.problems import STATUS, Refused
from simgit.server.shortened import shortened
from simgit.storage import regular

MOST: Final = 8
"""The most jobs that run at once."""
KEPT: Final = 32
"""The most jobs that are known after their end, the newest."""
KEPT_SECONDS: Final = 24 * 3600
"""Seconds for which one is known after its end, with what it exported."""
BUNDLE: Final = "bundle"


class _File(str):
    """The job's file among its arguments: no text that is sent is one."""


FILE: Final = _File("{bundle}")
"""What stands for the job's file among its arguments."""
_START_SECONDS: Final = 60
_USAGE: Final = 2
"""The exit code of wrong usage of the command line."""
_LINES: Final = 100
"""The most lines of what a job prints that are told, the last."""
_END: Final = 1 << 20
"""The bytes of a job's output that are read, the last."""


class Jobs:
    """The jobs of a repository."""

    def __init__(self, directory: Path | None) -> None:
        """Take those of a repository's directory; there are none in memory."""
        self._directory = directory
        self._home = home_of(directory)
        self._lock = threading.Lock()
        self._over: dict[int, dict[str, Any]] = {}
        self._own: set[int] = set()

    # --- starting and ending ---

    def start(
        self, kind: str, arguments: Sequence[str], bundle: Path | None = None
    ) -> dict[str, Any]:
        """Start a job; return its record.

        Args:
            kind: what it is called.
            arguments: the command, which prints JSON; ``FILE`` stands for its bundle.
            bundle: a file that becomes the job's.

        Raises:
            Refused: 429, there are too many.
            InvalidInput: an argument has a NUL, which no command can be given.
            StorageError: it cannot be started.
        """
        for each in arguments:
            if "\0" in each:
                raise InvalidInput(f"'{each}' contains '\\x00'")
        with self._lock:
            self.check()
            self._sweep()
            number = self._next()
            place = self._place(number)
            try:
                place.mkdir(mode=0o700)
                if bundle is not None:
                    bundle.replace(place / BUNDLE)
                words = [
                    str(place / BUNDLE) if isinstance(each, _File) else each for each in arguments
                ]
                record: dict[str, Any] = {
                    "home": self._home, "job": number, "kind": kind,
                    "arguments": list(arguments), "created": now(),
                    "process": None, "by": None, "ended": None, "code": None,
                }  # fmt: skip
                self._put(record)
                child = self._spawn(place, words)
            except BaseException as error:
                shutil.rmtree(place, ignore_errors=True)
                if isinstance(error, OSError):
                    raise failure("cannot start a job", error) from None
                raise
            record["process"] = writer_of(child.pid)
            self._put(record)
            self._own.add(number)
            threading.Thread(target=self._wait, args=(number, child), daemon=True).start()
        return self.get(number)

    def _spawn(self, place: Path, words: Sequence[str]) -> Child:
        assert self._directory is not None
        command = [sys.executable, "-P", "-m", "simgit", "-C", str(self._directory), *words]
        environment = {**os.environ, "SIMGIT_PROGRESS": str(place / "progress")}
        with _new(place / "out") as out, _new(place / "err") as err:
            return Child(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment,
                cwd=self._directory.parent, start_new_session=True,
            )  # fmt: skip

    def _wait(self, number: int, child: Child) -> None:
        code = child.wait()
        with self._lock, suppress(NotFound, StorageError, OSError):  # the repository was deleted
            self._end(self._read(number), code)
        self._own.discard(number)

    def cancel(self, number: int, timeout: float) -> dict[str, Any]:
        """Ask a job to end, and end its processes after a time in seconds; return its record.

        Raises:
            NotFound: there is no such job.
        """
        with self._lock:
            record = self._read(number)
            if self._is_over(record) or record["by"] is not None:
                return self._told(record)
            self._put(record | {"by": "cancel"})
        process = record["process"]
        if process is not None:
            interrupt(process)

        def last() -> None:
            deadline = time.monotonic() + timeout
            while is_alive(process) and time.monotonic() < deadline:
                time.sleep(0.05)
            with suppress(errors.SimgitError):
                end(process, politely=True)

        if process is not None:
            threading.Thread(target=last, daemon=True).start()
        return self.get(number)

    def remove(self, number: int) -> bool:
        """Forget a job that has ended, with what it exported; return False if it runs.

        Raises:
            NotFound: there is no such job.
        """
        with self._lock:
            if not self._is_over(self._read(number)):
                return False
            self._drop(number)
            return True

    # --- looking ---

    def get(self, number: int) -> dict[str, Any]:
        """Return what is known of a job, with its last lines and its result.

        Raises:
            NotFound: there is no such job.
        """
        record = self._read(number)
        found = self._told(record)
        found |= shortened(_output(self._place(number), found))
        return found

    def all(self) -> list[dict[str, Any]]:
        """Return what is known of all jobs but their lines and results, the newest first."""
        found = []
        for number in sorted(self._numbers(), reverse=True):
            with suppress(NotFound, OSError):
                found.append(self._told(self._over.get(number) or self._read(number)))
        return found

    def exported(self, number: int) -> BinaryIO:
        """Return the bundle that a job has exported, open.

        Raises:
            NotFound: there is no such job, or it has exported nothing, or not yet.
            StorageError: it cannot be opened.
        """
        found = self.get(number)
        if found["kind"] != "exports" or found["outcome"] != "completed":
            what = found["outcome"] or found["phase"]
            raise NotFound(f"job {number} ({found['kind']}, {what}) has no bundle", job=number)
        try:
            return regular.reader(self._place(number) / BUNDLE)
        except OSError as error:
            raise failure("cannot open the bundle", error) from None

    def check(self) -> None:
        """Refuse one more job if there are too many.

        Raises:
            Refused: 429.
            InvalidInput: the repository is in memory.
        """
        if self._directory is None:
            raise InvalidInput("jobs are processes: they need a repository in a directory")
        if sum(each["outcome"] is None for each in self.all()) >= MOST:
            raise Refused(429, f"{MOST} jobs run already", {"Retry-After": "5"}, limit=MOST)

    @contextmanager
    def spool(self) -> Iterator[Path]:
        """Yield a path in the repository's file system, of a file that is not kept."""
        place = self._folder / f"incoming-{os.getpid()}-{secrets.token_hex(8)}"
        try:
            yield place
        finally:
            place.unlink(missing_ok=True)

    # --- files ---

    @property
    def _folder(self) -> Path:
        assert self._directory is not None
        make_private(self._directory / "live")
        make_private(self._directory / "live" / "jobs")
        return self._directory / "live" / "jobs"

    def _place(self, number: int) -> Path:
        return self._folder / str(number)

    def _numbers(self) -> list[int]:
        if self._directory is None or not (self._directory / "live" / "jobs").is_dir():
            return []
        names = [each.name for each in (self._directory / "live" / "jobs").iterdir()]
        return [int(each) for each in names if each.isascii() and each.isdecimal()]

    def _next(self) -> int:
        """Return a number that no job has had, also none that is forgotten."""
        path = self._folder / "last"
        with suppress(OSError, ValueError):
            number = max(int(_text(path)), *self._numbers(), 0) + 1
            _replace(path, str(number))
            return number
        number = max(self._numbers(), default=0) + 1
        _replace(path, str(number))
        return number

    def _read(self, number: int) -> dict[str, Any]:
        """Return the record of a job of this directory."""
        if number in self._numbers():
            place = self._place(number)
            with suppress(OSError, ValueError, RecursionError, errors.SimgitError):
                make_private(place)
                found = json.loads(_text(place / "job.json"))
                if _is_record(found) and (found["home"], found["job"]) == (self._home, number):
                    return dict(found)
        raise NotFound(f"there is no job {number}", job=number)

    def _put(self, record: Mapping[str, Any]) -> None:
        _replace(self._place(record["job"]) / "job.json", json.dumps(record))

    def _is_over(self, record: dict[str, Any]) -> bool:
        """Return True if a job has ended; one of a server that has died ends in the record.

        It is not stored here: a request that reads writes nothing.
        """
        if record["ended"] is not None:
            return True
        process, number = record["process"], record["job"]
        if process is None:  # it is being started, or its server died at that moment
            is_over = now() > record["created"] + _START_SECONDS * 10**9
        else:
            is_over = number not in self._own and not is_alive(process)
        if is_over:
            with suppress(NotFound):  # how it ended may have been noted since the record was read
                record |= self._read(number)
            if record["ended"] is None:
                record |= {"ended": now(), "code": None}
        return bool(is_over)

    def _end(self, record: dict[str, Any], code: int | None) -> None:
        record |= {"ended": now(), "code": code}
        if record["kind"] == "imports":
            (self._place(record["job"]) / BUNDLE).unlink(missing_ok=True)
        self._put(record)

    def _told(self, record: dict[str, Any]) -> dict[str, Any]:
        number, place = record["job"], self._place(record["job"])
        is_over = self._is_over(record)
        outcome, why = None, None
        if is_over:
            outcome, why = _outcome(record, place)
            self._over[number] = record
        phase = "ended" if is_over else "running" if record["by"] is None else "stopping"
        return {
            "job": number, "kind": record["kind"], "arguments": shortened(record["arguments"]),
            "phase": phase, "outcome": outcome, "reason": shortened(why, without_folders),
            "progress": _progress(place),
            "process": None if is_over or not record["process"] else record["process"]["pid"],
            "created": stamp(record["created"]), "ended": stamp(record["ended"]),
        }  # fmt: skip

    def _drop(self, number: int) -> None:
        self._over.pop(number, None)
        shutil.rmtree(self._place(number), ignore_errors=True)

    def _sweep(self) -> None:
        """Forget the oldest jobs that have ended, and what servers that died were sent."""
        over = []
        for number in self._numbers():
            try:
                record = self._read(number)
            except NotFound:  # its server died before it was written, or it is a stranger's
                self._drop(number)
                continue
            is_noted = record["ended"] is not None
            if self._is_over(record):
                if not is_noted:
                    self._end(record, None)
                over.append((record["ended"], number))
        for index, (ended, number) in enumerate(sorted(over, reverse=True)):
            if index >= KEPT or now() - ended > KEPT_SECONDS * 10**9:
                self._drop(number)
        for path in self._folder.glob("incoming-*-*"):
            pid = path.name.split("-")[1]
            if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
                path.unlink(missing_ok=True)


def failure(what: str, error: OSError) -> StorageError:
    """Return the error for one of the system; it is another one if the disk is full."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return (StorageFullError if is_full else StorageError)(f"{what}: {reason(error)}")


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with _new(new) as file:
        file.write(text.encode())
    new.replace(path)


def _new(path: Path) -> BinaryIO:
    """Return a new file that only this user may read, open."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _text(path: Path) -> str:
    """Return the text of a regular file, of at most ``_END`` bytes.

    Raises:
        OSError: there is none.
        StorageError: it is a link or a special file.
    """
    with regular.reader(path) as file:
        return file.read(_END).decode(errors="replace")


def _tail(path: Path) -> str:
    with suppress(OSError, StorageError), regular.reader(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _END))
        return file.read(_END).decode(errors="replace")
    return ""


def _is_record(found: Any) -> bool:
    """Return True if a record has what one has, whoever wrote it."""
    if not isinstance(found, dict) or not isinstance(found.get("arguments"), list):
        return False
    process = found.get("process")
    kinds = {"machine": str, "pid": int, "start": str}
    is_process = process is None or (
        isinstance(process, dict) and all(type(process.get(k)) is kinds[k] for k in kinds)
    )
    numbers = [found.get(name) for name in ("job", "created", "ended", "code")]
    texts = [found.get(name) for name in ("home", "kind", "by")]
    return (
        is_process
        and all(type(each) is int for each in numbers[:2])
        and all(each is None or type(each) is int for each in numbers[2:])
        and all(isinstance(each, str) for each in texts[:2])
        and (texts[2] is None or isinstance(texts[2], str))
    )


def _progress(place: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError, StorageError):
        done, total, stage = _text(place / "progress").split()
        return {"done": int(done), "total": int(total) if total != "-" else None, "stage": stage}
    return None


def _documents(text: str) -> list[Any]:
    """Return the JSON documents among lines; a line that was cut off is left out."""
    found = []
    for line in text.splitlines():
        with suppress(ValueError, RecursionError):
            found.append(json.loads(line))
    return found


def _errors(place: Path) -> list[dict[str, Any]]:
    found = [each for each in _documents(_tail(place / "err")) if isinstance(each, dict)]
    return [each["error"] for each in found if isinstance(each.get("error"), dict)]


def _outcome(record: Mapping[str, Any], place: Path) -> tuple[str, str | None]:
    """Return how a job ended, and why, by what it printed."""
    if _documents(_tail(place / "out")):
        return "completed", None
    if record["by"] is not None:
        return "cancelled", None
    failed = _errors(place)
    if failed:
        return "failed", str(failed[-1].get("message"))
    code = record["code"]
    if code is None:
        return "crashed", "its process ended without a word"
    return "crashed", signal_name(code) if code < 0 else f"its process left with code {code}"


def _output(place: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a job printed: its last lines, its result, its error as a problem."""
    lines = []
    for line in _tail(place / "err").splitlines():
        document = next(iter(_documents(line)), None)
        if isinstance(document, dict) and isinstance(document.get("warning"), dict):
            lines.append(f"warning: {document['warning'].get('message')}")
        elif not (isinstance(document, dict) and "error" in document):
            lines.append(line)
    results = _documents(_tail(place / "out")) if told["outcome"] == "completed" else []
    result = results[0] if len(results) == 1 else results or None
    failed = _errors(place) if told["outcome"] == "failed" else []
    return {
        "lines": lines[-_LINES:], "result": result,
        "error": _problem(failed[-1]) if failed else None,
    }  # fmt: skip


def _problem(error: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error of the command line as a problem of the API."""
    name, message = str(error.get("type")), str(error.get("message"))
    name = "InvalidInput" if error.get("exit") == _USAGE else name  # an option is malformed
    kind = getattr(errors, name, None)
    is_ours = isinstance(kind, type) and issubclass(kind, errors.SimgitError)
    classes = kind.__mro__ if is_ours and isinstance(kind, type) else ()
    data = error.get("data")
    more = dict(data) if isinstance(data, dict) else {}
    return more | {
        "type": name, "detail": message,
        "title": (kind.__doc__ or "").partition("\n")[0] if is_ours else "A command that failed.",
        "status": next((STATUS[each] for each in classes if each in STATUS), 500),
    }  # fmt: skip
