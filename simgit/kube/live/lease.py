"""One session of simgit at a time on a cluster: the Lease ``simgit`` in the namespace ``default``.

A lease that is held is taken over at once if its holder ran on this machine, and runs no more. Else
only if it was not renewed for its whole duration and once more for the time between two renewals,
by this process's own monotonic clock: clocks of machines differ.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from simgit.errors import ClusterError, warn
from simgit.kube.live.api import UNCERTAIN, Api, ApiError, Object
from simgit.kube.live.cleanup import RUN
from simgit.process import is_alive, this_writer

NAME: Final = "simgit"
NAMESPACE: Final = "default"
SECONDS: Final = 30
RENEW_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 2.0
_TAKE_SECONDS: Final = 60.0
"""How long it may take besides the wait for a lease that is not renewed."""
_PROCESS: Final = "simgit.io/process"
"""The annotation that tells which process is the holder."""
_held_here: Final[set[str]] = set()
"""The holders of this process that have not released their lease."""


class ClusterLease:
    """The lease of a session; it is renewed in a thread until it is released."""

    def __init__(self, api: Api, *, seconds: int = SECONDS, renew: float = RENEW_SECONDS) -> None:
        """Prepare a lease; ``take`` takes it.

        Args:
            api: the API server.
            seconds: the time after which others may take it over.
            renew: the seconds between two renewals.
        """
        self._api = api
        self._seconds = seconds
        self._renew = renew
        host = socket.gethostname()[:60]
        self.holder = f"{host}_{os.getpid()}_{secrets.token_hex(4)}"
        """What others read: the machine's name, the process, and a random part."""
        kind = api.kind("coordination.k8s.io/v1", "Lease")
        self._collection, self._path = kind.path(NAMESPACE), kind.path(NAMESPACE, NAME)
        self._lease: Object | None = None
        self._renewed = self._told = 0.0  # by the monotonic clock, and by one that never stops
        self._lost: str | None = None
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self) -> None:
        """Take the lease, and wait for one whose holder does not renew it any more.

        Raises:
            ClusterError: another session holds it; ``holder`` is its name.
        """
        _held_here.add(self.holder)
        try:
            with self._api.within(self._seconds + self._renew + _TAKE_SECONDS):
                self._take()
        except BaseException:
            self.release()  # a creation may have had an effect, but no answer
            raise
        self._thread = threading.Thread(target=self._keep, name="simgit lease", daemon=True)
        self._thread.start()

    def _take(self) -> None:
        clock = self._api.clock
        seen: tuple[str, str] | None = None
        first, told = 0.0, False
        while True:
            found = self._api.find(self._path)
            holder = ((found or {}).get("spec") or {}).get("holderIdentity") or ""
            if found is not None and holder not in ("", self.holder) and not _is_over(found):
                current = (holder, found["metadata"]["resourceVersion"])
                if seen is None:
                    seen, first = current, clock.monotonic()
                elif current != seen:
                    raise _held(holder)  # it lives: it was renewed, or somebody was faster
                seconds = _seconds_of(found)
                rest = first + seconds + self._renew - clock.monotonic()
                if rest >= 0:
                    if not told and rest < seconds:  # it is late with its renewal
                        told = True
                        warn(
                            f"the cluster is held by {_told(holder)}, which does not answer: "
                            f"waiting for {rest:.0f} s, until its lease has expired"
                        )
                    clock.sleep(_LOOK_SECONDS)
                    continue
            try:
                if self._claim(found):
                    return
            except ApiError as error:
                if error.status not in UNCERTAIN:
                    raise
                clock.sleep(1.0)

    def _claim(self, found: Object | None) -> bool:
        """Write our name into the lease that was read; return False if it has changed since."""
        began, told = self._api.clock.monotonic(), self._api.clock.time()
        now = datetime.fromtimestamp(told, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before: dict[str, Any] = (found or {}).get("spec") or {}
        again = before.get("holderIdentity") == self.holder
        spec = {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self._seconds,
            "acquireTime": before.get("acquireTime") if again else now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (not again),
        }
        metadata = {
            "name": NAME, "namespace": NAMESPACE, "labels": {RUN: "lease"},
            "annotations": {_PROCESS: json.dumps(_this_process())},
        }  # fmt: skip
        lease: Object = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec}
        try:
            if found is None:
                self._lease = self._api.create(self._collection, lease | {"metadata": metadata})
            else:
                version = found["metadata"]["resourceVersion"]
                metadata |= {"resourceVersion": version, "uid": found["metadata"]["uid"]}
                self._lease = self._api.replace(self._path, lease | {"metadata": metadata})
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return False
        self._renewed, self._told = began, told
        return True

    def check(self) -> None:
        """Raise ClusterError if the lease is lost: somebody else may use the cluster."""
        clock = self._api.clock
        age = max(clock.monotonic() - self._renewed, clock.time() - self._told)
        if self._lost is None and age > self._seconds:
            self.renew()  # this machine slept, or the thread did not run
        if self._lost is not None:
            raise ClusterError(f"the lease of the cluster is lost: {self._lost}")

    def renew(self) -> None:
        """Renew the lease now; errors are kept until it has expired."""
        with self._lock:
            if self._lost is not None or self._end.is_set():
                return
            try:
                with self._api.within(self._renew, afresh=True):
                    if self._claim(self._lease):
                        return
                    found = self._api.find(self._path)
                    holder = ((found or {}).get("spec") or {}).get("holderIdentity")
                    if holder in (None, self.holder) and self._claim(found):
                        return  # an earlier renewal had an effect but no answer, or it was deleted
                    self._lost = f"it was taken over by {_told(holder or 'nobody')}"
            except ApiError as error:
                if self._api.clock.monotonic() - self._renewed > self._seconds:
                    self._lost = f"it could not be renewed: {error}"

    def _keep(self) -> None:
        while not self._end.wait(self._renew):
            self.renew()

    def release(self) -> None:
        """End the renewals and delete the lease, if it is ours still; raises nothing."""
        _held_here.discard(self.holder)
        self._end.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._renew)
        with self._lock, suppress(ApiError), self._api.within(self._renew, afresh=True):
            found = self._api.find(self._path)
            if found is not None and found["spec"].get("holderIdentity") == self.holder:
                metadata = found["metadata"]
                self._api.delete(
                    self._path, uid=metadata["uid"], version=metadata["resourceVersion"]
                )


def _seconds_of(lease: Object) -> float:
    return float((lease.get("spec") or {}).get("leaseDurationSeconds") or SECONDS)


def _this_process() -> dict[str, Any]:
    """Return which process this is; numbers of processes count within a PID namespace."""
    try:
        numbers = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        numbers = ""
    return {**this_writer(), "numbers": numbers}


def _is_over(lease: Object) -> bool:
    """Return True if it is certain that the holder of a lease does not use the cluster any more."""
    here = _this_process()
    try:
        there = json.loads(lease["metadata"]["annotations"][_PROCESS])
        if there == here:  # a release of this process that had no effect
            return lease["spec"]["holderIdentity"] not in _held_here
        known = all(there[key] == here[key] for key in ("machine", "numbers"))
        return known and bool(there["start"]) and not is_alive(there)
    except (KeyError, TypeError, ValueError, OverflowError):  # an earlier release's, or not ours
        return False


def _told(holder: str) -> str:
    """Return a holder's name for a message."""
    host, _, rest = holder.rpartition("_")[0].rpartition("_")
    return f"simgit on '{host}', process {rest}" if host and rest.isdigit() else f"'{holder}'"


def _held(holder: str) -> ClusterError:
    return ClusterError(
        f"the cluster is in use by {_told(holder)}: one session at a time "
        f"(Lease '{NAME}' in namespace '{NAMESPACE}')",
        holder=holder,
    )


def holder_of(api: Api) -> str | None:
    """Return who holds the lease, for a message; None if it can be taken. Raises ApiError."""
    found = api.find(api.kind("coordination.k8s.io/v1", "Lease").path(NAMESPACE, NAME))
    holder = ((found or {}).get("spec") or {}).get("holderIdentity")
    return _told(holder) if found and holder and not _is_over(found) else None
