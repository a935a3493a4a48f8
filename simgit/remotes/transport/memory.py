"""Objects in the memory of this process: for tests, and for what need not be kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from blake3 import blake3

from simgit.remotes.transport import base
from simgit.remotes.transport.base import PAGE, Got, Listed, Transport


class _Objects:
    """The objects of one name; every transport of the name has the same."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.found: dict[str, Got] = {}


_stores: Final[dict[str, _Objects]] = {}
_stores_lock: Final = threading.Lock()


class MemoryTransport(Transport):
    """A store that ends with the process; ``memory://`` and the same name is the same store."""

    def __init__(self, name: str) -> None:
        """Open a store, or begin one."""
        super().__init__(f"memory://{name}", "exclusive")
        with _stores_lock:
            self._objects = _stores.setdefault(name, _Objects())

    def get(self, key: str, *, unless: str | None = None, most: int = base.MOST) -> Got | None:
        """Return an object; see ``Transport``."""
        found = self._find(key)
        if found.etag == unless:
            return None
        if len(found.data) > most:
            raise base.too_large(key, self.url, most)
        self.counts.add(received=len(found.data))
        return found

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return bytes of an object; see ``Transport``."""
        base.check_range(start, length)
        data = self._find(key).data
        if start >= len(data):
            raise base.beyond(key, start, len(data))
        part = data[start:] if start < 0 else data[start : start + length]
        self.counts.add(received=len(part))
        return part

    def head(self, key: str) -> Listed:
        """Return an object without its bytes; see ``Transport``."""
        found = self._find(key)
        return Listed(key, len(found.data), found.modified, found.etag)

    def put(self, key: str, data: bytes | BinaryIO) -> str:
        """Write an object; see ``Transport``."""
        base.check_key(key)
        content = bytes(data) if isinstance(data, bytes | bytearray | memoryview) else data.read()
        self.counts.add(requests=1, sent=len(content))
        with self._objects.lock:
            return self._write(key, content)

    def put_new(self, key: str, data: bytes) -> str:
        """Write a new object; see ``Transport``."""
        base.check_key(key)
        self.counts.add(requests=1, sent=len(data))
        with self._objects.lock:
            if key in self._objects.found:
                raise base.taken(key, self.url)
            return self._write(key, bytes(data))

    def put_if(self, key: str, data: bytes, etag: str) -> str:
        """Replace an object; see ``Transport``."""
        base.check_key(key)
        self.counts.add(requests=1, sent=len(data))
        with self._objects.lock:
            found = self._objects.found.get(key)
            if found is None or found.etag != etag:
                raise base.moved(key, self.url)
            return self._write(key, bytes(data))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; see ``Transport``."""
        for batch in base.batches(keys):
            self.counts.add(requests=1)
            with self._objects.lock:
                for key in batch:
                    self._objects.found.pop(key, None)

    def list(self, prefix: str, *, etags: bool = False) -> Iterator[Listed]:
        """Yield objects by key; see ``Transport``."""
        below = f"{prefix}/" if (prefix := base.check_prefix(prefix)) else ""
        with self._objects.lock:
            found = sorted((k, v) for k, v in self._objects.found.items() if k.startswith(below))
        self.counts.add(requests=max(1, -(-len(found) // PAGE)))
        for key, got in found:
            yield Listed(key, len(got.data), got.modified, got.etag if etags else None)

    def _find(self, key: str) -> Got:
        base.check_key(key)
        self.counts.add(requests=1)
        with self._objects.lock:
            if (found := self._objects.found.get(key)) is None:
                raise base.missing(key, self.url)
            return found

    def _write(self, key: str, data: bytes) -> str:
        etag = blake3(data).hexdigest()
        self._objects.found[key] = Got(data, etag, time.time())
        return etag
