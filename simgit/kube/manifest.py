"""Kubernetes objects as plain data: what kind they are, where their pod template lies.

A manifest is a dict that nobody changes once it is read: edits copy the path to the change
and share everything else, so that a step that changes one quantity stays small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simgit.errors import InvalidInput

Manifest = Mapping[str, Any]
Path = tuple[str | int, ...]

TEMPLATE_PATHS: Mapping[str, Path] = {
    "apps/v1.DaemonSet": ("spec", "template"),
    "apps/v1.Deployment": ("spec", "template"),
    "apps/v1.ReplicaSet": ("spec", "template"),
    "apps/v1.StatefulSet": ("spec", "template"),
    "batch/v1.CronJob": ("spec", "jobTemplate", "spec", "template"),
    "batch/v1.Job": ("spec", "template"),
    "v1.Pod": (),
}
REPLICATED = frozenset({"apps/v1.Deployment", "apps/v1.ReplicaSet", "apps/v1.StatefulSet"})


def freeze(value: Any) -> Any:
    """Copy JSON-like data with its lists as tuples, as they stand in a Trace."""
    if isinstance(value, Mapping):
        return {key: freeze(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in value)
    return value


def gvk_of(manifest: Manifest) -> str:
    """Return SimKube's name of the kind: 'apps/v1.Deployment', 'v1.Pod'."""
    return f"{manifest.get('apiVersion', '')}.{manifest.get('kind', '')}"


def normal_gvk(text: str) -> str:
    """Rewrite the old spelling of the core group: '/v1.Pod' is 'v1.Pod'."""
    return text[1:] if text.startswith("/") else text


def name_of(manifest: Manifest) -> str:
    """Return the name; a manifest that was checked has one."""
    return str(manifest["metadata"]["name"])


def namespace_of(manifest: Manifest) -> str:
    """Return the namespace, 'default' where none is written."""
    return str(manifest["metadata"].get("namespace") or "default")


def full_name(manifest: Manifest) -> str:
    """Return 'namespace/name', the key of a trace's index."""
    return f"{namespace_of(manifest)}/{name_of(manifest)}"


def lookup(value: Any, path: Sequence[str | int]) -> Any:
    """Follow a path through maps and lists; None where it leads nowhere."""
    for part in path:
        if type(value) is dict or isinstance(value, Mapping):  # the first is much cheaper
            value = value.get(part) if isinstance(part, str) else None
        elif isinstance(part, int) and isinstance(value, (list, tuple)) and part < len(value):
            value = value[part]
        else:
            return None
        if value is None:
            return None
    return value


def replace(value: Any, path: Sequence[str | int], new: Any) -> Any:
    """Return a copy with the place at the path set, sharing all that is not on the way."""
    if not path:
        return new
    head, rest = path[0], path[1:]
    if isinstance(head, str):
        source = value if type(value) is dict or isinstance(value, Mapping) else {}
        return {**source, head: replace(source.get(head), rest, new)}
    items = list(value)
    items[head] = replace(items[head], rest, new)
    return tuple(items)


def template_of(manifest: Manifest) -> Manifest | None:
    """Return the pod template (for a bare pod the pod itself), None for other kinds."""
    path = TEMPLATE_PATHS.get(gvk_of(manifest))
    found = None if path is None else lookup(manifest, path)
    return found if isinstance(found, Mapping) else None


def containers_of(manifest: Manifest) -> tuple[Manifest, ...]:
    """Return the containers of the pod template, empty where it has none."""
    found = lookup(template_of(manifest) or {}, ("spec", "containers"))
    return tuple(found) if isinstance(found, (list, tuple)) else ()


def check_identity(manifest: Any, where: str) -> None:
    """Refuse what cannot be an object: no kind, no name. Raises InvalidInput with the place."""
    if not isinstance(manifest, Mapping):
        raise InvalidInput(f"not an object at '{where}'", path=where)
    for path in (("apiVersion",), ("kind",), ("metadata", "name")):
        if not isinstance(found := lookup(manifest, path), str) or not found:
            place = ".".join((where, *path))
            raise InvalidInput(f"missing or empty string at '{place}'", path=place)
