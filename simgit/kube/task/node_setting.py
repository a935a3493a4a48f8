"""The setting ``nodes``: a number, nodes as plain data or as kubectl prints them, events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, Final, NamedTuple, TypeVar

from simgit.errors import InvalidInput, did_you_mean, shown, warn
from simgit.kube.embedded import NodeEvent, NodeSpec, node_spec, virtual_nodes
from simgit.kube.embedded.fields import map_of, maps_of
from simgit.kube.embedded.node_events import ACTIONS, check_nodes
from simgit.kube.embedded.nodes import CORDON
from simgit.kube.manifest import lookup

Nodes = int | Sequence[NodeSpec | Mapping[str, Any]] | Mapping[str, Any] | None
T = TypeVar("T")
_LATEST: Final = 2**40
_COUNTED: Final = {
    "cpu": "cpu", "memory": "memory", "pods": "pods", "ephemeral-storage": "storage",
}  # fmt: skip
"""Resources of a Node object that are fields of ``node_spec``; all others are ``extra``."""


class NodeSetting(NamedTuple):
    """The nodes of a cluster at its start, and what happens to nodes later."""

    nodes: tuple[NodeSpec, ...]
    events: tuple[NodeEvent, ...] = ()

    def plain(self) -> Any:
        """Return the setting as plain data: a list of nodes, with events a map of both."""
        nodes = [node.plain() for node in self.nodes]
        if not self.events:
            return nodes
        return {"nodes": nodes, "events": [event.plain() for event in self.events]}


def read_nodes(value: Nodes) -> NodeSetting:
    """Read the setting; None is three virtual nodes of 16 CPU, 32Gi and 110 pods.

    Warns of what is not used of nodes as kubectl prints them.

    Raises:
        InvalidInput: it has a fault; ``path`` is its place, such as ``events[3].leave``.
    """
    setting = {"nodes": value} if not isinstance(value, Mapping) or _is_object(value) else value
    for key in setting:
        if key not in ("nodes", "events"):
            near = did_you_mean(str(key), ("nodes", "events"))
            raise InvalidInput(f"unknown field '{key}' of nodes{near}", path=str(key))
    listed = setting.get("events")
    if listed is not None and not isinstance(listed, (list, tuple)):
        raise InvalidInput(f"events must be a list, got {shown(listed)}", path="events")
    found = NodeSetting(
        _nodes(setting.get("nodes")),
        tuple(_event(item, f"events[{number}]") for number, item in enumerate(listed or ())),
    )
    check_nodes(found.nodes, found.events)
    nodes = setting.get("nodes")
    given = [*(nodes if isinstance(nodes, (list, tuple)) else [nodes])]
    if any(map(_is_object, [*given, *(event.get("join") for event in listed or ())])):
        warn(
            "of nodes as kubectl prints them, name, labels, taints, allocatable and unschedulable "
            "are used, and nothing else (conditions, images, addresses, …)"
        )
    return found


def _is_object(value: Any) -> bool:
    """Return True for an object of the API, such as kubectl prints."""
    return isinstance(value, Mapping) and not {"kind", "items", "metadata"}.isdisjoint(value)


def _nodes(value: Any) -> tuple[NodeSpec, ...]:
    if value is None or isinstance(value, int):
        count = 3 if value is None else value
        if isinstance(value, bool) or not 0 < count <= 10_000:
            raise InvalidInput(f"nodes must be in 1..10000, got '{value}'", value=value)
        return virtual_nodes(count)
    name = "nodes"
    if _is_object(value):
        name, value = ("items", value["items"]) if "items" in value else (name, [value])
    if not isinstance(value, (list, tuple)):
        raise InvalidInput(f"{name} must be a number or a list, got {shown(value)}", path=name)
    if not value:
        raise InvalidInput("a cluster needs at least one node", path=name)
    return tuple(_node(item, f"{name}[{number}]") for number, item in enumerate(value))


def _node(value: Any, place: str) -> NodeSpec:
    if isinstance(value, NodeSpec):
        return value
    try:
        return build(node_spec, "node", _fields_of(value) if _is_object(value) else value)
    except InvalidInput as error:
        raise InvalidInput(f"{error} at '{place}'", path=place) from None


def _fields_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``node_spec`` in a Node object."""
    if manifest.get("kind") != "Node":
        raise InvalidInput(f"kind must be Node, got {shown(manifest.get('kind'))}")
    offered = map_of(lookup(manifest, ("status", "allocatable")))
    if not offered:
        raise InvalidInput("the node has no status.allocatable")
    return {
        # Of a resource that a node does not have, a Node object says nothing.
        **dict.fromkeys(_COUNTED.values(), 0),
        **{field: offered[name] for name, field in _COUNTED.items() if name in offered},
        "extra": {name: amount for name, amount in offered.items() if name not in _COUNTED},
        "name": lookup(manifest, ("metadata", "name")),
        "labels": map_of(lookup(manifest, ("metadata", "labels"))),
        # The taint of a cordon comes and goes with spec.unschedulable.
        "taints": [
            taint
            for taint in maps_of(lookup(manifest, ("spec", "taints")))
            if taint.get("key") != CORDON.key
        ],
        "unschedulable": lookup(manifest, ("spec", "unschedulable")) is True,
    }


def _event(value: Any, place: str) -> NodeEvent:
    known = ("at", *ACTIONS)
    if not isinstance(value, Mapping):
        raise InvalidInput(f"an event must be a map, got {shown(value)} at '{place}'", path=place)
    for key in value:
        if key not in known:
            near = did_you_mean(str(key), known)
            raise InvalidInput(f"unknown field '{key}'{near} at '{place}'", path=place)
    actions = [key for key in value if key != "at"]
    if len(actions) != 1:
        said = ", ".join(actions) or "none"
        raise InvalidInput(
            f"an event needs exactly one of {', '.join(ACTIONS)}, got {said} at '{place}'",
            path=place,
        )
    at, action = value.get("at"), actions[0]
    if isinstance(at, bool) or not isinstance(at, (int, float)) or not 0 <= at < _LATEST:
        raise InvalidInput(
            f"seconds must be 0 or more and below 2**40, got {shown(at)} at '{place}.at'",
            path=f"{place}.at",
        )
    at, inside, about = int(at) if at == int(at) else at, f"{place}.{action}", value[action]
    if action == "join":
        spec = _node(about, inside)
        return NodeEvent(at, action, spec.name, spec)
    if not isinstance(about, str) or not about:
        raise InvalidInput(
            f"expected the name of a node, got {shown(about)} at '{inside}'", path=inside
        )
    return NodeEvent(at, action, about)


def build(make: Callable[..., T], what: str, fields: Any) -> T:
    """Call a constructor with fields of plain data; raises InvalidInput for bad ones."""
    if not isinstance(fields, Mapping):
        raise InvalidInput(f"invalid {what}: expected a map of fields, got '{str(fields)[:40]}'")
    known = list(signature(make).parameters)
    for name in fields:
        if name not in known:
            near = did_you_mean(str(name), known)
            raise InvalidInput(f"invalid {what}: unknown field '{name}'{near}")
    try:
        return make(**fields)
    except (TypeError, AttributeError) as error:
        raise InvalidInput(f"invalid {what}: {str(error).rpartition('() ')[2]}") from None
