"""The seam between a remote and its storage: objects of bytes by key, some replaced by comparing.

A key is a path of parts between slashes; each part has letters, digits and ``. _ ~ % + = @ , -`` of
ASCII (callers percent-encode) and does not begin with a dot.
"""

from __future__ import annotations

import itertools
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO, Final, NamedTuple
from uuid import uuid4

from simgit.errors import (
    AlreadyExists,
    Conflict,
    IntegrityError,
    InvalidInput,
    NotFound,
    TransportError,
    shown,
)

MAX_KEY: Final = 900
"""The most bytes of a key; S3 allows 1024, with the prefix of the remote."""
MOST: Final = 64 << 20
"""The most bytes of an object that is read as a whole, where its kind has no limit of its own."""
PAGE: Final = 1000
"""The keys of a page of a listing, and of a batch of deletions."""
PART: Final = re.compile(r"(?!\.)[A-Za-z0-9._~%+=@,-]+")
"""The form of a part of a key."""
_KEY: Final = re.compile(rf"(?:{PART.pattern}/)*{PART.pattern}")


class Listed(NamedTuple):
    """An object without its bytes."""

    key: str
    size: int
    """Bytes."""
    modified: float
    """When it was written: seconds since 1970, by the clock of the store."""
    etag: str | None
    """What tells this content from others; None where it was not asked for."""


class Got(NamedTuple):
    """An object with its bytes."""

    data: bytes
    etag: str
    modified: float
    """When it was written: seconds since 1970, by the clock of the store."""


class Counts:
    """Counts of what a transport has asked of its store so far; threads may count at once.

    Attributes:
        requests: requests that were sent, repeated ones too. A page of a listing is one, and so is
            a batch of deletions, an upload of several parts one for each, and two.
        sent: bytes of objects that were sent.
        received: bytes of objects that were received.
        retries: requests that were sent again.
    """

    def __init__(self) -> None:
        """Begin at zero."""
        self._lock = threading.Lock()
        self.requests = self.sent = self.received = self.retries = 0

    def add(self, *, requests: int = 0, sent: int = 0, received: int = 0, retries: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            self.requests += requests
            self.sent += sent
            self.received += received
            self.retries += retries

    def __repr__(self) -> str:
        """Return all counts."""
        return (
            f"Counts(requests={self.requests}, sent={self.sent}, received={self.received}, "
            f"retries={self.retries})"
        )


class Transport(ABC):
    """A store of objects; threads may use it at once, and every call waits for its end.

    Every call may raise ``TransportError``, and ``StorageFullError`` if it writes. A call that may
    be repeated is, where the store or the network is to blame. ``put_new`` and ``put_if`` are sent
    again only if the store says that it was too busy for them: where their answer is lost, they
    raise a ``TransportError`` that is ``unknown``.

    Attributes:
        url: where the objects are, without credentials.
        conditional: how the store keeps the conditions of ``put_new`` and ``put_if``:
            ``exclusive`` (by itself, with locks), ``etag`` or ``etag-unquoted`` (as HTTP has it;
            servers differ in the quotes that they want). See ``probe_conditions``.
        counts: requests and bytes so far.
    """

    url: str
    conditional: str

    def __init__(self, url: str, conditional: str) -> None:
        """Note where the objects are."""
        self.url = url
        self.conditional = conditional
        self.counts = Counts()

    @abstractmethod
    def get(self, key: str, *, unless: str | None = None, most: int = MOST) -> Got | None:
        """Return an object; None if its etag is ``unless``.

        Args:
            key: the object.
            unless: an etag that is known.
            most: the most bytes that it may have; no more than about these are read.

        Raises:
            NotFound: there is none.
            IntegrityError: it is larger.
        """

    @abstractmethod
    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return the bytes of an object from ``start`` on, at most ``length`` of them.

        Args:
            key: the object.
            start: a position in bytes; negative: the last ``-start`` bytes, whatever ``length``.
            length: bytes, at least 1.

        Raises:
            InvalidInput: the object ends before ``start``.
            NotFound: there is none.
        """

    @abstractmethod
    def head(self, key: str) -> Listed:
        """Return an object without its bytes, with its etag.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    def put(self, key: str, data: bytes | BinaryIO) -> str:
        """Write an object, and return its etag; what was there is replaced.

        For objects that are named by their content: who writes them last does not matter. Readers
        see the old bytes or the new, never a part.

        Args:
            key: the object.
            data: its bytes, or a file, which is read from where it stands to its end.
        """

    @abstractmethod
    def put_new(self, key: str, data: bytes) -> str:
        """Write an object that is not there yet, and return its etag.

        Raises:
            AlreadyExists: it is there.
        """

    @abstractmethod
    def put_if(self, key: str, data: bytes, etag: str) -> str:
        """Replace the object that has the etag, and return the new etag.

        Raises:
            Conflict: another is there, or none.
        """

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are fine."""

    @abstractmethod
    def list(self, prefix: str, *, etags: bool = False) -> Iterator[Listed]:
        """Yield all objects below a prefix, ordered by key.

        Args:
            prefix: whole parts of keys: ``refs/runs`` and ``refs/runs/`` are the same, and
                ``refs/ru`` is another; empty for all.
            etags: with their etags; a store may have to read the objects for this.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Give back what the transport holds; a second time is fine."""

    def __enter__(self) -> Transport:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def check_key(key: str) -> str:
    """Return a key if it has the form of one.

    Raises:
        InvalidInput: it has not.
    """
    if not isinstance(key, str):
        raise InvalidInput(f"the key of an object must be a text, got {shown(key)}")
    if len(key) > MAX_KEY:
        raise InvalidInput(f"key of an object is longer than {MAX_KEY} bytes: {shown(key)}")
    if not _KEY.fullmatch(key):
        raise InvalidInput(
            f"'{key[:MAX_KEY]}' is not a key of an object: parts between slashes have letters, "
            "digits and '._~%+=@,-' of ASCII and begin with no dot; percent-encode others",
            key=key,
        )
    return key


def is_key(text: str) -> bool:
    """Return whether a text has the form of a key."""
    return len(text) <= MAX_KEY and _KEY.fullmatch(text) is not None


def check_prefix(prefix: str) -> str:
    """Return a prefix without the slash at its end.

    Raises:
        InvalidInput: it has not the form of a key.
    """
    return check_key(prefix.removesuffix("/")) if prefix else ""


def check_range(start: int, length: int) -> None:
    """Check what is asked for of an object.

    Raises:
        InvalidInput: it is no byte.
    """
    if start >= 0 and length < 1:
        raise InvalidInput(f"the length of a range must be at least 1 byte, got {length}")


def missing(key: str, url: str) -> NotFound:
    """Return the error for an object that is not there."""
    return NotFound(f"no object '{key}' in '{url}'", key=key)


def taken(key: str, url: str) -> AlreadyExists:
    """Return the error for a new object that is there."""
    return AlreadyExists(f"object '{key}' is already in '{url}'", key=key)


def moved(key: str, url: str) -> Conflict:
    """Return the error for an object that is not the one that was to be replaced."""
    return Conflict(f"object '{key}' in '{url}' was changed by somebody else", key=key)


def too_large(key: str, url: str, most: int) -> IntegrityError:
    """Return the error for an object that is larger than one of its kind may be."""
    return IntegrityError(
        f"object '{key}' in '{url}' has more than the {most} bytes that it may have", key=key
    )


def beyond(key: str, start: int, size: int) -> InvalidInput:
    """Return the error for a range that begins after the end."""
    return InvalidInput(f"object '{key}' has {size} bytes, none at {start}", key=key)


def no_credentials() -> InvalidInput:
    """Return the error for an address with credentials, which it does not show."""
    return InvalidInput(
        "the URL of a remote must not have a user's name or password: set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or name a profile of ~/.aws"
    )


def batches(keys: Iterable[str]) -> Iterator[list[str]]:
    """Yield checked keys, as many at a time as one request deletes."""
    rest = iter(keys)
    while batch := [check_key(key) for key in itertools.islice(rest, PAGE)]:
        yield batch


def probe_conditions(transport: Transport, prefix: str) -> str:
    """Find out how a store keeps conditions, and set ``conditional`` of the transport to it.

    A scratch object below the prefix is written, replaced under right and wrong conditions, and
    deleted if that is permitted.

    Returns:
        ``exclusive``, ``etag`` or ``etag-unquoted``; ``none`` if the store ignores conditions: two
        writers would then overwrite each other unnoticed.

    Raises:
        TransportError: the store cannot be reached, or refuses to be written.
    """
    if transport.conditional == "exclusive":
        return "exclusive"
    key = f"{check_prefix(prefix)}/probe-{uuid4().hex}".removeprefix("/")
    before = transport.conditional
    try:
        for form in ("etag", "etag-unquoted"):
            transport.conditional = form
            if _keeps_conditions(transport, f"{key}-{form}"):
                return form
        transport.conditional = before
        return "none"
    except BaseException:
        transport.conditional = before
        raise
    finally:
        with suppress(TransportError):  # who may write may not delete, perhaps
            transport.delete([f"{key}-etag", f"{key}-etag-unquoted"])


def _keeps_conditions(transport: Transport, key: str) -> bool:
    """Return whether a store refuses what it has to, and nothing else."""
    try:
        first = transport.put_new(key, b"1")
        if _is_done(transport.put_new, key, b"2"):
            return False
        second = transport.put_if(key, b"3", first)
        if _is_done(transport.put_if, key, b"4", first):
            return False
        third = transport.put_if(key, b"5", second)
        found = transport.get(key)
    except (AlreadyExists, Conflict, NotFound):  # of a right condition
        return False
    except TransportError as error:
        if error.kind != "unsupported":
            raise
        return False
    return found is not None and (found.data, found.etag) == (b"5", third)


def _is_done(write: Callable[..., str], *args: str | bytes) -> bool:
    """Return False if a write is refused for its condition."""
    try:
        write(*args)
    except (AlreadyExists, Conflict):
        return False
    return True
