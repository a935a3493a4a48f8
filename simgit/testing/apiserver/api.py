"""Requests: paths, verbs, admission, deletion, and watches."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import re
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from simgit.errors import InvalidInput
from simgit.kube.embedded.clock import Clock
from simgit.testing.apiserver import statuses
from simgit.testing.apiserver.access import AccessRules, allows
from simgit.testing.apiserver.defaults import with_defaults
from simgit.testing.apiserver.http import HttpAnswer, HttpRequest
from simgit.testing.apiserver.objects import (
    Json,
    ObjectKey,
    ObjectSelection,
    ObjectStore,
    StoreChange,
    content,
    key_of,
)
from simgit.testing.apiserver.patches import FieldManager, merge, merge_strategic, patch_json
from simgit.testing.apiserver.resources import (
    ACCESS_REVIEWS,
    BUILT_IN,
    CRDS,
    JOBS,
    LEASES,
    NAME_LETTERS,
    NAMESPACES,
    NODES,
    PODS,
    WORKLOADS,
    ApiResource,
    resources_of,
)
from simgit.testing.apiserver.schema import conform
from simgit.testing.apiserver.statuses import StatusError, as_bytes

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_BAD_NAME = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_PATCH_TYPES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
    "application/apply-patch+cbor": "unknown",
}
_POLICIES = {"Background": None, "Foreground": "foregroundDeletion", "Orphan": "orphan"}
_RETURNS_OBJECT = {"pods", "services", "serviceaccounts", "resourcequotas"}
_BOOKMARK_MS = 60_000


class ControlPlane(Protocol):
    """The actor on the objects: a ``controllers.ControllerManager``."""

    def admit(
        self, resource: ApiResource, value: Json, before: Json | None, *, dry_run: bool
    ) -> None: ...

    def settle(self) -> None: ...

    def bind(self, key: ObjectKey, node: str) -> None: ...

    def log_of(self, key: ObjectKey) -> str: ...


class KubeApi:
    """The API over a store. Times are in milliseconds of ``clock``."""

    def __init__(
        self,
        store: ObjectStore,
        clock: Clock,
        *,
        version: str,
        expired: str,
        rules: Mapping[str, AccessRules],
    ) -> None:
        """Serve built-in resources; ``rules`` are by token, ``expired`` is status or event."""
        self.store, self.clock = store, clock
        self.version, self.expired, self.rules = version, expired, dict(rules)
        self.control: ControlPlane | None = None
        self.watches = 0
        self._pages: dict[str, tuple[int, list[Json]]] = {}
        self._custom: dict[ApiResource, Mapping[str, Any]] = {}
        self._wakers: set[asyncio.Event] = set()
        store.listeners.append(self._changed)

    def _changed(self, change: StoreChange) -> None:
        if change.resource is CRDS:
            if change.before is not None:
                for resource in resources_of(change.before):
                    self._custom.pop(resource, None)
            if change.type != "DELETED":
                self._custom.update(resources_of(change.value))

    def now_text(self) -> str:
        """Return the time as objects hold it, in whole seconds."""
        at = datetime.fromtimestamp(self.clock.now // 1000, UTC)
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")

    def wake(self) -> None:
        """Let every watch look at the time and the history."""
        for waker in self._wakers:
            waker.set()

    # paths

    async def handle(self, request: HttpRequest) -> HttpAnswer:
        """Answer a request."""
        try:
            answer = self._answer(request)
        except StatusError as error:
            answer = HttpAnswer(error.code, as_bytes(error.status), headers=error.headers)
        except InvalidInput as error:
            answer = HttpAnswer(400, as_bytes(statuses.bad_request(error.message).status))
        if self.control is not None and request.method != "GET":
            self.control.settle()
        return answer

    def _answer(self, request: HttpRequest) -> HttpAnswer:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token not in self.rules:
            raise statuses.unauthorized()
        parts = [part for part in request.path.split("/") if part]
        found = self._discovery(parts)
        if found is not None:
            return found
        if parts[:2] == ["api", "v1"]:
            group, version, rest = "", "v1", parts[2:]
        elif parts[:1] == ["apis"] and len(parts) > 3:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            return _no_page()
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        resource = self.resource(group, version, rest[0])
        if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
            return _no_page()
        name, part = (*rest[1:], "", "")[:2]
        if (part and part not in resource.subresources) or (
            name and resource.namespaced and not namespace
        ):
            return _no_page()
        call = _Call(self, request, resource, namespace, name, part, self.rules[token])
        return call.run()

    def resources(self) -> list[ApiResource]:
        """Return what is served."""
        return [*BUILT_IN, *self._custom]

    def resource(self, group: str, version: str, plural: str) -> ApiResource | None:
        """Return a resource by its path, None if it is not served."""
        for resource in self.resources():
            if (resource.group, resource.version, resource.plural) == (group, version, plural):
                return resource
        return None

    def resource_of(self, value: Mapping[str, Any]) -> ApiResource | None:
        """Return the resource of an object, None if it is not served."""
        for resource in self.resources():
            if (resource.api_version, resource.kind) == (value["apiVersion"], value["kind"]):
                return resource
        return None

    def _discovery(self, parts: list[str]) -> HttpAnswer | None:
        groups: dict[str, list[str]] = {}
        for each in self.resources():
            if each.group and each.version not in groups.setdefault(each.group, []):
                groups[each.group].append(each.version)
        if parts in (["readyz"], ["livez"], ["healthz"]):
            return HttpAnswer(200, b"ok", "text/plain; charset=utf-8")
        if parts == ["version"]:
            major, minor = self.version.split(".")[:2]
            return _json({
                "major": major, "minor": minor, "gitVersion": f"v{self.version}",
                "gitCommit": "0" * 40, "gitTreeState": "clean", "platform": "linux/amd64",
                "buildDate": self.now_text(), "goVersion": "none", "compiler": "none",
            })  # fmt: skip
        if parts == ["api"]:
            return _json({"kind": "APIVersions", "versions": ["v1"]})
        if parts == ["apis"]:
            listed = [_group(name, versions) for name, versions in groups.items()]
            return _json({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})
        if len(parts) == 2 and parts[0] == "apis" and parts[1] in groups:
            return _json({"apiVersion": "v1", **_group(parts[1], groups[parts[1]])})
        if parts == ["api", "v1"]:
            return self._resource_list("", "v1")
        if len(parts) == 3 and parts[0] == "apis" and parts[2] in groups.get(parts[1], ()):
            return self._resource_list(parts[1], parts[2])
        return None

    def _resource_list(self, group: str, version: str) -> HttpAnswer:
        listed = []
        for each in self.resources():
            if (each.group, each.version) != (group, version):
                continue
            common = {"singularName": each.kind.lower(), "namespaced": each.namespaced}
            verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update"]
            if each is ACCESS_REVIEWS:
                verbs = ["create"]
            else:
                verbs.append("watch")
            listed.append({"name": each.plural, "kind": each.kind, "verbs": verbs, **common})
            for part in sorted(each.subresources):
                name = f"{each.plural}/{part}"
                verbs = ["get", "patch", "update"]
                listed.append({"name": name, "kind": each.kind, "verbs": verbs, **common})
        api_version = f"{group}/{version}" if group else version
        return _json({"kind": "APIResourceList", "groupVersion": api_version, "resources": listed})

    # writes, which controllers use too

    def create(self, resource: ApiResource, value: Json, *, dry_run: bool = False) -> Json:
        """Store a new object, after admission and validation; controllers settle later."""
        if resource.has_status and resource is not NODES:
            value.pop("status", None)
        value = self._admitted(resource, value, None)
        metadata = dict(value["metadata"])
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + self._letters()
        name = metadata.get("name") or ""
        key = (metadata.get("namespace") or "", name)
        self._check_name(resource, name)
        self._check_namespace(resource, key)
        if self.store.get(resource, key) is not None:
            raise statuses.exists(resource, name)
        for field in ("resourceVersion", "selfLink", "deletionTimestamp"):
            metadata.pop(field, None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = self.now_text()
        if "spec" in value:
            metadata["generation"] = 1
        value = {**value, "metadata": metadata}
        self._reset_status(resource, value)
        self._ask(resource, value, None, dry_run=dry_run)
        return value if dry_run else self.store.put(resource, value)

    def _reset_status(self, resource: ApiResource, value: Json) -> None:
        """Give a new object the status that it begins with."""
        if resource is PODS:
            value["status"] = {"phase": "Pending", "qosClass": qos_class(value["spec"])}
        elif resource is NAMESPACES:
            value["spec"] = {"finalizers": ["kubernetes"]}
            value["status"] = {"phase": "Active"}
            labels = value["metadata"].get("labels") or {}
            named = {"kubernetes.io/metadata.name": value["metadata"]["name"]}
            value["metadata"]["labels"] = {**labels, **named}
        elif resource is CRDS:
            names = value["spec"]["names"]
            conditions = [
                {"type": kind, "status": "True", "lastTransitionTime": self.now_text(),
                 "reason": reason, "message": message}
                for kind, reason, message in (
                    ("NamesAccepted", "NoConflicts", "no conflicts found"),
                    ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
                )
            ]  # fmt: skip
            stored = [version["name"] for version in value["spec"]["versions"]]
            value["status"] = {
                "conditions": conditions, "acceptedNames": names, "storedVersions": stored,
            }  # fmt: skip

    def update(
        self, resource: ApiResource, before: Json, value: Json, part: str = "", *,
        dry_run: bool = False,
    ) -> Json:  # fmt: skip
        """Store another version of an object, or of its status; the rest is kept."""
        name = before["metadata"]["name"]
        given = value.get("metadata") or {}
        if given.get("name", name) != name:
            raise statuses.bad_request(
                f"the name of the object ({given['name']}) does not match the name on the URL "
                f"({name})"
            )
        version = given.get("resourceVersion")
        if version and version != before["metadata"]["resourceVersion"]:
            raise statuses.conflict(resource, name)
        if given.get("uid") not in (None, "", before["metadata"]["uid"]):
            why = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: "
            raise statuses.conflict(resource, name, why + before["metadata"]["uid"])
        value = self._merged(resource, before, value, part)
        if part != "status":
            self._check_update(resource, before, value)
            if value.get("spec") != before.get("spec"):
                generation = before["metadata"].get("generation", 1) + 1
                value["metadata"]["generation"] = generation
        if content(value) == content(before):
            return before
        self._ask(resource, value, before, dry_run=dry_run)
        if dry_run:
            return value
        if _is_over(value) and resource is not NAMESPACES:
            self.store.put(resource, value)
            return self.store.remove(resource, key_of(value))
        return self.store.put(resource, value)

    def apply(
        self,
        resource: ApiResource,
        key: ObjectKey,
        wanted: Json,
        manager: FieldManager,
        part: str = "",
        *,
        force: bool = False,
        dry_run: bool = False,
    ) -> Json:
        """Create an object or change it, by server-side apply."""
        before = self.store.get(resource, key)
        if before is None:
            if part:
                raise statuses.not_found(resource, key[1])
            wanted["metadata"]["name"] = key[1]
            value = manager.applied(None, wanted, force=force)
            return self.create(resource, value, dry_run=dry_run)
        version = wanted["metadata"].get("resourceVersion")
        if version and version != before["metadata"]["resourceVersion"]:
            raise statuses.conflict(resource, key[1])
        value = manager.applied(before, wanted, force=force)
        return self.update(resource, before, value, part, dry_run=dry_run)

    def _merged(self, resource: ApiResource, before: Json, value: Json, part: str) -> Json:
        """Return the version to store: fields that are not the request's stay as they are."""
        kept = {
            name: before["metadata"][name]
            for name in ("name", "namespace", "uid", "creationTimestamp", "generation",
                         "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion",
                         "generateName")
            if name in before["metadata"]
        }  # fmt: skip
        fields = (value.get("metadata") or {}).get("managedFields")
        if part == "status":
            metadata = {**before["metadata"], **({"managedFields": fields} if fields else {})}
            merged = {**before, "metadata": metadata}
            if "status" in value:
                merged["status"] = value["status"]
            else:
                merged.pop("status", None)
            return self._admitted(resource, merged, before)
        metadata = {**(value.get("metadata") or {}), **kept}
        for name in ("deletionTimestamp", "deletionGracePeriodSeconds"):
            if name not in kept:
                metadata.pop(name, None)
        merged = {**value, "metadata": metadata}
        if resource.has_status:
            merged.pop("status", None)
            if "status" in before:
                merged["status"] = before["status"]
        return self._admitted(resource, merged, before)

    def _check_update(self, resource: ApiResource, before: Json, value: Json) -> None:
        name = before["metadata"]["name"]
        if before["metadata"].get("deletionTimestamp"):
            had = before["metadata"].get("finalizers") or []
            new = [f for f in value["metadata"].get("finalizers") or [] if f not in had]
            if new:
                listed = ", ".join(json.dumps(each) for each in new)
                why = (
                    "Forbidden: no new finalizers can be added if the object is being deleted, "
                    f"found new finalizers []string{{{listed}}}"
                )
                cause = ("metadata.finalizers", "FieldValueForbidden", why)
                raise statuses.invalid(resource, name, [cause])
        if resource is PODS and _fixed_part(value["spec"]) != _fixed_part(before["spec"]):
            why = (
                "Forbidden: pod updates may not change fields other than "
                "`spec.containers[*].image`,`spec.initContainers[*].image`,"
                "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
                "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it "
                "was previously negative)"
            )
            raise statuses.invalid(resource, name, [("spec", "FieldValueForbidden", why)])
        if resource in WORKLOADS and resource is not PODS:
            was, now = (each["spec"].get("selector") for each in (before, value))
            if was is not None and was != now:
                why = f"Invalid value: {json.dumps(now)}: field is immutable"
                raise statuses.invalid(
                    resource, name, [("spec.selector", "FieldValueInvalid", why)]
                )

    def _admitted(self, resource: ApiResource, value: Json, before: Json | None) -> Json:
        """Return an object with defaults, pruned by its schema; raises 422 for an invalid one."""
        name = (value.get("metadata") or {}).get("name") or ""
        if resource in self._custom:
            shaped, _, causes = conform(self._custom[resource], value)
            if causes:
                raise statuses.invalid(resource, name, causes)
            return dict(shaped)
        if resource in WORKLOADS and not isinstance(value.get("spec"), Mapping):
            raise statuses.invalid(
                resource, name, [("spec", "FieldValueRequired", "Required value")]
            )
        try:
            return with_defaults(value)
        except InvalidInput as error:
            raise statuses.bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a '
                f"{resource.kind}: {error.message}"
            ) from error

    def unknown_fields(self, resource: ApiResource, value: Json) -> list[str]:
        """Return the fields that the schema of a custom resource does not know."""
        return conform(self._custom[resource], value)[1] if resource in self._custom else []

    def _check_name(self, resource: ApiResource, name: str) -> None:
        if not name:
            why = "Required value: name or generateName is required"
            raise statuses.invalid(resource, "", [("metadata.name", "FieldValueRequired", why)])
        if len(name) > 253 or (
            resource.group != "rbac.authorization.k8s.io" and not _NAME.fullmatch(name)
        ):
            why = f"Invalid value: {json.dumps(name)}: {_BAD_NAME}"
            raise statuses.invalid(resource, name, [("metadata.name", "FieldValueInvalid", why)])

    def _check_namespace(self, resource: ApiResource, key: ObjectKey) -> None:
        if not resource.namespaced:
            return
        namespace = self.store.get(NAMESPACES, ("", key[0]))
        if namespace is None:
            raise statuses.not_found(NAMESPACES, key[0])
        if namespace["metadata"].get("deletionTimestamp"):
            why = (
                f"unable to create new content in namespace {key[0]} because it is being terminated"
            )
            told = f"namespace {key[0]} is being terminated"
            cause = ("metadata.namespace", "NamespaceTerminating", told)
            raise statuses.forbidden(resource, key[1], why, cause)

    def _ask(
        self, resource: ApiResource, value: Json, before: Json | None, *, dry_run: bool
    ) -> None:
        if self.control is None:
            return
        try:
            self.control.admit(resource, value, before, dry_run=dry_run)
        except InvalidInput as error:
            field = str(vars(error).get("path", vars(error).get("pod_path", "")))
            said = error.message.partition('" is invalid: ')[2] or error.message
            cause = ("", "FieldValueInvalid", said)
            raised = statuses.invalid(resource, value["metadata"]["name"], [cause])
            raised.status["details"]["causes"][0]["field"] = field
            raise raised from error

    def delete(
        self,
        resource: ApiResource,
        before: Json,
        *,
        policy: str | None = None,
        grace: int | None = None,
    ) -> Json | None:
        """Delete an object; return it if it still exists, None if not."""
        if policy is None:
            policy = "Orphan" if resource is JOBS else "Background"
        metadata = dict(before["metadata"])
        finalizers = [
            each for each in metadata.get("finalizers") or () if each not in _POLICIES.values()
        ]
        own = _POLICIES[policy]
        has_dependents = bool(self.store.dependents.get(metadata["uid"]))
        if own is not None and (policy == "Foreground" or has_dependents):
            finalizers.append(own)
        if resource is PODS:
            grace = _grace(before, grace)
        waits = bool(finalizers) or (resource is PODS and bool(grace)) or resource is NAMESPACES
        if not waits:
            self.store.remove(resource, key_of(before))
            return None
        metadata.setdefault("deletionTimestamp", self.now_text())
        shortest = min(grace or 0, metadata.get("deletionGracePeriodSeconds", grace or 0))
        metadata["deletionGracePeriodSeconds"] = shortest
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        if "generation" in metadata and "deletionTimestamp" not in before["metadata"]:
            metadata["generation"] += 1
        value = {**before, "metadata": metadata}
        if resource is NAMESPACES:
            metadata.pop("deletionGracePeriodSeconds")
            value["status"] = {**(before.get("status") or {}), "phase": "Terminating"}
        return self.store.put(resource, value)

    def _letters(self) -> str:
        return "".join(secrets.choice(NAME_LETTERS) for _ in range(5))

    # lists and watches

    def page(
        self, found: list[Json], limit: int, token: str
    ) -> tuple[list[Json], int, Mapping[str, Any]]:
        """Return (objects, version, further metadata) of a page of a list."""
        version = self.store.version
        if token:
            if token not in self._pages or self._pages[token][0] < self.store.dropped:
                raise statuses.expired(
                    "The provided continue parameter is too old to display a consistent list "
                    "result. You can start a new list without the continue parameter."
                )
            version, found = self._pages[token]
        if not limit or len(found) <= limit:
            return found, version, {}
        rest = found[limit:]
        plain = {"v": "meta.k8s.io/v1", "rv": version, "start": secrets.token_hex(4)}
        token = base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")
        self._pages[token] = (version, rest)
        return found[:limit], version, {"continue": token, "remainingItemCount": len(rest)}

    def watch(
        self, resource: ApiResource, selection: ObjectSelection, query: Mapping[str, str]
    ) -> HttpAnswer:
        """Return the answer to a watch; raises StatusError 410 if the server is set to."""
        given = query.get("resourceVersion", "")
        if given and not given.isdecimal():
            raise statuses.bad_request(f'invalid resource version "{given}": strconv.ParseUint')
        since = int(given or 0)
        too_old = since and (since < self.store.dropped or since > self.store.version)
        if too_old and self.expired == "status":
            raise self._too_old(since)
        bookmarks = _is_set(query, "allowWatchBookmarks")
        seconds = int(query.get("timeoutSeconds") or 0) or 1800
        return HttpAnswer(
            lines=self._events(resource, selection, since, bool(too_old), bookmarks, seconds)
        )

    def _too_old(self, since: int) -> StatusError:
        return statuses.expired(f"too old resource version: {since} ({self.store.dropped})")

    def _next_bookmark(self, waker: asyncio.Event) -> int:
        self.clock.at(self.clock.now + _BOOKMARK_MS, waker.set)
        return self.clock.now + _BOOKMARK_MS

    async def _events(
        self,
        resource: ApiResource,
        selection: ObjectSelection,
        since: int,
        too_old: bool,
        bookmarks: bool,
        seconds: int,
    ) -> AsyncIterator[list[bytes]]:
        waker = asyncio.Event()
        ends = self.clock.now + 1000 * seconds
        self.clock.at(ends, waker.set)
        marked = self._next_bookmark(waker) if bookmarks else 0
        coming: list[StoreChange] = []  # an open watch misses nothing, however long the history

        def listen(change: StoreChange) -> None:
            if change.resource == resource:
                coming.append(change)
                waker.set()

        self._wakers.add(waker)
        self.watches += 1
        self.store.listeners.append(listen)
        try:
            if too_old:
                yield [_line("ERROR", self._too_old(since).status)]
                return
            if since:
                for change in self.store.changes:
                    if change.version > since:
                        listen(change)
            else:
                yield [_line("ADDED", each) for each in self.store.selected(resource, selection)]
            while True:
                waker.clear()
                batch = [line for change in coming for line in _selected(change, selection)]
                coming.clear()
                over = self.clock.now >= ends
                if bookmarks and (over or self.clock.now >= marked):
                    marked = self._next_bookmark(waker)
                    batch.append(_line("BOOKMARK", _bookmark(resource, self.store.version)))
                if batch:
                    yield batch
                if over:
                    return
                await waker.wait()
        finally:
            self.watches -= 1
            self.store.listeners.remove(listen)
            self._wakers.discard(waker)


class _Call:
    """A request to a resource."""

    def __init__(
        self,
        api: KubeApi,
        request: HttpRequest,
        resource: ApiResource,
        namespace: str,
        name: str,
        part: str,
        rules: AccessRules,
    ) -> None:
        self.api, self.request, self.resource = api, request, resource
        self.namespace, self.name, self.part, self.rules = namespace, name, part, rules
        self.query = request.query
        self.key = (namespace, name)
        self.written = part if part == "status" else ""
        self.dry_run = self.query.get("dryRun") == "All"

    def run(self) -> HttpAnswer:
        """Check that the user may, and do it."""
        method, name = self.request.method, self.name
        listing = "watch" if _is_set(self.query, "watch") else "list"
        verbs = {
            "GET": "get" if name else listing,
            "POST": "create", "PUT": "update", "PATCH": "patch",
            "DELETE": "delete" if name else "deletecollection",
        }  # fmt: skip
        if method not in verbs or (method == "POST" and name and not self.part):
            raise self._not_allowed()
        if method in ("PUT", "PATCH") and not name:
            raise self._not_allowed()
        self._authorize(verbs[method])
        handlers: dict[str, Callable[[], HttpAnswer]] = {
            "get": self._get, "list": self._list, "watch": self._watch, "create": self._create,
            "update": self._put, "patch": self._patch, "delete": self._delete,
            "deletecollection": self._delete_collection,
        }  # fmt: skip
        return handlers[verbs[method]]()

    def _not_allowed(self) -> StatusError:
        why = "the server does not allow this method on the requested resource"
        return StatusError(405, "MethodNotAllowed", why)

    def _authorize(self, verb: str) -> None:
        resource = self.resource
        if resource is ACCESS_REVIEWS:
            return
        what = f"{resource.plural}/{self.part}" if self.part else resource.plural
        if allows(self.rules, verb, resource.group, what, self.namespace):
            return
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        why = (
            f'User "simgit" cannot {verb} resource "{what}" in API group "{resource.group}" {where}'
        )
        raise statuses.forbidden(resource, self.name, why)

    def _existing(self) -> Json:
        found = self.api.store.get(self.resource, self.key)
        if found is None:
            raise statuses.not_found(self.resource, self.name)
        return found

    def _body(self) -> Json:
        try:
            value = json.loads(self.request.body or b"null")
        except ValueError as error:
            raise statuses.bad_request(
                "the object provided is unrecognized (must be of type "
                f"{self.resource.kind}): couldn't get version/kind; json parse error: {error}"
            ) from error
        if not isinstance(value, dict):
            raise statuses.bad_request("the object provided is unrecognized")
        return value

    def _object(self) -> Json:
        """Return the object of a body, checked against the path."""
        value, resource = self._body(), self.resource
        metadata = value.setdefault("metadata", {})
        value.setdefault("apiVersion", resource.api_version)
        value.setdefault("kind", resource.kind)
        if (value["apiVersion"], value["kind"]) != (resource.api_version, resource.kind):
            raise statuses.bad_request(
                f'{value["kind"]} in version "{value["apiVersion"]}" cannot be handled as a '
                f'{resource.kind}: no kind "{value["kind"]}" is registered for version '
                f'"{value["apiVersion"]}"'
            )
        if resource.namespaced:
            if metadata.get("namespace") not in (None, "", self.namespace):
                raise statuses.bad_request(
                    "the namespace of the provided object does not match the namespace sent on "
                    "the request"
                )
            metadata["namespace"] = self.namespace
        else:
            metadata.pop("namespace", None)
        self._check_fields(value)
        return value

    def _check_fields(self, value: Json) -> None:
        if self.query.get("fieldValidation") == "Strict":
            unknown = self.api.unknown_fields(self.resource, value)
            if unknown:
                listed = ", ".join(f'unknown field "{field}"' for field in unknown)
                raise statuses.bad_request(
                    f'{self.resource.kind} in version "{self.resource.version}" cannot be handled '
                    f"as a {self.resource.kind}: strict decoding error: {listed}"
                )

    def _manager(self) -> FieldManager:
        agent = self.request.headers.get("user-agent", "").partition("/")[0]
        name = self.query.get("fieldManager") or agent or "unknown"
        resource, now = self.resource, self.api.now_text()
        return FieldManager(name, resource.api_version, now, self.written, custom=resource.custom)

    def _get(self) -> HttpAnswer:
        found = self._existing()
        if self.part == "log":
            assert self.api.control is not None
            text = self.api.control.log_of(self.key)
            tail = self.query.get("tailLines")
            lines = text.splitlines(keepends=True)
            text = "".join(lines[-int(tail) :] if tail else lines)
            return HttpAnswer(200, text.encode(), "text/plain")
        return _json(found)

    def _selection(self) -> ObjectSelection:
        labels, fields = self.query.get("labelSelector", ""), self.query.get("fieldSelector", "")
        return ObjectSelection(self.resource, self.namespace, labels, fields)

    def _list(self) -> HttpAnswer:
        resource = self.resource
        found = self.api.store.selected(resource, self._selection())
        limit, token = int(self.query.get("limit") or 0), self.query.get("continue", "")
        items, version, more = self.api.page(found, limit, token)
        return _json({
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": {"resourceVersion": str(version), **more},
            "items": items,
        })  # fmt: skip

    def _watch(self) -> HttpAnswer:
        return self.api.watch(self.resource, self._selection(), self.query)

    def _create(self) -> HttpAnswer:
        if self.part:
            return self._act()
        if self.resource is ACCESS_REVIEWS:
            return self._review()
        value = self._object()
        if self.name or value["metadata"].get("resourceVersion"):
            raise statuses.bad_request("resourceVersion should not be set on objects to be created")
        value = self._manager().updated(None, value)
        return _json(self.api.create(self.resource, value, dry_run=self.dry_run), 201)

    def _review(self) -> HttpAnswer:
        value = self._body()
        asked = (value.get("spec") or {}).get("resourceAttributes") or {}
        what = asked.get("resource", "")
        what = f"{what}/{asked['subresource']}" if asked.get("subresource") else what
        allowed = allows(
            self.rules, asked.get("verb", ""), asked.get("group", ""), what,
            asked.get("namespace", ""),
        )  # fmt: skip
        value = {"apiVersion": ACCESS_REVIEWS.api_version, "kind": ACCESS_REVIEWS.kind, **value}
        return _json({**value, "status": {"allowed": allowed}}, 201)

    def _act(self) -> HttpAnswer:
        """Bind or evict a pod."""
        before, body = self._existing(), self._body()
        assert self.api.control is not None
        if self.part == "binding":
            node = (body.get("target") or {}).get("name") or ""
            if before["spec"].get("nodeName"):
                assigned = before["spec"]["nodeName"]
                why = f'pod {self.name} is already assigned to node "{assigned}"'
                raise statuses.conflict(self.resource, self.name, why)
            if not self.dry_run:
                self.api.control.bind(self.key, node)
        elif self.part == "eviction":
            options = body.get("deleteOptions") or {}
            if not self.dry_run:
                self.api.delete(self.resource, before, grace=options.get("gracePeriodSeconds"))
        else:
            raise self._not_allowed()
        return _json(_success(), 201)

    def _put(self) -> HttpAnswer:
        value = self._object()
        before = self._existing()
        strict = self.resource.custom or self.resource is LEASES
        if strict and not value["metadata"].get("resourceVersion"):
            why = "Invalid value: 0: must be specified for an update"
            cause = ("metadata.resourceVersion", "FieldValueInvalid", why)
            raise statuses.invalid(self.resource, self.name, [cause])
        value = self._manager().updated(before, value) if self._writes(before, value) else value
        return self._stored(before, value)

    def _writes(self, before: Json, value: Json) -> bool:
        """Return True if the version of an update is the stored one, so that it is worth noting."""
        given = value["metadata"].get("resourceVersion")
        return not given or given == before["metadata"]["resourceVersion"]

    def _stored(self, before: Json, value: Json) -> HttpAnswer:
        made = self.api.update(self.resource, before, value, self.written, dry_run=self.dry_run)
        return _json(made)

    def _patch(self) -> HttpAnswer:
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip()
        way = _PATCH_TYPES.get(kind, "unknown")
        if way == "unknown" or (way == "strategic" and self.resource.custom):
            taken = [
                each for each, way in _PATCH_TYPES.items()
                if way not in ("unknown", "strategic" if self.resource.custom else "")
            ]  # fmt: skip
            raise StatusError(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: "
                + ", ".join(taken),
            )
        if way == "apply":
            return self._apply()
        before = self._existing()
        patch = self._patch_body()
        if way == "json":
            value = patch_json(before, patch)
        else:
            value = (merge if way == "merge" else merge_strategic)(before, patch)
        if not isinstance(value, dict) or not isinstance(value.get("metadata"), dict):
            raise statuses.bad_request("the patched object has no metadata")
        value = copy.deepcopy(value)
        self._check_fields(value)
        if self._writes(before, value):
            value = self._manager().updated(before, value)
        return self._stored(before, value)

    def _patch_body(self) -> Any:
        try:
            return json.loads(self.request.body)
        except ValueError as error:
            raise statuses.bad_request(f"error decoding patch: {error}") from error

    def _apply(self) -> HttpAnswer:
        if not self.query.get("fieldManager"):
            why = "is required for apply patch"
            raise StatusError(
                422, "Invalid",
                f'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: {why}',
            )  # fmt: skip
        wanted = self._applied_body()
        if wanted["metadata"].get("managedFields"):
            raise statuses.bad_request("metadata.managedFields must be nil")
        exists = self.api.store.get(self.resource, self.key) is not None
        value = self.api.apply(
            self.resource, self.key, wanted, self._manager(), self.written,
            force=_is_set(self.query, "force"), dry_run=self.dry_run,
        )  # fmt: skip
        return _json(value, 200 if exists else 201)

    def _applied_body(self) -> Json:
        """Return the object of a body that may be YAML, of which JSON is a part."""
        try:
            json.loads(self.request.body)
        except ValueError:
            import yaml

            plain = yaml.safe_load(self.request.body)
            self.request.body = json.dumps(plain, default=str).encode()
        return self._object()

    def _options(self) -> Json:
        """Return the DeleteOptions of a body, with those of the query."""
        given = self._body() if self.request.body.strip() not in (b"", b"null") else {}
        options = {**given, **{k: v for k, v in self.query.items() if k == "propagationPolicy"}}
        if "gracePeriodSeconds" in self.query:
            options["gracePeriodSeconds"] = int(self.query["gracePeriodSeconds"])
        if options.get("dryRun"):
            self.dry_run = "All" in options["dryRun"]
        policy = options.get("propagationPolicy")
        if policy is not None and policy not in _POLICIES:
            names = ", ".join(f'"{name}"' for name in _POLICIES)
            why = f'Unsupported value: "{policy}": supported values: {names}'
            raise StatusError(
                422, "Invalid",
                f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: {why}',
            )  # fmt: skip
        return options

    def _delete(self) -> HttpAnswer:
        options, before = self._options(), self._existing()
        metadata = before["metadata"]
        for field, name in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            wanted = (options.get("preconditions") or {}).get(field)
            if wanted and wanted != metadata[field]:
                why = (
                    f"Precondition failed: {name} in precondition: {wanted}, {name} in object "
                    f"meta: {metadata[field]}"
                )
                raise statuses.conflict(self.resource, self.name, why)
        if self.dry_run:
            return _json(before)
        left = self._delete_one(before, options)
        if left is not None:
            return _json(left)
        if self.resource.full in _RETURNS_OBJECT:
            return _json(before)
        details = {"name": self.name, "kind": self.resource.plural, "uid": metadata["uid"]}
        group = {"group": self.resource.group} if self.resource.group else {}
        return _json(_success({**details, **group}))

    def _delete_one(self, before: Json, options: Mapping[str, Any]) -> Json | None:
        policy = options.get("propagationPolicy")
        grace = options.get("gracePeriodSeconds")
        return self.api.delete(self.resource, before, policy=policy, grace=grace)

    def _delete_collection(self) -> HttpAnswer:
        options = self._options()
        found = self.api.store.selected(self.resource, self._selection())
        for value in () if self.dry_run else found:
            self._delete_one(value, options)
        return _json({
            "kind": f"{self.resource.kind}List",
            "apiVersion": self.resource.api_version,
            "metadata": {"resourceVersion": str(self.api.store.version)},
            "items": found,
        })  # fmt: skip


def _is_set(query: Mapping[str, str], name: str) -> bool:
    return query.get(name) in ("true", "True", "1")


def qos_class(spec: Mapping[str, Any]) -> str:
    """Return the quality of service of a pod."""
    containers = [c.get("resources") or {} for c in spec.get("containers") or ()]
    if not any(each.get("requests") or each.get("limits") for each in containers):
        return "BestEffort"
    same = all(
        {"cpu", "memory"} <= set(each.get("limits") or ())
        and (each.get("requests") or each["limits"]) == each["limits"]
        for each in containers
    )
    return "Guaranteed" if same else "Burstable"


def _fixed_part(spec: Mapping[str, Any]) -> Json:
    fixed = {
        name: value
        for name, value in spec.items()
        if name not in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")
    }
    for name in ("containers", "initContainers"):
        if name in fixed:
            fixed[name] = [{k: v for k, v in c.items() if k != "image"} for c in fixed[name]]
    return fixed


def _grace(pod: Mapping[str, Any], given: int | None) -> int:
    """Return the seconds that a pod has to end: none if nothing of it runs."""
    if not pod["spec"].get("nodeName") or pod["status"].get("phase") in ("Succeeded", "Failed"):
        return 0
    if given is not None:
        return given
    return int(pod["spec"].get("terminationGracePeriodSeconds", 30))


def _is_over(value: Mapping[str, Any]) -> bool:
    """Return True if an object that is being deleted has nothing left to wait for."""
    metadata = value["metadata"]
    return (
        bool(metadata.get("deletionTimestamp"))
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
    )


def _selected(change: StoreChange, selection: ObjectSelection) -> list[bytes]:
    """Return the event of a change, for a selection that objects may enter and leave."""
    before = change.type != "ADDED" and selection.matches(change.before)
    after = change.type != "DELETED" and selection.matches(change.value)
    if after:
        return [_line("MODIFIED" if before else "ADDED", change.value)]
    if not before:
        return []
    value = change.value
    if change.type != "DELETED":  # its last form that was selected, with the new version
        version = value["metadata"]["resourceVersion"]
        assert change.before is not None
        metadata = {**change.before["metadata"], "resourceVersion": version}
        value = {**change.before, "metadata": metadata}
    return [_line("DELETED", value)]


def _bookmark(resource: ApiResource, version: int) -> Json:
    return {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": {"resourceVersion": str(version), "creationTimestamp": None},
    }


def _line(type: str, value: Mapping[str, Any]) -> bytes:
    return as_bytes({"type": type, "object": value}) + b"\n"


def _json(value: Any, code: int = 200) -> HttpAnswer:
    return HttpAnswer(code, as_bytes(value) + b"\n")


def _no_page() -> HttpAnswer:
    return HttpAnswer(404, b"404 page not found\n", "text/plain; charset=utf-8")


def _success(details: Mapping[str, Any] | None = None) -> Json:
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        **({"details": details} if details else {}),
    }  # fmt: skip


def _group(name: str, versions: list[str]) -> Json:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"kind": "APIGroup", "name": name, "versions": listed, "preferredVersion": listed[0]}
