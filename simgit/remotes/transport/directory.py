"""Objects as files below a directory, on a local or a network file system.

The parts of a key are names of directories and of the file, so that other tools can copy a
directory into a bucket and back. So no key can begin with another key and a slash. A part that is
longer than a file's name may be is cut; all pieces but the last are directories whose names end
with ``^``.

A writer fills a file in ``.scratch``, syncs it, takes the lock of the key, looks at what is there,
and then links or renames the file into its place: a reader sees all of it or nothing, and what a
killed writer leaves is in ``.scratch``, where the next writer removes it an hour later. Locks are
those of ``flock`` on the files of ``.locks``: the kernel gives them back when a process ends. On
NFS they hold between machines since Linux 2.6.12, if the server and the mount have locks (no
``nolock`` or ``local_lock``).
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Final
from uuid import uuid4

from blake3 import blake3

from simgit.errors import StorageError, StorageFullError, TransportError, reason
from simgit.remotes.transport import base
from simgit.remotes.transport.base import PAGE, PART, Got, Listed, Transport
from simgit.storage import durable, regular

SCRATCH: Final = ".scratch"
"""The directory of files that are being written."""
LOCKS: Final = ".locks"
"""The directory of lock files: one for each first byte of the hash of a key."""
OLD: Final = 3600
"""Seconds after which a file in ``.scratch`` that nobody writes to was left by a killed writer."""
PATIENCE: Final = 60
"""Seconds for which a writer waits for the lock of a key."""
_NAME: Final = 255
"""The most bytes of a name."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_AWAY: Final = (
    errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ENXIO, errno.ENODEV,
)  # fmt: skip
"""What a network file system says when its server is away, and a disk that was pulled out."""
_CLASH: Final = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY)
_BLOCK: Final = 1 << 20
"""The bytes of a file that are read at once for its etag."""
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_LOCKS: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class DirectoryTransport(Transport):
    """A directory; it is made by the first write, if the one above it is there."""

    def __init__(self, root: str | Path) -> None:
        """Note the directory; nothing is read or written yet."""
        self._root = Path(root).absolute()
        super().__init__(str(self._root), "exclusive")
        self._is_prepared = False

    def get(self, key: str, *, unless: str | None = None, most: int = base.MOST) -> Got | None:
        """Return an object; see ``Transport``."""
        with self._read(key) as (file, found):
            data = file.read(most + 1)
        if len(data) > most:
            raise base.too_large(key, self.url, most)
        etag = _etag(data)
        if etag == unless:
            return None
        self.counts.add(received=len(data))
        return Got(data, etag, found.st_mtime)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return bytes of an object; see ``Transport``."""
        base.check_range(start, length)
        with self._read(key) as (file, found):
            if start >= found.st_size and start >= 0:
                raise base.beyond(key, start, found.st_size)
            file.seek(max(0, found.st_size + start) if start < 0 else start)
            part = file.read(-1 if start < 0 else length)
        self.counts.add(received=len(part))
        return part

    def head(self, key: str) -> Listed:
        """Return an object without its bytes, which are read for the etag; see ``Transport``."""
        with self._read(key) as (file, found):
            return Listed(key, found.st_size, found.st_mtime, _etag_of(file))

    def put(self, key: str, data: bytes | BinaryIO) -> str:
        """Write an object; see ``Transport``."""
        with self._written(key, data) as (scratch, path, etag):
            scratch.replace(path)
        return etag

    def put_new(self, key: str, data: bytes) -> str:
        """Write a new object; see ``Transport``."""
        with self._written(key, data) as (scratch, path, etag):
            try:
                path.hardlink_to(scratch)
            except FileExistsError:
                raise base.taken(key, self.url) from None
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                # a file system without links; whoever writes holds the lock
                if os.path.lexists(path):
                    raise base.taken(key, self.url) from None
                scratch.replace(path)
        return etag

    def put_if(self, key: str, data: bytes, etag: str) -> str:
        """Replace an object; see ``Transport``."""
        with self._written(key, data) as (scratch, path, new):
            try:
                with regular.reader(path) as file:
                    found = _etag_of(file)
            except FileNotFoundError:
                found = None
            if found != etag:
                raise base.moved(key, self.url)
            scratch.replace(path)
        return new

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; see ``Transport``. Empty directories stay."""
        for batch in base.batches(keys):
            self.counts.add(requests=1)
            with self._told("delete"):
                found = {key: self._below([*_names(key)]) for key in batch}
                found = {key: path for key, path in found.items() if os.path.lexists(path)}
                for key, path in found.items():
                    self._prepare()
                    with self._locked(key), suppress(FileNotFoundError):
                        os.unlink(path)  # noqa: PTH108
            for folder in {Path(path).parent for path in found.values()}:
                durable.sync_names(folder)

    def list(self, prefix: str, *, etags: bool = False) -> Iterator[Listed]:
        """Yield objects by key; see ``Transport``."""
        parts = prefix.split("/") if (prefix := base.check_prefix(prefix)) else []
        with self._told("list"):
            self._check_parent()
            top = self._below([*_directories(parts), ""])  # whose last may be no link either
        before = f"{prefix}/" if prefix else ""
        self.counts.add(requests=1)
        for count, each in enumerate(self._walk(top, before, etags)):
            if count and count % PAGE == 0:
                self.counts.add(requests=1)
            yield each

    def _walk(self, folder: str, before: str, etags: bool) -> Iterator[Listed]:
        """Yield what is in a directory and below.

        Args:
            folder: its path.
            before: what the keys begin with.
            etags: with etags.
        """
        try:
            with self._told("list", missing_ok=True), os.scandir(folder) as entries:
                found = sorted(_entries(entries, before), key=itemgetter(0))
        except FileNotFoundError:
            return  # deleted just now, or it never was there
        rows = (
            each
            for start, entry in found
            for each in (
                self._walk(entry.path, start, etags)
                if entry.is_dir(follow_symlinks=False)
                else self._row(start, entry, etags)
            )
        )
        # the keys of a cut part come between those of its neighbours
        yield from sorted(rows) if any(entry.name.endswith("^") for _, entry in found) else rows

    def _row(self, key: str, entry: os.DirEntry[str], etags: bool) -> Iterator[Listed]:
        """Yield one file, unless it was deleted just now."""
        try:
            with self._told("list", missing_ok=True):
                found = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode):
                    raise _not_a_file(entry.path, found.st_mode)
                etag = None
                if etags:
                    with regular.reader(Path(entry.path)) as file:
                        found, etag = os.fstat(file.fileno()), _etag_of(file)
        except FileNotFoundError:
            return
        yield Listed(key, found.st_size, found.st_mtime, etag)

    @contextmanager
    def _read(self, key: str) -> Iterator[tuple[BinaryIO, os.stat_result]]:
        """Open an object."""
        base.check_key(key)
        self.counts.add(requests=1)
        with self._told("read"):
            path = self._below([*_names(key)])
            try:
                file = regular.reader(Path(path))
            except (FileNotFoundError, NotADirectoryError):
                self._check_parent()
                raise base.missing(key, self.url) from None
            except StorageError:
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    raise base.missing(key, self.url) from None
                raise
            with file:
                yield file, os.fstat(file.fileno())

    @contextmanager
    def _written(self, key: str, data: bytes | BinaryIO) -> Iterator[tuple[Path, Path, str]]:
        """Fill a scratch file, and lock the key while the block puts it into its place.

        Yields:
            The path of the scratch file, that of the object, and its etag.
        """
        base.check_key(key)
        self.counts.add(requests=1)
        with self._told("write"):
            self._prepare()
            path = Path(self._below([*_names(key)]))
            scratch = self._root / SCRATCH / f"{os.getpid()}-{uuid4().hex}"
            try:
                etag, size = _fill(scratch, data)
                self.counts.add(sent=size)
                with self._locked(key):
                    durable.make_directories(path.parent)
                    yield scratch, path, etag
                    durable.sync_names(path.parent)
            finally:
                with suppress(OSError):
                    scratch.unlink()

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Hold the lock of a key, against threads and processes, while the block runs."""
        path = f"{self._root}/{LOCKS}/{blake3(key.encode()).hexdigest()[:2]}"
        flags = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            handle = os.open(path, flags | os.O_RDWR, 0o666)
        except PermissionError:  # another user's: a local file system locks what can be read
            if not os.path.lexists(path):
                raise
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._wait_for(handle)
            yield
        finally:
            os.close(handle)  # which gives the lock back

    def _wait_for(self, handle: int) -> None:
        end, pause = time.monotonic() + PATIENCE, 0.0005
        while True:
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TransportError(
                        f"remote '{self.url}' was locked by another process for {PATIENCE} s: "
                        "try again when that has ended",
                        kind="throttled",
                        retryable=True,
                    ) from None
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                raise TransportError(
                    f"the file system of '{self.url}' has no locks: two writers would overwrite "
                    "each other; use a directory that has, or mount it with locks",
                    kind="unsupported",
                ) from None
            time.sleep(pause * random.random())
            pause = min(2 * pause, 0.02)

    def _below(self, names: Sequence[str]) -> str:
        """Return a path below the root, where no directory is a link."""
        *folders, last = names
        path = str(self._root)
        for each in folders:
            path = f"{path}/{each}"
            with suppress(FileNotFoundError, NotADirectoryError):
                if stat.S_ISLNK(mode := os.lstat(path).st_mode):
                    raise _not_a_file(path, mode)
        return f"{path}/{last}"

    def _check_parent(self) -> None:
        """Check that the root can be made, at least: else a disk may not be mounted.

        Raises:
            TransportError: it cannot.
        """
        if not self._root.parent.is_dir():
            raise TransportError(
                f"there is no directory '{self._root.parent}' for the remote '{self.url}': "
                "mount it or make it",
                kind="no-bucket",
            )

    def _prepare(self) -> None:
        """Make the directories that are missing, and remove what killed writers left."""
        if self._is_prepared:
            return
        self._check_parent()
        for each in (self._root, self._root / SCRATCH, self._root / LOCKS):
            if not each.is_dir():
                each.mkdir(exist_ok=True)
                durable.sync_names(each.parent)
            if each != self._root and each.is_symlink():
                raise _not_a_file(str(each), stat.S_IFLNK)
        scratch = self._root / SCRATCH
        if scratch.with_name(SCRATCH.upper()).exists():
            raise TransportError(
                f"the file system of '{self.url}' does not tell 'A' from 'a': names of runs that "
                "differ in nothing else would be one; use another",
                kind="unsupported",
            )
        _remove_old(scratch)
        self._is_prepared = True

    @contextmanager
    def _told(self, what: str, *, missing_ok: bool = False) -> Iterator[None]:
        """Turn what the operating system says into errors of a transport."""
        try:
            yield
        except OSError as error:
            if missing_ok and isinstance(error, (FileNotFoundError, NotADirectoryError)):
                raise FileNotFoundError from None
            raise self._translated(error, what) from error
        except StorageError as error:
            if isinstance(error, (TransportError, StorageFullError)):
                raise
            raise TransportError(str(error), kind="unsupported") from None

    def _translated(self, error: OSError, what: str) -> StorageError:
        said = f"cannot {what} in the remote '{self.url}': {reason(error)}"
        if error.errno in _FULL:
            return StorageFullError(f"{said}; make room there")
        if error.errno in _DENIED:
            hint = "mount it to be written" if error.errno == errno.EROFS else "ask its owner"
            return TransportError(f"{said}; {hint}", kind="denied")
        if error.errno in _AWAY:
            return TransportError(said, kind="unreachable", retryable=True, unknown=what == "write")
        if error.errno == errno.ENOENT:  # somebody removes it while it is used
            self._is_prepared = False
            return TransportError(said, kind="no-bucket", retryable=True, unknown=what == "write")
        if error.errno in _CLASH:
            return TransportError(
                f"{said}: the begin of a key is a key there, or the other way round",
                kind="unsupported",
            )
        return TransportError(said, kind="unknown")


def _pieces(part: str) -> Iterator[str]:
    """Yield the names of a part that is too long for one."""
    while len(part) > _NAME:
        yield f"{part[: _NAME - 1]}^"
        part = part[_NAME - 1 :]
    yield part


def _directories(parts: list[str]) -> Iterator[str]:
    """Yield the names of the directories for the parts of a key, all but its last or a prefix."""
    for part in parts:
        yield from _pieces(part)


def _names(key: str) -> Iterator[str]:
    *parts, last = key.split("/")
    yield from _directories(parts)
    yield from _pieces(last)


def _entries(
    entries: Iterable[os.DirEntry[str]], before: str
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield what is of a transport in a directory, with the key, or what the keys begin with.

    Other files are left alone: hidden ones, and what no key has the name of.
    """
    for entry in entries:
        start = f"{before}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if entry.name.endswith("^"):
                start = start[:-1]
            else:
                start += "/"
        if PART.fullmatch(start.removesuffix("/").rpartition("/")[2]):
            yield start, entry


def _fill(scratch: Path, data: bytes | BinaryIO) -> tuple[str, int]:
    """Write a new file and sync it; return its etag and size."""
    handle = regular.open_file(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    digest, size = blake3(), 0
    with os.fdopen(handle, "wb") as file:
        for block in _blocks(data):
            file.write(block)
            digest.update(block)
            size += len(block)
        file.flush()
        os.fsync(handle)
    return digest.hexdigest(), size


def _blocks(data: bytes | BinaryIO) -> Iterator[bytes]:
    if isinstance(data, (bytes, bytearray, memoryview)):
        yield data
        return
    while block := data.read(1 << 20):
        yield block


def _etag(data: bytes) -> str:
    return blake3(data).hexdigest()


def _etag_of(file: BinaryIO) -> str:
    """Return the etag of a file, which may be large, from where it stands."""
    hasher = blake3()
    while block := file.read(_BLOCK):
        hasher.update(block)
    return hasher.hexdigest()


def _remove_old(scratch: Path) -> None:
    """Remove what nobody has written to for an hour, by the clock of the file system."""
    now = None
    with os.scandir(scratch) as entries:
        for entry in entries:
            with suppress(OSError):  # of another user, or removed just now
                if now is None:
                    os.utime(scratch)
                    now = scratch.stat().st_mtime
                if now - entry.stat(follow_symlinks=False).st_mtime > OLD:
                    os.unlink(entry.path)  # noqa: PTH108


def _not_a_file(path: str, mode: int) -> TransportError:
    return TransportError(
        f"'{path}' is {regular.kind_of(mode)}: a remote has directories and regular files only; "
        "remove it if it is not yours",
        kind="unsupported",
    )
