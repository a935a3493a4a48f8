"""The way to a simulation: JSON lines on a Unix socket that only its user may open.

The simulation listens, in a thread of its own. A request is a map with ``do``; its answer has
``result``, or ``error`` with the class of an error and its text. Whoever may read the directory of
the socket may control the simulation, with or without a tracker.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import stat
import struct
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeGuard

from simgit import errors
from simgit.errors import Conflict, InvalidInput, SimgitError, StorageError, TimedOut, reason
from simgit.refs.simulations import home_of

MOST_BYTES: Final = 1 << 20
"""The longest line of a request or an answer, in bytes."""
_LONGEST_PATH: Final = 100
"""The longest path of a socket in the repository, in bytes."""
_KERNELS_LONGEST: Final = 107
_MOST_CONNECTIONS: Final = 64
_SEND_SECONDS: Final = 1.0
_UCRED: Final = struct.Struct("3i")


@dataclass
class Message:
    """A request that the simulation's own thread has to answer, and its answer, given once."""

    request: dict[str, Any]
    _send: Callable[[dict[str, Any]], None]
    is_answered: bool = field(default=False)

    @property
    def what(self) -> str:
        """The name of the request."""
        return str(self.request.get("do"))

    @property
    def is_late(self) -> bool:
        """True if who asked waits no more."""
        until = self.request.get("until")
        return isinstance(until, (int, float)) and time.monotonic() > until

    def answer(self, result: Any = None) -> None:
        """Answer with a result of plain values."""
        self._answer({"result": result})

    def refuse(self, error: BaseException) -> None:
        """Answer with an error."""
        self._answer({"error": {"type": type(error).__name__, "text": str(error)}})

    def _answer(self, found: dict[str, Any]) -> None:
        if not self.is_answered:
            self.is_answered = True
            self._send(found)


class Listener:
    """The simulation's end.

    Args:
        path: where to listen.
        now: answers a request at once, in the thread of the listener; None if the simulation's own
            thread has to.

    Attributes:
        waiting: the messages for the simulation's own thread, the oldest first.
        arrived: notified when there is one.
    """

    def __init__(self, path: Path, now: Callable[[dict[str, Any]], Any | None]) -> None:
        self.path = path
        self.waiting: deque[Message] = deque()
        self.arrived = threading.Condition()
        self._now = now
        self._socket = _bound(path)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._connections: dict[socket.socket, bytearray] = {}
        _listeners.add(self)
        self._thread = threading.Thread(target=self._serve, name="simgit-control", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Hold nothing open in a forked process: it would answer nobody."""
        for each in (self._socket, self._wake, self._woken, *self._connections):
            each.close()

    def put(self, request: Mapping[str, Any]) -> None:
        """Put a message into the queue that nobody waits for the answer of."""
        with self.arrived:
            self.waiting.append(Message(dict(request), lambda _: None))
            self.arrived.notify_all()

    def close(self) -> None:
        """Refuse what waits, and listen no more."""
        with suppress(OSError):
            self._wake.send(b"x")
        self._thread.join(2.0)
        while self.waiting:
            self.waiting.popleft().refuse(Conflict("the simulation has ended"))
        with suppress(OSError):
            self.path.unlink()

    def _serve(self) -> None:
        with self._selector, self._socket, self._woken, self._wake:
            while True:
                for key, _ in self._selector.select():
                    found = key.fileobj
                    if found is self._woken:
                        for each in self._connections:
                            each.close()
                        return
                    if found is self._socket:
                        self._accept()
                    elif found in self._connections:  # not dropped a moment ago
                        assert isinstance(found, socket.socket)
                        self._read(found)

    def _accept(self) -> None:
        with suppress(OSError):
            connection, _ = self._socket.accept()
            if user_of(connection) not in (os.getuid(), 0):
                connection.close()
                return
            if len(self._connections) >= _MOST_CONNECTIONS:
                self._drop(next(iter(self._connections)))  # the oldest: a stop must come through
            connection.settimeout(_SEND_SECONDS)
            self._connections[connection] = bytearray()
            self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> None:
        buffer = self._connections[connection]
        try:
            data = connection.recv(1 << 16)
        except OSError:
            data = b""
        buffer += data
        if not data or len(buffer) > MOST_BYTES:
            self._drop(connection)
            return
        while connection in self._connections and (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            self._take(connection, line)

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._connections[connection]
        connection.close()

    def _take(self, connection: socket.socket, line: bytes) -> None:
        def send(answer: dict[str, Any]) -> None:
            try:
                connection.sendall(encoded(answer))
            except OSError:  # who asked has gone, or does not read
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

        message = Message({}, send)
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise InvalidInput("a request must be a map")
            message.request = request
            found = self._now(request)
        except Exception as error:
            message.refuse(error)
            return
        if found is not None:
            message.answer(found)
            return
        with self.arrived:
            self.waiting.append(message)
            self.arrived.notify_all()


_listeners: weakref.WeakSet[Listener] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for each in list(_listeners):
        each.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def call(path: str | Path, request: Mapping[str, Any], timeout: float | None = 5.0) -> Any:
    """Send a request to a simulation; return the result.

    Args:
        path: the socket.
        request: ``do``, and what belongs to it.
        timeout: how many seconds to wait for the answer; None for ever.

    Raises:
        Conflict: nothing listens there: the simulation has ended, or has not begun.
        TimedOut: it has not answered in time.
        SimgitError: what it answered.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    # by the clock of this machine since it was started, which all of its processes share
    until = {} if deadline is None else {"until": deadline}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(path))
            if user_of(connection) not in (os.getuid(), 0):
                raise Conflict(f"socket '{path}' belongs to another user")
            connection.sendall(encoded({**request, **until}))
            answer = bytearray()
            while not answer.endswith(b"\n"):
                if deadline is not None:
                    connection.settimeout(max(0.001, deadline - time.monotonic()))
                data = connection.recv(1 << 16)
                if not data or len(answer) > MOST_BYTES:
                    raise Conflict("the simulation ended before it answered")
                answer += data
        except TimeoutError:
            raise TimedOut(
                f"the simulation has not answered in {timeout:g} s: it looks for messages in "
                "control.check, control.range and the steps of its environment"
            ) from None
        except OSError as error:
            raise Conflict(f"the simulation cannot be reached: {reason(error)}") from None
    found = json.loads(answer)
    if "error" in found:
        kind = getattr(errors, str(found["error"]["type"]), None)
        is_ours = isinstance(kind, type) and issubclass(kind, SimgitError)
        text = found["error"]["text"]
        if is_ours and isinstance(kind, type):
            raise kind(text)
        raise SimgitError(f"{found['error']['type']}: {text}")
    return found["result"]


def socket_folder(directory: Path) -> Path:
    """Return the directory that has the sockets of a repository's simulations.

    It is in the repository, or in the user's runtime directory where that path is too long for a
    socket.
    """
    folder = directory / "live"
    if len(os.fsencode(folder)) + len("/0123456789abcdef.sock") <= _LONGEST_PATH:
        return folder
    base = os.environ.get("XDG_RUNTIME_DIR")
    found = Path(base) if _is_there(base) else Path(tempfile.gettempdir()) / f"simgit-{os.getuid()}"
    return found / "simgit" / sha256(home_of(directory).encode()).hexdigest()[:16]


def _is_there(base: str | None) -> TypeGuard[str]:
    return bool(base) and Path(str(base)).is_dir()


def socket_path(directory: Path, execution: str) -> Path:
    """Return where the simulation of an execution listens; its directory is made.

    Raises:
        StorageError: the directory cannot be made, or is another user's; or the path is too long.
    """
    folder = socket_folder(directory)
    length = len(os.fsencode(folder / f"{execution}.sock"))
    if length > _KERNELS_LONGEST:
        raise StorageError(
            f"simulations cannot be reached in '{folder}': a socket's path has {_KERNELS_LONGEST} "
            f"bytes at most, this one {length}; let XDG_RUNTIME_DIR or TMPDIR name a directory "
            "with a shorter path"
        )
    for each in [folder] if folder.parent == directory else [*list(folder.parents)[1::-1], folder]:
        # everybody can write to a temporary directory: no other user may own what is in it
        if not _is_there(str(each)) or str(each) != os.environ.get("XDG_RUNTIME_DIR"):
            make_private(each)
    return folder / f"{execution}.sock"


def make_private(folder: Path) -> None:
    """Make a directory that only this user may enter.

    Raises:
        StorageError: it cannot be made, or is another user's or a link.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise StorageError(f"cannot make '{folder}': {reason(error)}") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise StorageError(f"'{folder}' must be a directory of this user")
    if status.st_mode & 0o077:
        folder.chmod(0o700)


def _bound(path: Path) -> socket.socket:
    with suppress(FileNotFoundError):
        path.unlink()
    made = socket.socket(socket.AF_UNIX)
    try:
        made.bind(str(path))
        path.chmod(0o600)
        made.listen(16)
    except OSError as error:
        made.close()
        raise StorageError(f"cannot listen at '{path}': {reason(error)}") from None
    return made


def user_of(connection: socket.socket) -> int:
    """Return the number of the user at the other end."""
    if not hasattr(socket, "SO_PEERCRED"):  # not Linux: the directory's mode has to do
        return os.getuid()
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(raw)[1])


def encoded(value: Mapping[str, Any]) -> bytes:
    try:
        data = json.dumps(value, default=_plain).encode() + b"\n"
    except Exception as error:  # also of what a user's class does
        data = encoded({"error": {"type": "InvalidInput", "text": f"not plain data: {error}"}})
    if len(data) > MOST_BYTES:
        return encoded({"error": {"type": "InvalidInput", "text": "longer than 1 MiB"}})
    return data


def _plain(value: Any) -> Any:
    """Return a value that JSON does not have as one that it has: arrays as lists, for instance."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
