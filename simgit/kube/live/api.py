"""Calls to an API server, as plain JSON: credentials, retries, time limits, streams of events.

Configuration, credentials, TLS and connections are those of the ``kubernetes`` package; its models
are not used, since reading pods through them takes ten times as long.
"""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, Self
from urllib.parse import quote, urlencode

from simgit.errors import ClusterError, NotFound, SimgitError, did_you_mean

Object = dict[str, Any]

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 30.0
WATCH_SECONDS: Final = 300
"""The time after which a server is asked to end a watch; the client waits a little longer."""
_LONGEST_WAIT: Final = 30.0
_PAGE: Final = 500
_TRANSIENT: Final = frozenset({500, 502, 503, 504})
UNCERTAIN: Final = frozenset({0, *_TRANSIENT})
"""Statuses of errors after which nobody knows whether a request had its effect."""
_READING: Final = frozenset({"GET", "DELETE"})
_LONGEST_LINE: Final = 64 << 20
APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML
MERGE: Final = "application/merge-patch+json"


class ApiClock(Protocol):
    """Time and waiting, in seconds; tests have clocks of their own."""

    def time(self) -> float:
        """Return Unix time."""

    def monotonic(self) -> float:
        """Return a time that does not run back."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""

    def wait(self, condition: threading.Condition, seconds: float, /) -> None:
        """Wait until a condition is notified, whose lock is held, or the time is over."""


class SystemClock:
    """The clock of this machine."""

    def time(self) -> float:
        """Return Unix time."""
        return time.time()

    def monotonic(self) -> float:
        """Return a time that does not run back."""
        return time.monotonic()

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        time.sleep(seconds)

    def wait(self, condition: threading.Condition, seconds: float, /) -> None:
        """Wait until a condition is notified, or the time is over."""
        condition.wait(seconds)


class ApiError(ClusterError):
    """An answer of the API server that refuses, or none at all.

    ``status`` is the HTTP status, 0 where there was no answer; ``reason`` is the server's word for
    it (such as AlreadyExists), and ``timeout`` is True if time ran out.
    """

    status: int
    reason: str
    timeout: bool

    def __init__(
        self, message: str, *, status: int = 0, reason: str = "", timeout: bool = False
    ) -> None:
        """Keep what the server said."""
        super().__init__(message, status=status, reason=reason, timeout=timeout)


class _Request(NamedTuple):
    """A request; ``query`` may have empty values, which are not sent, ``body`` becomes JSON."""

    method: str
    path: str
    query: Mapping[str, Any]
    body: Any = None
    content: str = "application/json"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of objects as its API server knows it: where they are found."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the path of an object, of the objects of a namespace, or of all (None)."""
        root = "/api" if "/" not in self.api_version else "/apis"
        parts = [root, self.api_version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        return "/".join(parts)


def _kinds(*rows: tuple[str, str, str, bool]) -> dict[tuple[str, str], Kind]:
    return {row[:2]: Kind(*row) for row in rows}


_KNOWN: Final = _kinds(
    ("v1", "Namespace", "namespaces", False),
    ("v1", "Node", "nodes", False),
    ("v1", "Pod", "pods", True),
    ("v1", "Event", "events", True),
    ("v1", "ConfigMap", "configmaps", True),
    ("v1", "Service", "services", True),
    ("v1", "ServiceAccount", "serviceaccounts", True),
    ("apps/v1", "Deployment", "deployments", True),
    ("apps/v1", "ReplicaSet", "replicasets", True),
    ("apps/v1", "StatefulSet", "statefulsets", True),
    ("apps/v1", "DaemonSet", "daemonsets", True),
    ("batch/v1", "Job", "jobs", True),
    ("batch/v1", "CronJob", "cronjobs", True),
    ("coordination.k8s.io/v1", "Lease", "leases", True),
    ("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", False),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", False),
    (
        "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations", False,
    ),
    ("simkube.io/v1", "Simulation", "simulations", False),
    ("simkube.io/v1", "SimulationRoot", "simulationroots", False),
)  # fmt: skip
"""Kinds that need no question; others are looked up in the server's discovery."""


class Api:
    """The API server of a context, by default the current one of the user's kubeconfig.

    Threads may share it; processes may not. Raises ClusterError for a kubeconfig that cannot be
    used, and where the ``kubernetes`` package is missing.
    """

    def __init__(
        self,
        context: str | None = None,
        *,
        kubeconfig: str | None = None,
        connections: int = 16,
        clock: ApiClock | None = None,
    ) -> None:
        """Read the kubeconfig (by default where ``kubectl`` reads it); nothing is sent yet.

        Args:
            context: the context's name.
            kubeconfig: the file.
            connections: how many calls and watches may be open at a time.
            clock: what waits between retries, and for changes (default: this machine's).
        """
        self.clock: ApiClock = SystemClock() if clock is None else clock
        self._kubeconfig = kubeconfig
        self._connections = connections
        self._limits = threading.local()
        self._found: dict[tuple[str, str], Kind] = {}
        self._lock = threading.Lock()
        self.skew: float | None = None
        """The server's clock minus ours in seconds, as its last answer told; None before."""
        self.requests = 0
        """The number of requests sent."""
        self._load(context)

    def _load(self, context: str | None) -> None:
        try:
            from kubernetes import client
            from kubernetes import config as configuration
            from kubernetes.client.rest import RESTClientObject
        except ImportError as error:
            raise ClusterError(
                "a live cluster needs the package kubernetes: pip install 'simgit[live]'"
            ) from error
        config: Any = configuration  # the package has no types here
        settings: Any = client.Configuration()
        try:
            contexts, current = config.list_kube_config_contexts(self._kubeconfig)
            names = [each["name"] for each in contexts]
            self.context = context or (current or {}).get("name", "")
            if self.context not in names:
                near = did_you_mean(self.context, names)
                raise NotFound(f"no context '{self.context}' in the kubeconfig{near}", value=names)
            config.load_kube_config(self._kubeconfig, self.context, settings, persist_config=False)
        except NotFound:
            raise
        except Exception as error:  # ConfigException, YAML, JSON, files, plugins: many kinds
            told = " ".join(str(error).split()) or type(error).__name__
            raise ClusterError(f"cannot use the kubeconfig: {told}") from error
        settings.connection_pool_maxsize = self._connections
        self._settings = settings
        self._pool = RESTClientObject(settings).pool_manager
        self.url = str(settings.host).rstrip("/")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    # Time

    @contextmanager
    def within(self, seconds: float, *, afresh: bool = False) -> Iterator[None]:
        """Give all calls of this thread in the block together so many seconds.

        A block within another has at most what that one has left; ``afresh`` is for cleaning up,
        which must be done when time has run out.
        """
        before = getattr(self._limits, "end", None)
        end = self.clock.monotonic() + seconds
        self._limits.end = end if before is None or afresh else min(end, before)
        try:
            yield
        finally:
            self._limits.end = before

    def left(self) -> float:
        """Return the seconds left to this thread's calls; infinity outside of ``within``.

        Raises ApiError (``timeout``) if none are.
        """
        end = getattr(self._limits, "end", None)
        rest = math.inf if end is None else float(end - self.clock.monotonic())
        if rest <= 0:
            raise ApiError("no time is left", timeout=True)
        return rest

    # Calls

    def kind(self, api_version: str, kind: str) -> Kind:
        """Return where objects of a kind are; raises NotFound if the server has no such kind."""
        known = _KNOWN.get((api_version, kind)) or self._found.get((api_version, kind))
        if known is not None:
            return known
        root = "/api" if "/" not in api_version else "/apis"
        try:
            listed = self.get(f"{root}/{api_version}")
        except ApiError as error:
            if error.status != 404:
                raise
            listed = {}
        for each in listed.get("resources", ()):
            if "/" not in each["name"]:
                key = (api_version, each["kind"])
                self._found[key] = Kind(*key, each["name"], bool(each["namespaced"]))
        if (api_version, kind) not in self._found:
            raise NotFound(f"the API server has no kind '{kind}' in {api_version}", value=kind)
        return self._found[api_version, kind]

    def path_of(self, manifest: Mapping[str, Any], *, single: bool = True) -> str:
        """Return the path of an object, or of where it is created (``single=False``)."""
        kind = self.kind(manifest["apiVersion"], manifest["kind"])
        metadata = manifest["metadata"]
        namespace = metadata.get("namespace", "default")
        return kind.path(namespace, metadata["name"] if single else None)

    def get(self, path: str, **query: Any) -> Object:
        """Return an object; raises ApiError."""
        return self._call(_Request("GET", path, query))

    def text(self, path: str, **query: Any) -> str:
        """Return what is no object, such as a log; raises ApiError."""
        return self._sent(_Request("GET", path, query)).decode(errors="replace")

    def find(self, path: str) -> Object | None:
        """Return an object, None if it does not exist."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, path: str, *, labels: str = "", fields: str = "") -> tuple[list[Object], str]:
        """Return all objects of a collection, page by page, and its version for a watch."""
        query = {"limit": _PAGE, "labelSelector": labels, "fieldSelector": fields}
        while True:
            found: list[Object] = []
            following: dict[str, Any] = {}
            try:
                while True:
                    page = self._call(_Request("GET", path, query | following))
                    if "items" not in page:  # what is no list must not count as an empty one
                        raise ApiError(f"the API server's answer is not a list ({path})")
                    found += page["items"] or ()
                    metadata = page.get("metadata") or {}
                    token = metadata.get("continue")
                    if not token:
                        return found, str(metadata.get("resourceVersion") or "")
                    following = {"continue": token}
            except ApiError as error:
                if error.status != 410 or not following:
                    raise
                self.left()  # the list became too old between two pages: again from the first

    def create(self, path: str, body: Object, **query: Any) -> Object:
        """Create an object in a collection; raises ApiError with 409 if its name is taken.

        It is sent once: after a connection that broke, nobody knows whether it exists.
        """
        return self._call(_Request("POST", path, query, body))

    def replace(self, path: str, body: Object, **query: Any) -> Object:
        """Replace an object; raises ApiError with 409 if its resourceVersion is not the newest."""
        return self._call(_Request("PUT", path, query, body))

    def patch(self, path: str, body: Any, **query: Any) -> Object:
        """Merge a patch into an object."""
        return self._call(_Request("PATCH", path, query, body, MERGE))

    def apply(
        self, path: str, body: Object, *, manager: str, force: bool = True, **query: Any
    ) -> Object:
        """Apply an object on the server's side; the same again changes nothing: it is retried.

        Raises ApiError. A server answers 500 for what it cannot decode here, and 400 where the same
        is created: so that is asked for, without effect.
        """
        query |= {"fieldManager": manager, "force": "true" if force else "false"}
        wait = 0.25
        while True:
            try:
                return self._call(_Request("PATCH", path, query, body, APPLY))
            except ApiError as error:
                if error.status != 500:
                    raise
                if "typed patch object" in str(error):  # it does not match the kind's schema
                    raise ApiError(str(error), status=400, reason="Invalid") from error
                try:
                    self.create(path.rpartition("/")[0], body, dryRun="All")
                except ApiError as told:
                    if told.status in (400, 422):
                        raise told from error
                self.pause(wait, error)
            wait = min(2 * wait, 4.0)

    def delete(
        self,
        path: str,
        *,
        propagation: str = "Background",
        grace: int | None = None,
        uid: str | None = None,
        version: str | None = None,
    ) -> bool:
        """Delete an object, or all of a collection; return False if there was none.

        ``uid`` deletes that object only, not another one of its name, and ``version`` only as long
        as nobody has changed it.
        """
        body: Object = {"propagationPolicy": propagation}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        wanted = {"uid": uid, "resourceVersion": version}
        wanted = {key: value for key, value in wanted.items() if value is not None}
        if wanted:
            body["preconditions"] = wanted
        try:
            self._call(_Request("DELETE", path, {}, body))
        except ApiError as error:
            if error.status == 404 or (wanted and error.status == 409):
                return False
            raise
        return True

    def _call(self, request: _Request) -> Object:
        return _json(self._sent(request), request.path)

    def _sent(self, request: _Request) -> bytes:
        """Send a request, again where that cannot do harm; return the answer's body."""
        method, content = request.method, request.content
        again = method in _READING or content == APPLY
        transient = _TRANSIENT - {500} if content == APPLY else _TRANSIENT  # see ``apply``
        wait, reloaded = 0.25, False
        while True:
            pause = wait
            try:
                status, headers, data = self._send(request)
            except ApiError as broken:
                if not again:
                    raise
                error = broken
            else:
                if status < 300:
                    return data
                error = _refusal(status, data, f"{method} {request.path}")
                if status == 401 and not reloaded:
                    reloaded = True
                    try:
                        self.reload()
                    except SimgitError as failed:
                        raise ApiError(f"{error}; {failed}", status=401) from failed
                    continue
                # a request that was turned away had no effect, whatever it was
                if status != 429 and not (again and status in transient):
                    raise error
                pause = max(wait, min(_retry_after(headers), _LONGEST_WAIT))
            self.pause(pause, error)
            wait = min(2 * wait, 4.0)

    def pause(self, seconds: float, error: ApiError) -> None:
        """Wait before a retry; raise the error if time runs out before it."""
        end = getattr(self._limits, "end", None)
        if end is None or self.clock.monotonic() + seconds >= end:
            raise error
        self.clock.sleep(seconds)

    def reload(self) -> None:
        """Read the credentials anew, as after they have expired.

        Raises ClusterError if the context names another server by now, which nobody has allowed.
        """
        with self._lock:
            now = Api(self.context, kubeconfig=self._kubeconfig, connections=self._connections)
            if now.url != self.url:
                raise ClusterError(
                    f"context '{self.context}' now names {now.url}, not {self.url}: start again"
                )
            old, self._settings, self._pool = self._pool, now._settings, now._pool
            old.clear()

    def _headers(self, content: str | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "simgit"}
        if content is not None:
            headers["Content-Type"] = content
        for auth in self._settings.auth_settings().values():
            if auth and auth["in"] == "header" and auth["value"]:
                headers[str(auth["key"])] = str(auth["value"])
        return headers

    def _send(self, request: _Request) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request; raises ApiError with status 0 if no whole answer comes."""
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        left = min(self.left(), READ_SECONDS)
        data = None if request.body is None else json.dumps(request.body).encode()
        headers = self._headers(None if data is None else request.content)
        self.requests += 1
        try:
            answer = self._pool.request(
                request.method, self._url(request), body=data, headers=headers,
                timeout=Timeout(connect=min(CONNECT_SECONDS, left), read=left), retries=False,
            )  # fmt: skip
        except (HTTPError, OSError) as error:
            timeout = "timed out" in str(error)
            raise ApiError(f"{self.url} does not answer: {_why(error)}", timeout=timeout) from error
        self._note_time(answer.headers)
        return answer.status, answer.headers, answer.data

    def _url(self, request: _Request) -> str:
        given = {key: value for key, value in request.query.items() if value not in ("", None)}
        return f"{self.url}{request.path}" + (f"?{urlencode(given)}" if given else "")

    def _note_time(self, headers: Mapping[str, str]) -> None:
        from email.utils import parsedate_to_datetime

        with suppress(KeyError, ValueError, TypeError):
            self.skew = parsedate_to_datetime(headers["Date"]).timestamp() - self.clock.time()

    # Streams

    def watch(
        self,
        path: str,
        version: str,
        *,
        labels: str = "",
        fields: str = "",
        seconds: int = WATCH_SECONDS,
    ) -> Stream:
        """Open a stream of the changes of a collection after a version of it.

        Raises ApiError; one with status 410 says that the version is too old: list again.
        """
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        query = {
            "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version,
            "timeoutSeconds": seconds, "labelSelector": labels, "fieldSelector": fields,
        }  # fmt: skip
        self.requests += 1
        try:
            answer = self._pool.request(
                "GET", self._url(_Request("GET", path, query)), headers=self._headers(None),
                timeout=Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), retries=False,
                preload_content=False,
            )  # fmt: skip
        except (HTTPError, OSError) as error:
            raise ApiError(f"{self.url} does not answer: {_why(error)}") from error
        if answer.status >= 300:
            try:
                data = answer.read()
            except (HTTPError, OSError):
                data = b""
            answer.release_conn()
            raise _refusal(answer.status, data, f"watch {path}")
        sock = _socket(answer)
        if sock is not None:  # the answer begins at once, its events may not come for long
            sock.settimeout(seconds + 20)
        return Stream(answer)


class Stream:
    """The events of a watch: maps with ``type`` and ``object``, among them BOOKMARKs.

    The iterator ends where the server ends the stream. Raises ApiError for a connection that
    breaks (status 0), and for an ERROR event (its code, such as 410).
    """

    def __init__(self, answer: Any) -> None:
        """Read from an open answer."""
        self._answer = answer
        self._closed = False

    def __iter__(self) -> Iterator[Object]:
        """Read lines as they come; a character may be cut by two chunks, a line by many."""
        from urllib3.exceptions import HTTPError

        rest = bytearray()
        try:
            for chunk in self._answer.stream(1 << 16):
                rest += chunk
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    if line.strip():
                        yield _event(bytes(line))
                if len(rest) > _LONGEST_LINE:
                    raise ApiError("the API server sends an event that is too long")
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            if self._closed:  # from another thread, which is how a watch is ended
                return
            raise ApiError(f"the watch broke: {_why(error)}") from error
        finally:
            self.close()

    def close(self) -> None:
        """End the stream, also from another thread that waits for it."""
        if self._closed:
            return
        self._closed = True
        with suppress(Exception):  # whatever state a broken connection is in, it is done with
            sock = _socket(self._answer)
            if sock is not None:
                sock.shutdown(socket.SHUT_RDWR)
        with suppress(Exception):
            self._answer.close()


def _socket(answer: Any) -> socket.socket | None:
    """Return the socket that an open answer is read from, None for one that is over."""
    reader = getattr(getattr(answer, "_fp", None), "fp", None)
    found = getattr(getattr(reader, "raw", None), "_sock", None)
    return found if isinstance(found, socket.socket) else None


def _event(line: bytes) -> Object:
    found = _json(line, "a watch")
    if found.get("type") == "ERROR":
        told = found.get("object") or {}
        raise ApiError(
            str(told.get("message") or "the watch ended with an error"),
            status=int(told.get("code") or 0), reason=str(told.get("reason") or ""),
        )  # fmt: skip
    if not isinstance(found.get("object"), dict):
        raise ApiError("the API server sent an event without an object")
    return found


def _json(data: bytes, where: str) -> Object:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ApiError(f"the API server's answer is not JSON ({where})") from error
    if not isinstance(found, dict):
        raise ApiError(f"the API server's answer is not an object ({where})")
    return found


def _refusal(status: int, data: bytes, what: str) -> ApiError:
    """Return the error of an answer; its body may be a Status object, or any text."""
    try:
        told = json.loads(data)
        message, reason = str(told["message"]), str(told.get("reason") or "")
    except (ValueError, KeyError, TypeError):
        message = " ".join(data.decode(errors="replace").split())[:200] or "no reason given"
        reason = ""
    return ApiError(f"{message} ({what}: {status})", status=status, reason=reason)


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers["Retry-After"]))
    except (KeyError, ValueError):
        return 0.0


def _why(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text.rpartition("): ")[2] or type(error).__name__
