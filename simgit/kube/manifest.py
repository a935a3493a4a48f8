"""Kubernetes objects as plain data: kind, name, pod template, and edits by path.

Nobody changes a manifest once it is read: an edit copies the path to the change and shares
everything else, so that a step that changes one quantity stays small.
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
    """Return a copy of JSON-like data with tuples for lists, as a Trace holds it."""
    if isinstance(value, Mapping):
        return {key: freeze(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in value)
    return value


def gvk_of(manifest: Manifest) -> str:
    """Return the kind as SimKube writes it: 'apps/v1.Deployment', 'v1.Pod'."""
    return f"{manifest.get('apiVersion', '')}.{manifest.get('kind', '')}"


def normal_gvk(text: str) -> str:
    """Return a kind with the old spelling of the core group replaced: 'v1.Pod' for '/v1.Pod'."""
    return text[1:] if text.startswith("/") else text


def name_of(manifest: Manifest) -> str:
    """Return the name, which every checked manifest has."""
    return str(manifest["metadata"]["name"])


def namespace_of(manifest: Manifest) -> str:
    """Return the namespace, by default 'default'."""
    return str(manifest["metadata"].get("namespace") or "default")


def full_name(manifest: Manifest) -> str:
    """Return 'namespace/name', the key of a trace's index."""
    return f"{namespace_of(manifest)}/{name_of(manifest)}"


def lookup(value: Any, path: Sequence[str | int]) -> Any:
    """Return the value at a path through maps and lists, None where there is none."""
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
    """Return a copy with a new value at the path, which shares everything else."""
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
    return found if type(found) is dict or isinstance(found, Mapping) else None


def pod_labels(manifest: Manifest) -> dict[str, str]:
    """Return the labels of the pod template, empty where it has none."""
    found = lookup(template_of(manifest) or {}, ("metadata", "labels"))
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, Mapping) else {}


def containers_of(manifest: Manifest) -> tuple[Manifest, ...]:
    """Return the containers of the pod template, empty where it has none."""
    found = lookup(template_of(manifest) or {}, ("spec", "containers"))
    return tuple(found) if isinstance(found, (list, tuple)) else ()


def check_identity(manifest: Any, where: str) -> None:
    """Raise InvalidInput, with the place, for an object without apiVersion, kind or name."""
    if not isinstance(manifest, Mapping):
        raise InvalidInput(
            f"expected an object, got {type(manifest).__name__} at '{where}'", path=where
        )
    for path in (("apiVersion",), ("kind",), ("metadata", "name")):
        if not isinstance(found := lookup(manifest, path), str) or not found:
            place = ".".join((where, *path))
            raise InvalidInput(f"expected a string that is not empty at '{place}'", path=place)
