"""Rendering of a cluster as image and text: nodes filled by pods, and the pods that wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from simgit.kube.cluster import ClusterRows
from simgit.kube.quantity import parse_quantity
from simgit.plot.bins import NodeBox, Pixels, PodBox, node_bins

Row = Mapping[str, Any]
_WIDTH: Final = 20
_NAMES: Final = 6


def cluster_image(cluster: ClusterRows, title: str) -> Pixels:
    """Return an image of nodes and pods; its size depends only on the number of nodes."""
    pods, nodes = cluster.pods(), cluster.nodes()
    placed: dict[str, list[PodBox]] = {node["name"]: [] for node in nodes}
    by_name = {node["name"]: node for node in nodes}
    for pod in pods:
        if pod["node"] in placed and pod["phase"] not in ("Succeeded", "Failed"):
            placed[pod["node"]].append(_box(pod, by_name[pod["node"]]))
    largest = _largest(nodes)
    waiting = [_box(pod, largest) for pod in pods if pod["phase"] == "Pending" and not pod["node"]]
    return node_bins([NodeBox(name, boxes) for name, boxes in placed.items()], waiting, title)


def _largest(nodes: Sequence[Row]) -> Row:
    def amount(node: Row, resource: str) -> int:
        return parse_quantity(node[resource]).nano

    return {
        resource: max(nodes, key=lambda node: amount(node, resource))[resource]
        for resource in ("cpu", "memory")
    }


def _box(pod: Row, node: Row) -> PodBox:
    return PodBox(_share(pod, node, "cpu"), _share(pod, node, "memory"), bool(pod["ready"]))


def cluster_text(cluster: ClusterRows) -> str:
    """Return a line for each node and each reason why pods wait."""
    pods, nodes = cluster.pods(), cluster.nodes()
    return "\n".join([*map(_node_line, nodes), *_waiting_lines(pods)])


def _node_line(node: Row) -> str:
    bars = "  ".join(_bar(node, resource) for resource in ("cpu", "memory"))
    lost = "" if node["ready"] else "  lost"
    return f"{node['name']}  {bars}{lost}  {_names(node['running'])}".rstrip()


def _bar(node: Row, resource: str) -> str:
    filled = round(_WIDTH * _share(node["used"], node, resource))
    bar = "#" * filled + "." * (_WIDTH - filled)
    return f"{resource} [{bar}] {node['used'][resource]}/{node[resource]}"


def _names(running: Sequence[str]) -> str:
    names = [name.rpartition("/")[2] for name in running]
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return " ".join(names[:_NAMES]) + more


def _waiting_lines(pods: Sequence[Row]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for pod in pods:
        if pod["phase"] == "Pending":
            reasons.setdefault(pod["message"] or "starting", []).append(pod["name"])
    return [f"pending: {_names(names)}: {reason}" for reason, names in reasons.items()]


def _share(used: Row, node: Row, resource: str) -> float:
    """Return a used amount as a share of a node's resource, from 0 to 1, or more."""
    offered = parse_quantity(node[resource]).nano
    return parse_quantity(used[resource]).nano / offered if offered else 0.0
