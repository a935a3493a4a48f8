"""Drawing of a cluster as an image: nodes filled by pods, and the pods that wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simgit.kube.cluster import KubeCluster
from simgit.kube.quantity import parse_quantity
from simgit.plot.bins import NodeBox, Pixels, PodBox, node_bins

Row = Mapping[str, Any]


def cluster_image(cluster: KubeCluster, title: str) -> Pixels:
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


def _share(pod: Row, node: Row, resource: str) -> float:
    offered = parse_quantity(node[resource]).nano
    return parse_quantity(pod[resource]).nano / offered if offered else 0.0
