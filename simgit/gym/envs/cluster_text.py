"""Drawing of a cluster as text: nodes filled by pods, and the pods that wait, with reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from simgit.kube.cluster import KubeCluster
from simgit.kube.quantity import parse_quantity

_WIDTH: Final = 20
_NAMES: Final = 6
Row = Mapping[str, Any]


def cluster_text(cluster: KubeCluster) -> str:
    """Return a line for each node and each reason why pods wait."""
    pods, nodes = cluster.pods(), cluster.nodes()
    return "\n".join([*map(_node_line, nodes), *_waiting_lines(pods)])


def share(node: Row, resource: str) -> float:
    """Return the requested share of a node's resource, from 0 to 1."""
    offered = parse_quantity(node[resource]).nano
    return parse_quantity(node["used"][resource]).nano / offered if offered else 0.0


def _node_line(node: Row) -> str:
    bars = "  ".join(_bar(node, resource) for resource in ("cpu", "memory"))
    lost = "" if node["ready"] else "  lost"
    return f"{node['name']}  {bars}{lost}  {_names(node['running'])}".rstrip()


def _bar(node: Row, resource: str) -> str:
    filled = round(_WIDTH * share(node, resource))
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
