"""A copy of a collection of objects, kept up to date by a list and then a watch.

A watch may end at any time, begin too late, repeat events, bring old ones, or be dead without
anybody noticing. So the copy serves for noticing changes; what is decided on it is confirmed by
``refresh``, a new list.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from simgit.errors import ClusterError
from simgit.kube.live.api import (
    WATCH_SECONDS,
    Api,
    ApiClock,
    ApiError,
    Object,
    Stream,
    SystemClock,
)

Key = tuple[str, str]
"""(namespace, name) of an object; the namespace of one without is empty."""
OnChange = Callable[[Object | None, Object | None], None]

_LIST_SECONDS: Final = 20.0
_LONGEST_PAUSE: Final = 8.0
_GONE: Final = 4096
"""How many deleted objects are remembered, so that no late event brings one back."""


class Changes:
    """A condition on which threads wait for any change of the copies that share it."""

    def __init__(self, clock: ApiClock | None = None) -> None:
        """Start without waiters; the clock is what they wait by (default: this machine's)."""
        self.condition = threading.Condition(threading.RLock())
        self.count = 0
        """The number of changes so far."""
        self._clock: ApiClock = SystemClock() if clock is None else clock

    def notify(self) -> None:
        """Wake all that wait."""
        with self.condition:
            self.count += 1
            self.condition.notify_all()

    def wait_until(self, predicate: Callable[[], bool], seconds: float) -> bool:
        """Wait until the predicate holds, looking after each change; False if time ran out."""
        end = self._clock.monotonic() + seconds
        with self.condition:
            while not predicate():
                left = end - self._clock.monotonic()
                if left <= 0:
                    return False
                self._clock.wait(self.condition, left)
        return True

    def wait_for_news(self, count: int, seconds: float) -> bool:
        """Wait until there are more changes than ``count``; False if time ran out."""
        return self.wait_until(lambda: self.count != count, seconds)


class Watching:
    """A copy of the objects of a collection. A thread keeps it up to date until ``close``.

    ``on_change(old, new)`` is told of each change, under the lock of ``changes``: it must be quick
    and must not call the server.
    """

    def __init__(
        self,
        api: Api,
        path: str,
        changes: Changes,
        *,
        labels: str = "",
        on_change: OnChange | None = None,
        seconds: int = WATCH_SECONDS,
    ) -> None:
        """List the collection, then watch it; raises ApiError if it cannot be listed."""
        self._api = api
        self._path = path
        self._labels = labels
        self._seconds = seconds
        self._on_change = on_change
        self.changes = changes
        self._objects: dict[Key, Object] = {}
        self._gone: OrderedDict[str, str] = OrderedDict()
        self._version = ""
        self._stream: Stream | None = None
        self._closed = threading.Event()
        self._useful = False
        self.error: ClusterError | None = None
        """Why the watch is not open now, None if it is."""
        self.refresh()
        self._thread = threading.Thread(
            target=self._run, name=f"simgit watch {path}", daemon=True
        )  # a thread in a read that never ends must not keep the process
        self._thread.start()

    def close(self) -> None:
        """End the watch and its thread."""
        self._closed.set()
        self._hang_up()
        if self._thread is not threading.current_thread():
            self._thread.join(1.0)  # one that waits for an answer ends when its time is over

    def objects(self) -> list[Object]:
        """Return the objects as they are known now, in the order in which they were seen."""
        with self.changes.condition:
            return list(self._objects.values())

    def get(self, key: Key) -> Object | None:
        """Return an object as it is known now."""
        with self.changes.condition:
            return self._objects.get(key)

    def know(self, found: Object) -> None:
        """Take an object that a call returned, before the watch tells of it."""
        key, uid = _identity(found)
        with self.changes.condition:
            if self._newer(key, uid, found):
                self._set(key, found)

    def refresh(self) -> bool:
        """List the collection anew; return False if the copy was not up to date.

        In that case the watch is opened again, as it may be dead. Raises ApiError.
        """
        found, version = self._api.list(self._path, labels=self._labels)
        with self.changes.condition:
            fresh = self._merge(found, version)
            self._version = version
        if not fresh:
            self._hang_up()
        return fresh

    def _hang_up(self) -> None:
        stream = self._stream
        if stream is not None:
            stream.close()

    # The thread

    def _run(self) -> None:
        listed, failures = True, 0
        while not self._closed.wait(_pause(failures)):
            self._useful = False
            try:
                if not listed:
                    with self._api.within(_LIST_SECONDS):
                        self.refresh()
                    listed = True
                self._follow()
            except ClusterError as error:
                self.error = error
                # what was deleted before a version that is too old is found by a list only
                listed = listed and not (isinstance(error, ApiError) and error.status == 410)
                self.changes.notify()
            except Exception as error:  # of what is told of changes: the copy must stay up to date
                self.error, listed = ClusterError(f"the watch failed: {error!r}"), False
                self.changes.notify()
            failures = 0 if self._useful else failures + 1

    def _follow(self) -> None:
        """Watch until the server ends it."""
        stream = self._api.watch(
            self._path, self._version, labels=self._labels, seconds=self._seconds
        )
        self._stream = stream
        self.error = None
        try:
            if self._closed.is_set():
                return
            for event in stream:
                self._useful = True
                self._take(event)
        finally:
            self._stream = None
            stream.close()

    def _take(self, event: Object) -> None:
        found: Object = event["object"]
        version = str((found.get("metadata") or {}).get("resourceVersion") or "")
        with self.changes.condition:
            kind = event.get("type")
            if kind != "BOOKMARK":
                key, uid = _identity(found)
                if kind == "DELETED":
                    known = self._objects.get(key)
                    if known is not None and _identity(known)[1] == uid:
                        self._set(key, None)
                    self._forget(uid, version)
                elif self._newer(key, uid, found):
                    self._set(key, found)
            if version and not _older(version, self._version):
                self._version = version

    def _merge(self, found: Iterable[Object], version: str) -> bool:
        """Take a list; return True if it brought nothing that was not known."""
        fresh = True
        listed = {_identity(each): each for each in found}
        keys = {key for key, _ in listed}
        for key, known in list(self._objects.items()):
            if key not in keys and not _older(version, _version_of(known)):
                self._forget(_identity(known)[1], version)
                self._set(key, None)
                fresh = False
        for (key, uid), each in listed.items():
            if self._newer(key, uid, each):
                self._set(key, each)
                fresh = False
        return fresh

    def _newer(self, key: Key, uid: str, found: Object) -> bool:
        """Return True if an object is not what is known already, or older than that."""
        version, known = _version_of(found), self._objects.get(key)
        if uid in self._gone and not _older(self._gone[uid], version):
            return False
        before = None if known is None else _version_of(known)
        return before is None or (version != before and not _older(version, before))

    def _forget(self, uid: str, version: str) -> None:
        self._gone[uid] = version
        if len(self._gone) > _GONE:
            self._gone.popitem(last=False)

    def _set(self, key: Key, new: Object | None) -> None:
        old = self._objects.pop(key, None) if new is None else self._objects.get(key)
        if new is not None:
            self._objects[key] = new
        if self._on_change is not None:
            self._on_change(old, new)
        self.changes.notify()


def _pause(failures: int) -> float:
    """Return the seconds to wait after so many watches in a row that brought nothing."""
    return 0.0 if failures < 2 else min(_LONGEST_PAUSE, 0.1 * 2 ** min(failures, 10))


def _identity(found: Object) -> tuple[Key, str]:
    metadata = found.get("metadata") or {}
    key = (str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))
    return key, str(metadata.get("uid") or "/".join(key))


def _version_of(found: Object) -> str:
    return str((found.get("metadata") or {}).get("resourceVersion") or "")


def _older(one: str, other: str) -> bool:
    """Return True if a version is known to be before another; versions that are no numbers are not.

    Servers promise no order between versions, but all have one: that of etcd's revisions.
    """
    return one.isdecimal() and other.isdecimal() and int(one) < int(other)
