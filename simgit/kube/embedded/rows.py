"""Rows of plain data for the pods, nodes and events of the embedded cluster."""

from __future__ import annotations

from typing import Any

from simgit.kube.embedded.nodes import Node, Pod
from simgit.kube.embedded.world import ClusterEvent
from simgit.kube.quantity import from_bytes, from_millicores


def pod_row(pod: Pod) -> dict[str, Any]:
    """Return a pod's row; times are in seconds, ``message`` says why it is pending."""
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "owner": f"{pod.owner.kind}/{pod.owner.name}",
        "labels": dict(pod.facts.labels),
        "phase": pod.phase,
        "ready": pod.ready,
        "node": pod.node.name if pod.node else None,
        "nominated": pod.nominated.name if pod.nominated else None,
        "cpu": from_millicores(pod.facts.cpu),
        "memory": from_bytes(pod.facts.memory),
        "priority": pod.facts.priority,
        "containers": [dict(requests) for requests in pod.facts.containers],
        "created": pod.created_at / 1000,
        "message": pod.message,
    }


def node_row(node: Node) -> dict[str, Any]:
    """Return a node's row: what it offers, what is requested of it, and by which pods."""
    return {
        **node.spec.plain(),
        "unschedulable": node.unschedulable,
        "ready": node.ready,
        "used": {
            "cpu": from_millicores(node.cpu),
            "memory": from_bytes(node.memory),
            "pods": len(node.pods),
            **{name: amount for name, amount in node.extra.items() if amount},
        },
        "running": [
            f"{pod.namespace}/{pod.name}"
            for pod in sorted(node.pods.values(), key=lambda pod: int(pod.uid))
        ],
    }


def event_row(event: ClusterEvent) -> dict[str, Any]:
    """Return an event's row; the time is in seconds."""
    return {**event._asdict(), "time": event.time / 1000}
