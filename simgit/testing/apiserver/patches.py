"""Patches: merge (RFC 7386), JSON patch (RFC 6902), strategic merge, and server-side apply.

Strategic merge merges lists of built-in kinds by the keys in ``MERGE_KEYS``, knows ``$patch:
delete``, ``$patch: replace``, and adds finalizers; all other lists are replaced. Server-side
apply owns fields by path, with the same lists as maps. Custom resources have no such lists.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from simgit.testing.apiserver.objects import Json
from simgit.testing.apiserver.statuses import StatusError, bad_request

MERGE_KEYS: Mapping[str, str] = {
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ownerReferences": "uid",
    "taints": "key",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""The lists whose items are one by this key."""
FieldPath = tuple[str, ...]
"""Elements as in ``fieldsV1``: ``f:spec``, ``k:{"name":"web"}``."""

_ABSENT = object()
_IDENTITY = frozenset({"apiVersion", "kind"})
_OF_SERVER = frozenset(
    {"name", "namespace", "generateName", "uid", "resourceVersion", "generation",
     "creationTimestamp", "deletionTimestamp", "managedFields", "selfLink"}
)  # fmt: skip


def merge(target: Any, patch: Any) -> Any:
    """Apply a merge patch."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def merge_strategic(target: Any, patch: Any, name: str = "") -> Any:
    """Apply a strategic merge patch."""
    if isinstance(patch, list):
        return _merge_list(target if isinstance(target, list) else [], patch, name)
    if not isinstance(patch, Mapping):
        return patch
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            merged[field] = [item for item in merged.get(field) or [] if item not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_strategic(merged.get(key), value, key)
    return merged


def _merge_list(target: list[Any], patch: list[Any], name: str) -> list[Any]:
    if name == "finalizers":
        return [*target, *(item for item in patch if item not in target)]
    key = MERGE_KEYS.get(name)
    if key is None or not all(isinstance(item, Mapping) for item in patch):
        return patch
    if {"$patch": "replace"} in patch:
        return [item for item in patch if "$patch" not in item]
    merged = {item.get(key): item for item in target}
    for item in patch:
        if item.get("$patch") == "delete":
            merged.pop(item.get(key), None)
        else:
            merged[item.get(key)] = merge_strategic(merged.get(item.get(key)), item)
    return list(merged.values())


def patch_json(target: Json, operations: Any) -> Any:
    """Apply a JSON patch; raises StatusError 400 or 422 as the server does."""
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    changed: Any = copy.deepcopy(target)
    for step in operations:
        try:
            changed = _operate(changed, step)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            why = f"the server rejected our request due to an error in our request ({error})"
            raise StatusError(422, "Invalid", why) from error
    return changed


def _operate(root: Any, step: Mapping[str, Any]) -> Any:
    operation, path = step["op"], _pointer(step["path"])
    if operation == "test":
        if _at(root, path) != step.get("value"):
            raise ValueError(f"testing path {step['path']} failed")
        return root
    value = copy.deepcopy(step.get("value"))
    if operation in ("move", "copy"):
        source = _pointer(step["from"])
        value = copy.deepcopy(_at(root, source))
        if operation == "move":
            _edit(root, source, remove=True)
    elif operation == "replace":
        _at(root, path)
    elif operation not in ("add", "remove"):
        raise ValueError(f"unexpected kind: {operation}")
    if not path:
        return value
    _edit(root, path, value, remove=operation == "remove", insert=operation != "replace")
    return root


def _pointer(text: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _at(root: Any, path: list[str]) -> Any:
    for part in path:
        root = root[int(part)] if isinstance(root, list) else root[part]
    return root


def _edit(
    root: Any, path: list[str], value: Any = None, *, remove: bool = False, insert: bool = False
) -> None:
    parent, last = _at(root, path[:-1]), path[-1]
    if isinstance(parent, list):
        index = len(parent) if last == "-" else int(last)
        if remove:
            del parent[index]
        elif insert:
            if index > len(parent):
                raise IndexError(f"index {index} is out of bounds")
            parent.insert(index, value)
        else:
            parent[index] = value
    elif remove:
        del parent[last]
    else:
        parent[last] = value


def fields_of(value: Any, *, custom: bool) -> dict[FieldPath, Any]:
    """Return the leaves of an object that somebody can own, by path."""
    return {
        path: leaf
        for path, leaf in _leaves(value, (), "", custom)
        if path and path[0][2:] not in _IDENTITY
        and not (len(path) > 1 and path[0] == "f:metadata" and path[1][2:] in _OF_SERVER)
    }  # fmt: skip


def _leaves(
    value: Any, path: FieldPath, name: str, custom: bool
) -> Iterator[tuple[FieldPath, Any]]:
    key = None if custom and name != "ownerReferences" else MERGE_KEYS.get(name)
    if isinstance(value, Mapping) and (value or not path):
        for field, item in value.items():
            yield from _leaves(item, (*path, f"f:{field}"), field, custom)
    elif (
        isinstance(value, list) and key and all(isinstance(i, Mapping) and key in i for i in value)
    ):
        for item in value:
            element = "k:" + json.dumps({key: item[key]}, separators=(",", ":"))
            yield (*path, element, "."), "."  # the item itself
            yield from _leaves(item, (*path, element), "", custom)
    else:
        yield path, value


def _get(root: Any, path: FieldPath) -> Any:
    for part in path:
        if part.startswith("f:"):
            if not isinstance(root, Mapping) or part[2:] not in root:
                return _ABSENT
            root = root[part[2:]]
        else:
            root = next((item for item in root if _is_item(item, part)), _ABSENT)
            if root is _ABSENT:
                return _ABSENT
    return root


def _holds(root: Any, path: FieldPath, leaf: Any) -> bool:
    """Return True if a leaf is as wanted; an empty map only wants a map."""
    if path[-1] == ".":
        return _get(root, path[:-1]) is not _ABSENT
    found = _get(root, path)
    return bool(found == leaf) or (leaf == {} and isinstance(found, Mapping))


def _is_item(item: Any, part: str) -> bool:
    return all(item.get(key) == value for key, value in json.loads(part[2:]).items())


def _set(root: Any, path: FieldPath, value: Any) -> None:
    for part, below in pairwise(path):
        if part.startswith("f:"):
            empty: Any = {} if below.startswith("f:") else []
            if not isinstance(root.get(part[2:]), type(empty)):
                root[part[2:]] = empty
            root = root[part[2:]]
        else:
            found = next((item for item in root if _is_item(item, part)), None)
            if found is None:
                found = dict(json.loads(part[2:]))
                root.append(found)
            root = found
    root[path[-1][2:]] = value


def _delete(root: Any, path: FieldPath) -> None:
    """Delete a leaf, and the maps that hold nothing else then; for ``.`` an item of a list."""
    if path[-1] == ".":
        items = _get(root, path[:-2])
        if items is not _ABSENT:
            items[:] = [item for item in items if not _is_item(item, path[-2])]
        return
    if isinstance(_get(root, path), Mapping) and _get(root, path):
        return
    for cut in range(len(path), 0, -1):
        parent = _get(root, path[: cut - 1])
        part = path[cut - 1]
        if parent is _ABSENT:
            continue
        if part.startswith("f:"):
            if cut < len(path) and parent.get(part[2:]) not in ({}, []):
                return
            parent.pop(part[2:], None)
        else:
            return


def owned_fields(entry: Mapping[str, Any]) -> set[FieldPath]:
    """Return the paths of an entry of ``managedFields``."""
    found: set[FieldPath] = set()

    def walk(node: Mapping[str, Any], path: FieldPath) -> None:
        if not node and path:
            found.add(path)
        for part, below in node.items():
            walk(below, (*path, part))

    walk(entry.get("fieldsV1") or {}, ())
    return found


def _entry(
    manager: str, operation: str, api_version: str, now: str, paths: set[FieldPath], part: str
) -> Json:
    nested: Json = {}
    for path in sorted(paths):
        node = nested
        for element in path:
            node = node.setdefault(element, {})
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": nested,
        **({"subresource": part} if part else {}),
    }


class FieldManager:
    """The writer: its name, the operation's part of the object, and the time as text."""

    def __init__(self, name: str, api_version: str, now: str, part: str, *, custom: bool) -> None:
        self.name, self.api_version, self.now, self.part = name, api_version, now, part
        self.custom = custom

    def _owners(self, live: Mapping[str, Any]) -> dict[tuple[str, str, str], set[FieldPath]]:
        entries = live["metadata"].get("managedFields") or ()
        return {
            (entry["manager"], entry["operation"], entry.get("subresource", "")): owned_fields(
                entry
            )
            for entry in entries
        }

    def _store(
        self, value: Json, owners: dict[tuple[str, str, str], set[FieldPath]], mine: Any
    ) -> Json:
        old = {
            (entry["manager"], entry["operation"], entry.get("subresource", "")): entry
            for entry in value["metadata"].get("managedFields") or ()
        }
        entries = []
        for who, paths in owners.items():
            if not paths:
                continue
            if who in old and who != mine and owned_fields(old[who]) == paths:
                entries.append(old[who])
                continue
            entries.append(_entry(who[0], who[1], self.api_version, self.now, paths, who[2]))
        value["metadata"] = {**value["metadata"], "managedFields": entries}
        return value

    def updated(self, before: Mapping[str, Any] | None, after: Json) -> Json:
        """Note an update: whoever writes a field owns it, alone."""
        was = {} if before is None else fields_of(before, custom=self.custom)
        now = fields_of(after, custom=self.custom)
        changed = {path for path, leaf in now.items() if was.get(path, _ABSENT) != leaf}
        gone = was.keys() - now.keys()
        owners = {} if before is None else self._owners(before)
        after["metadata"] = {
            **after["metadata"],
            "managedFields": [] if before is None else before["metadata"].get("managedFields", []),
        }
        if not changed and not gone:
            return after
        mine = (self.name, "Update", self.part)
        for who in owners:
            owners[who] -= gone | (changed if who != mine else set())
        owners.setdefault(mine, set()).update(changed)
        return self._store(after, owners, mine)

    def applied(self, live: Json | None, wanted: Json, *, force: bool) -> Json:
        """Return the object after a server-side apply; raises StatusError 409 for conflicts."""
        new: Json = copy.deepcopy(live or {**wanted, "metadata": dict(wanted["metadata"])})
        wishes = fields_of(wanted, custom=self.custom)
        owners = {} if live is None else self._owners(live)
        mine = (self.name, "Apply", self.part)
        clashes = []
        for path, leaf in wishes.items():
            others = [who for who, paths in owners.items() if who != mine and path in paths]
            if not _holds(new, path, leaf):
                clashes += [(who, path) for who in others]
                if force:
                    for who in others:
                        owners[who].discard(path)
                if path[-1] != ".":
                    _set(new, path, copy.deepcopy(leaf))
        if clashes and not force:
            raise _conflicts(clashes, self.api_version)
        for path in sorted(owners.get(mine, set()) - wishes.keys()):
            if not any(path in paths for who, paths in owners.items() if who != mine):
                _delete(new, path)
        owners[mine] = set(wishes)
        return self._store(new, owners, mine)


def _conflicts(
    clashes: list[tuple[tuple[str, str, str], FieldPath]], api_version: str
) -> StatusError:
    causes = []
    for who, path in clashes:
        using = f" using {api_version}" if who[1] == "Update" else ""
        field = "".join(f".{p[2:]}" if p.startswith("f:") else f"[{p[2:]}]" for p in path)
        told = f'conflict with "{who[0]}"{using}'
        causes.append({"reason": "FieldManagerConflict", "message": told, "field": field})
    noun = "conflict" if len(causes) == 1 else "conflicts"
    listed = ", ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    return StatusError(
        409,
        "Conflict",
        f"Apply failed with {len(causes)} {noun}: {listed}",
        details={"causes": causes},
    )
