"""The stored objects: one counter of versions, a bounded history, selections, owners by uid."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from simgit.kube.embedded.labels import Requirement, holds
from simgit.kube.manifest import lookup
from simgit.testing.apiserver.resources import ApiResource
from simgit.testing.apiserver.statuses import bad_request

Json = dict[str, Any]
ObjectKey = tuple[str, str]
"""(namespace, name); the namespace of a cluster-scoped object is empty."""
Place = tuple[ApiResource, ObjectKey]


class StoreChange(NamedTuple):
    """A write: the object after it (for DELETED the last one), and before it."""

    version: int
    resource: ApiResource
    type: str
    value: Json
    before: Json | None


def key_of(value: Mapping[str, Any]) -> ObjectKey:
    """Return the key of an object."""
    metadata = value["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def owner_reference(owner: Json, *, controller: bool = False) -> Json:
    """Return the reference to an owner that a foreground deletion keeps until its dependents go."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        **({"controller": True} if controller else {}),
        "blockOwnerDeletion": True,
    }


def content(value: Mapping[str, Any]) -> Json:
    """Return an object without its version and the record of who wrote which field."""
    metadata = {
        k: v for k, v in value["metadata"].items() if k not in ("resourceVersion", "managedFields")
    }
    return {**value, "metadata": metadata}


class ObjectStore:
    """All objects. A stored object is never changed in place: a write stores another one."""

    def __init__(self, history: int) -> None:
        """Keep the last ``history`` changes for watches."""
        self.version = 1
        self.changes: deque[StoreChange] = deque(maxlen=history)
        self.dropped = 1
        """The newest version whose change is no longer in the history."""
        self.places: dict[str, Place] = {}
        """Where the object with a uid is."""
        self.dependents: dict[str, dict[Place, None]] = {}
        """The objects that name a uid as their owner."""
        self.listeners: list[Callable[[StoreChange], None]] = []
        self._objects: dict[ApiResource, dict[ObjectKey, Json]] = {}

    def get(self, resource: ApiResource, key: ObjectKey) -> Json | None:
        """Return an object, None if there is none."""
        return self._objects.get(resource, {}).get(key)

    def every(self, resource: ApiResource, namespace: str = "") -> list[Json]:
        """Return the objects by namespace and name; of all namespaces by default."""
        found = self._objects.get(resource, {})
        return [found[key] for key in sorted(found) if not namespace or key[0] == namespace]

    def selected(self, resource: ApiResource, selection: ObjectSelection) -> list[Json]:
        """Return the selected objects by namespace and name."""
        return [
            each for each in self.every(resource, selection.namespace) if selection.matches(each)
        ]

    def contents(self, namespace: str) -> list[tuple[ApiResource, Json]]:
        """Return everything in a namespace."""
        return [
            (resource, value)
            for resource, objects in self._objects.items()
            if resource.namespaced
            for key, value in list(objects.items())
            if key[0] == namespace
        ]

    def put(self, resource: ApiResource, value: Json) -> Json:
        """Store an object, and return it with its version; equal content makes no version."""
        key = key_of(value)
        before = self.get(resource, key)
        if before is not None and content(before) == content(value):
            return before
        stored = self._versioned(value)
        self._objects.setdefault(resource, {})[key] = stored
        self._index(resource, key, before, stored)
        self._tell(resource, "MODIFIED" if before else "ADDED", stored, before)
        return stored

    def remove(self, resource: ApiResource, key: ObjectKey) -> Json:
        """Remove an object that exists, and return its last form."""
        before = self._objects[resource].pop(key)
        self._index(resource, key, before, None)
        last = self._versioned(before)
        self._tell(resource, "DELETED", last, before)
        return last

    def _versioned(self, value: Json) -> Json:
        self.version += 1
        metadata = {**value["metadata"], "resourceVersion": str(self.version)}
        return {**value, "metadata": metadata}

    def _index(
        self, resource: ApiResource, key: ObjectKey, before: Json | None, after: Json | None
    ) -> None:
        place = (resource, key)
        for uid in owner_uids(before):
            self.dependents.get(uid, {}).pop(place, None)
        for uid in owner_uids(after):
            self.dependents.setdefault(uid, {})[place] = None
        if after is not None:
            self.places[after["metadata"]["uid"]] = place
        elif before is not None:
            self.places.pop(before["metadata"]["uid"], None)

    def _tell(self, resource: ApiResource, type: str, value: Json, before: Json | None) -> None:
        if len(self.changes) == self.changes.maxlen:
            self.dropped = self.changes[0].version
        change = StoreChange(self.version, resource, type, value, before)
        self.changes.append(change)
        for listener in list(self.listeners):
            listener(change)

    def forget_history(self) -> None:
        """Drop the history: every watch from an earlier version is too old."""
        self.changes.clear()
        self.dropped = self.version


def owner_uids(value: Mapping[str, Any] | None) -> list[str]:
    """Return the uids of an object's owners."""
    references = lookup(value or {}, ("metadata", "ownerReferences")) or ()
    return [reference.get("uid", "") for reference in references]


_SET = re.compile(r"\s*([^\s!=,()]+)\s+(in|notin)\s*\(([^)]*)\)\s*")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "spec.nodeName": ("spec", "nodeName"),
    "spec.schedulerName": ("spec", "schedulerName"),
    "status.phase": ("status", "phase"),
    "involvedObject.kind": ("involvedObject", "kind"),
    "involvedObject.name": ("involvedObject", "name"),
    "involvedObject.namespace": ("involvedObject", "namespace"),
    "involvedObject.uid": ("involvedObject", "uid"),
    "reason": ("reason",),
    "type": ("type",),
}
_PLAIN = {"metadata.name", "metadata.namespace"}
_OF_KIND = {"Pod": {"spec.nodeName", "spec.schedulerName", "status.phase"}, "Event": set(_FIELDS)}


class ObjectSelection:
    """The selection of a list or a watch: by namespace, labels and fields."""

    def __init__(self, resource: ApiResource, namespace: str, labels: str, fields: str) -> None:
        """Compile the selectors; raises StatusError 400 for a bad one."""
        self.namespace = namespace
        self._labels = _label_requirements(labels)
        self._fields = _field_requirements(resource, fields)

    def matches(self, value: Mapping[str, Any] | None) -> bool:
        """Return True if an object is selected; None is not."""
        if value is None:
            return False
        metadata = value["metadata"]
        if self.namespace and metadata.get("namespace") != self.namespace:
            return False
        labels = metadata.get("labels") or {}
        return all(holds(requirement, labels) for requirement in self._labels) and all(
            ((lookup(value, path) or "") == wanted) is equal for path, wanted, equal in self._fields
        )


def _label_requirements(text: str) -> list[Requirement]:
    found: list[Requirement] = []
    for part in re.split(r",(?![^(]*\))", text) if text else ():
        if several := _SET.fullmatch(part):
            values = tuple(value.strip() for value in several[3].split(","))
            found.append((several[1], "In" if several[2] == "in" else "NotIn", values))
        elif "=" in part:
            key, operator, value = re.split(r"(!=|==|=)", part, maxsplit=1)
            wanted = "NotIn" if operator == "!=" else "In"
            found.append((key.strip(), wanted, (value.strip(),)))
        elif re.fullmatch(r"\s*!?\s*[\w./-]+\s*", part):
            key = part.strip()
            absent = key.startswith("!")
            found.append((key.lstrip("! "), "DoesNotExist" if absent else "Exists", ()))
        else:
            raise bad_request(f'unable to parse requirement: found "{part}"')
    return found


def _field_requirements(
    resource: ApiResource, text: str
) -> list[tuple[tuple[str, ...], str, bool]]:
    found = []
    known = _PLAIN | _OF_KIND.get(resource.kind, set())
    for part in text.split(",") if text else ():
        name, operator, value = (*re.split(r"(!=|==|=)", part, maxsplit=1), "", "")[:3]
        if not operator:
            raise bad_request(f'invalid field selector "{part}": can\'t understand it')
        if name not in known:
            raise bad_request(f"field label not supported: {name}")
        found.append((_FIELDS[name], value, operator != "!="))
    return found
