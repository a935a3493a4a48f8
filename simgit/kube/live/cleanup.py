"""The objects that sessions create on a cluster: noted before, removed afterwards, found again.

Ours is what has the label or annotation ``simgit.io/run``, and what SimKube made for a Simulation
of ours. Nothing else is ever deleted, and no object but the one that was looked at: a deletion
names its uid. Files that were put where a cluster reads them are kept beside them, as ``file://``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypedDict

from simgit.errors import StorageError, reason, warn
from simgit.kube.live.api import Api, ApiError, Object
from simgit.kube.simulation import SIMULATION_LABEL

RUN: Final = "simgit.io/run"
"""The label or annotation of what is ours; its value names who created it, process or command."""
SECONDS: Final = 60.0
_PODS_SECONDS: Final = 2.0
"""How long pods that are being deleted are left to whoever plays their kubelet."""
_FILE: Final = "file://"
_TRACE: Final = re.compile(r"simgit-[0-9a-f]{32}\.sktrace")
_NAME: Final = re.compile(r"simgit-[a-z0-9]{1,8}-\d+-[a-z0-9]{4}")
_ORDER: Final = (
    "simulations", "mutatingwebhookconfigurations", "jobs", "simulationroots", "", "configmaps",
    "namespaces", "nodes", "leases",
)  # fmt: skip
"""The order of removal: first what creates more, then what owns others; "" is all the rest."""
_KINDS: Final = (
    ("simkube.io/v1", "Simulation"),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    ("simkube.io/v1", "SimulationRoot"),
    ("v1", "ConfigMap"),
    ("v1", "Namespace"),
    ("v1", "Node"),
    ("coordination.k8s.io/v1", "Lease"),
)
"""What no other object of ours owns, and so has to be looked for."""


class Noted(TypedDict):
    """An object that a session created, or was about to; ``run`` is what its label must say.

    ``path`` is the API server's, or the URL of a file here.
    """

    server: str
    path: str
    uid: str | None
    run: str | None


class Leftover(TypedDict):
    """An object of ours on a cluster; ``run`` is what its label says."""

    kind: str
    namespace: str | None
    name: str
    run: str
    path: str
    uid: str
    created: str


class Created:
    """The objects that sessions created on a cluster and that may be there still.

    They are kept in a file from before the request that creates them is sent, so that the next
    session can remove what a killed one left. Several processes may share the file.
    """

    def __init__(self, file: Path | None, server: str) -> None:
        """Read what earlier sessions left on the server.

        Args:
            file: where they are kept; None keeps them in memory only.
            server: the API server's URL, ``Api.url``.
        """
        self.file = file
        self.server = server
        self.absent: dict[str, str] = {}
        """What ``remove`` found that nothing had to be removed of: path -> why."""
        self._entries: dict[str, Noted] = {}
        self.read()

    def read(self) -> None:
        """Read the file anew, as when other sessions are known to have ended."""
        if self.file is not None:
            self._entries = {e["path"]: e for e in _read(self.file) if self._here(e)}

    def note(self, path: str, uid: str | None = None, *, run: str | None = None) -> None:
        """Note an object: before its creation is sent, and again when its uid is known.

        ``run`` tells one that SimKube makes for us from one that it makes for others.

        Raises StorageError if the file cannot be written: then it must not be created.
        """
        self._entries[path] = {"server": self.server, "path": path, "uid": uid, "run": run}
        self._write(path)

    def gone(self, path: str) -> None:
        """Note that an object does not exist any more."""
        if self._entries.pop(path, None) is not None:
            self._write(path)

    def entries(self) -> list[Noted]:
        """Return what may be there still, in the order of creation."""
        return list(self._entries.values())

    def _here(self, entry: Noted) -> bool:
        return entry["server"] == self.server

    def _write(self, path: str) -> None:
        """Change one entry of the file; those of other processes stay."""
        if self.file is None:
            return
        try:
            with _locked(self.file) as lines:
                kept = [e for e in lines if not (self._here(e) and e["path"] == path)]
                if path in self._entries:
                    kept.append(self._entries[path])
                _replace(self.file, kept)
        except OSError as error:
            raise StorageError(
                f"cannot write '{self.file}': {reason(error)}", path=self.file
            ) from None


def _read(file: Path) -> list[Noted]:
    found: list[Noted] = []
    try:
        text = file.read_text("utf-8", "replace")
    except FileNotFoundError:
        return found
    for line in text.splitlines():
        with suppress(ValueError, KeyError, TypeError):  # a damaged line is of no use to anybody
            raw = json.loads(line)
            server, path, uid = raw["server"], raw["path"], raw["uid"]
            found.append(Noted(server=server, path=path, uid=uid, run=raw.get("run")))
    return found


@contextmanager
def _locked(file: Path) -> Iterator[list[Noted]]:
    """Lock the file, which another process may replace at any time; give what is in it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with file.open("a+", encoding="utf-8") as handle:
            with suppress(ImportError):
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle.fileno()), file.stat()):
                    yield _read(file)
                    return


def _replace(file: Path, entries: list[Noted]) -> None:
    """Write a file at once, or delete it where nothing is left."""
    if not entries:
        file.unlink()
        return
    scratch = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        with scratch.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(each) + "\n" for each in entries)
            out.flush()
            os.fsync(out.fileno())
        scratch.replace(file)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def run_of(manifest: Mapping[str, Any]) -> str | None:
    """Return what an object of ours is labelled with, None for one that is not ours."""
    metadata = manifest.get("metadata") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    run = labels.get(RUN) or annotations.get(RUN)
    if run:
        return str(run)
    simulation = str(labels.get(SIMULATION_LABEL) or "")
    return simulation if is_our_name(simulation) else None


def is_our_name(simulation: str) -> bool:
    """Return True if a Simulation's name is one that simgit gives."""
    return _NAME.fullmatch(simulation) is not None


def label_value(text: str) -> str:
    """Return a text as the value of a label: at most 63 letters, digits, '-', '_' and '.'."""
    return re.sub("[^A-Za-z0-9_.-]", "-", text)[:63].strip("-_.") or "run"


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the block as an exception does, so that it is cleaned up."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt  # what saves its work at a Ctrl-C does so at a SIGTERM too


@contextmanager
def shielded() -> Iterator[None]:
    """Keep the first Ctrl-C or SIGTERM until the block has ended; a second one ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}
    kept: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if kept:
            raise KeyboardInterrupt
        kept.append(number)
        warn("cleaning up; interrupt again to stop, which leaves objects on the cluster")

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
        yield
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler if handler is not None else signal.SIG_DFL)
    if kept:
        signal.raise_signal(kept[0])


def remove(
    api: Api, created: Created, *, seconds: float = SECONDS, force: bool = False
) -> list[str]:
    """Delete what was created and wait for its end; return what is left, each with the reason.

    What does not exist any more, or is not ours, is forgotten (``created.absent``); what is left
    stays in the file.
    No error is raised: cleaning up must not hide why it became necessary.

    Args:
        api: the API server.
        created: what to remove; it must not be in use by another session.
        seconds: the time for all of it.
        force: after half of the time, strip the finalizers of what is still there.
    """
    left: dict[str, str] = {}
    with api.within(seconds, afresh=True):
        end = api.clock.monotonic() + seconds
        ranks: dict[int, list[Noted]] = {}
        for entry in reversed(created.entries()):
            ranks.setdefault(_rank(entry["path"]), []).append(entry)
        for number in sorted(ranks):
            waiting: dict[str, str] = {}
            for entry in ranks[number]:
                path = entry["path"]
                try:
                    found, why = look(api, entry)
                    if why is not None:
                        created.absent[path] = why
                        _forget(created, path)
                    else:
                        waiting[path] = _delete(api, path, found)
                except (ApiError, OSError) as error:
                    left[path] = reason(error) if isinstance(error, OSError) else str(error)
            now = api.clock.monotonic()  # what hangs must not take the time of what follows
            until = end if number == max(ranks) else now + (end - now) / 2
            for path, uid in waiting.items():
                why = _wait(api, created, path, uid, until, force=force)
                if why is None:
                    _forget(created, path)
                else:
                    left[path] = why
    return [f"{path}: {why}" for path, why in left.items()]


def _forget(created: Created, path: str) -> None:
    with suppress(StorageError):  # the next start finds that it does not exist
        created.gone(path)


def _rank(path: str) -> int:
    if path.startswith(_FILE):
        return -1
    plural = path.split("/")[-2]
    return _ORDER.index(plural if plural in _ORDER else "")


def look(api: Api, entry: Noted) -> tuple[Object, str | None]:
    """Return what is there of an entry, and why it must not be removed, None if it may be.

    Of a file it is an empty object. Raises ApiError.
    """
    path = entry["path"]
    if path.startswith(_FILE):
        file = Path(path.removeprefix(_FILE))
        if _TRACE.fullmatch(file.name) is None:  # only such a name is surely ours
            return {}, "it is not simgit's"
        return {}, None if file.is_file() else "it does not exist"
    found = api.find(path)
    if found is None:
        return {}, "it does not exist"
    return found, None if _is_noted(entry, found) else "another's has this name"


def _delete(api: Api, path: str, found: Object) -> str:
    """Delete what was found at a path; return its uid, "" of a file."""
    if path.startswith(_FILE):
        Path(path.removeprefix(_FILE)).unlink(missing_ok=True)
        return ""
    uid = str(found["metadata"].get("uid") or "")
    if not found["metadata"].get("deletionTimestamp"):
        api.delete(path, propagation="Foreground", uid=uid)
    return uid


def _is_noted(entry: Noted, found: Object) -> bool:
    """Return True if what is at an entry's path is what was noted, and ours."""
    run = run_of(found)  # the file may be a stranger's: what it says is not enough
    same = entry["uid"] in (None, str(found["metadata"].get("uid") or ""))
    return same and run is not None and entry["run"] in (None, run)


def _wait(
    api: Api, created: Created, path: str, uid: str, end: float, *, force: bool
) -> str | None:
    """Wait for the end of an object that is being deleted; return why it still exists."""
    if path.startswith(_FILE):
        return None
    clock = api.clock
    pause, start = 0.1, clock.monotonic()
    strip, finish = (start + end) / 2, start + _PODS_SECONDS
    while True:
        try:
            found = api.find(path)
            if found is None or found["metadata"].get("uid") != uid:
                return None
            metadata = found["metadata"]
            finalizers = [str(each) for each in metadata.get("finalizers") or ()]
            if force and finalizers and clock.monotonic() >= strip:
                strip = end
                fresh = {"uid": uid, "resourceVersion": metadata["resourceVersion"]}
                api.patch(path, {"metadata": {**fresh, "finalizers": None}})
                continue
            if clock.monotonic() >= finish:
                finish += 5 * _PODS_SECONDS
                _finish_pods(api, created)
            if clock.monotonic() + pause >= end:
                what = f" (finalizers: {', '.join(finalizers)})" if finalizers else ""
                return f"still being deleted{what}"
        except ApiError as error:
            return str(error)
        clock.sleep(pause)
        pause = min(2 * pause, 1.0)


def _finish_pods(api: Api, created: Created) -> None:
    """Remove pods that are being deleted in namespaces of ours.

    Their nodes are virtual: where neither KWOK nor the replayer runs, nobody else ever does.
    """
    for entry in created.entries():
        head, _, name = entry["path"].rpartition("/")
        if head != "/api/v1/namespaces":
            continue
        namespace = api.find(entry["path"])
        if namespace is None or not _is_noted(entry, namespace):
            continue
        path = api.kind("v1", "Pod").path(name)
        for pod in api.list(path)[0]:
            metadata = pod["metadata"]
            if metadata.get("deletionTimestamp"):
                api.delete(f"{path}/{metadata['name']}", grace=0, uid=metadata["uid"])


def leftovers(api: Api) -> list[Leftover]:
    """Return what is ours on a cluster, whichever session created it; raises ApiError.

    Kinds that the cluster does not have are left out, and those that the user may not list, which
    is warned of if they are not SimKube's.
    """
    found = []
    for api_version, kind in _KINDS:
        try:
            listed = api.list(api.kind(api_version, kind).path())[0]
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            if error.status == 403 and api_version == "v1":  # SimKube's are not all users' affair
                warn(f"not looked for: {error}")
            continue
        for each in listed:
            run = run_of(each)
            if run is not None:
                manifest: Object = {**each, "apiVersion": api_version, "kind": kind}
                found.append(_row(api, manifest, run))
    return found


def _row(api: Api, manifest: Object, run: str) -> Leftover:
    metadata = manifest["metadata"]
    return {
        "kind": manifest["kind"], "namespace": metadata.get("namespace"),
        "name": metadata["name"], "run": run, "path": api.path_of(manifest),
        "uid": metadata["uid"], "created": metadata.get("creationTimestamp") or "",
    }  # fmt: skip
