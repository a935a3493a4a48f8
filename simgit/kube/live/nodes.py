"""Virtual nodes on a real cluster: create, keep alive, read, delete.

No kubelet stands behind them, so their heartbeats are the stage controller's. The nodes that
simgit created are those with the label ``simgit.io/run``; no others are ever changed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from simgit.errors import AlreadyExists, ClusterError, InvalidInput
from simgit.kube.embedded.nodes import NodeSpec, as_virtual, node_spec, plain_taint
from simgit.kube.embedded.requests import read_requests
from simgit.kube.live.api import Api, ApiError, Object
from simgit.kube.live.cleanup import RUN
from simgit.kube.manifest import lookup
from simgit.kube.quantity import from_bytes, from_millicores

VIRTUAL: Final = "type=virtual"
"""The selector of virtual nodes, SimKube's and ours."""
KWOK: Final = "kwok.x-k8s.io/node"
"""The annotation of nodes whose pods KWOK plays."""
MANAGER: Final = "simgit"
MAX_NODES: Final = 500
LEASE_SECONDS: Final = 40
"""The seconds without a heartbeat after which a node counts as lost."""
_NODES: Final = "/api/v1/nodes"
_LOST: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_WELL: Final = {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}


def create_nodes(
    api: Api,
    count: int = 3,
    cpu: object = "16",
    memory: object = "32Gi",
    pods: object = 110,
    *,
    run: str = "nodes",
    prefix: str = "simgit-node",
    most: int = MAX_NODES,
) -> list[str]:
    """Create equal virtual nodes and return their names.

    Args:
        api: the API server.
        count: how many.
        cpu: the CPU of each, a quantity.
        memory: the memory of each, a quantity.
        pods: the pods that each has room for.
        run: the value of their label ``simgit.io/run``.
        prefix: the names are this and a number, those that are free.
        most: the most virtual nodes that the cluster may have.

    Raises:
        InvalidInput: a bad quantity, or more nodes than ``most``.
        ClusterError: the server refuses.
    """
    taken = {name_of(node) for node in api.list(_NODES)[0]}
    names = (f"{prefix}-{number}" for number in itertools.count(1))
    free = itertools.islice((name for name in names if name not in taken), max(0, count))
    specs = [node_spec(name, cpu=cpu, memory=memory, pods=pods) for name in free]
    return add_nodes(api, specs, run=run, most=most)


def add_nodes(
    api: Api, specs: Sequence[NodeSpec], *, run: str = "nodes", most: int = MAX_NODES
) -> list[str]:
    """Create nodes of these specs, made virtual, and return their names.

    Raises InvalidInput if the cluster would have more than ``most`` virtual nodes, AlreadyExists
    if a node of that name exists, and ClusterError.
    """
    present = len(virtual(api))
    if present + len(specs) > most:
        raise InvalidInput(
            f"{len(specs)} more virtual nodes would be {present + len(specs)}, and {most} are the "
            "most", value=len(specs),
        )  # fmt: skip
    for spec in map(as_virtual, specs):
        try:
            made = api.create(_NODES, _node(spec, run))
        except ApiError as error:
            if error.status == 409:
                raise AlreadyExists(f"node '{spec.name}' exists", value=spec.name) from error
            raise
        if lookup(made, ("status", "allocatable")) is None:  # a server may drop it at first
            api.patch(f"{_NODES}/{spec.name}/status", {"status": _status(spec)})
        beat(api, made)
    return [spec.name for spec in specs]


def delete_nodes(api: Api, *, run: str | None = None) -> list[str]:
    """Delete the virtual nodes that simgit created (of a run), and return their names."""
    gone = []
    for node in virtual(api):
        if ours(node) and run in (None, node["metadata"]["labels"][RUN]):
            api.delete(f"{_NODES}/{name_of(node)}", uid=node["metadata"]["uid"])
            api.delete(_lease_path(name_of(node)))
            gone.append(name_of(node))
    return gone


def virtual(api: Api) -> list[Object]:
    """Return the virtual nodes; raises ApiError."""
    return api.list(_NODES, labels=VIRTUAL)[0]


def ours(node: Object) -> bool:
    """Return True for a node that simgit created."""
    return bool(lookup(node, ("metadata", "labels", RUN)))


def played_by_kwok(node: Object) -> bool:
    """Return True for a node whose pods and heartbeats are KWOK's."""
    return lookup(node, ("metadata", "annotations", KWOK)) is not None


def name_of(node: Object) -> str:
    """Return the name."""
    return str(node["metadata"]["name"])


def ready(node: Object) -> bool:
    """Return True if the node is ready and no taint keeps pods away that says otherwise."""
    taints = lookup(node, ("spec", "taints")) or ()
    return condition(node, "Ready") == "True" and all(each["key"] not in _LOST for each in taints)


def condition(found: Object, name: str, key: str = "status") -> str | None:
    """Return what an object's condition says, None if it has none of that name."""
    for each in lookup(found, ("status", "conditions")) or ():
        if each.get("type") == name:
            value = each.get(key)
            return None if value is None else str(value)
    return None


def beat(api: Api, node: Object) -> None:
    """Send the heartbeat of a node of ours; one that is not ready becomes ready.

    Raises ApiError.
    """
    name = name_of(node)
    now = time.time()
    metadata = node["metadata"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": metadata["uid"]}
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": "kube-node-lease",
            "labels": {RUN: metadata["labels"][RUN]},
            "ownerReferences": [owner],
        },
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": stamp(now, micro=True),
        },
    }
    try:
        api.apply(_lease_path(name), lease, manager=MANAGER)
    except ApiError as error:
        if error.status != 404:  # a server without the namespace of the leases looks at none
            raise
    if condition(node, "Ready") != "True":
        status = {"conditions": _conditions(now)}
        api.patch(
            f"{_NODES}/{name}/status", {"metadata": {"uid": metadata["uid"]}, "status": status}
        )


def row(node: Object, pods: Sequence[Object]) -> dict[str, Any]:
    """Return a node's row as the embedded cluster has it; ``pods`` are those on any node."""
    used: dict[str, int] = {"cpu": 0, "memory": 0}
    running = []
    for pod in pods:
        over = lookup(pod, ("status", "phase")) in ("Succeeded", "Failed")
        if not over and lookup(pod, ("spec", "nodeName")) == name_of(node):
            running.append(f"{pod['metadata']['namespace']}/{name_of(pod)}")
            for name, amount in read_requests(pod["spec"])[0].items():
                used[name] = used.get(name, 0) + amount
    amounts = {"cpu": from_millicores(used.pop("cpu")), "memory": from_bytes(used.pop("memory"))}
    used.pop("ephemeral-storage", None)
    extra = {name: amount for name, amount in used.items() if amount}
    return {
        **spec_of(node).plain(),
        "ready": ready(node),
        "used": {**amounts, "pods": len(running), **extra},
        "running": running,
    }


def spec_of(node: Object) -> NodeSpec:
    """Return what a node offers, as the embedded cluster describes it."""
    offers = dict(lookup(node, ("status", "allocatable")) or {})
    taints = lookup(node, ("spec", "taints")) or ()
    return node_spec(
        name_of(node),
        cpu=offers.pop("cpu", 0),
        memory=offers.pop("memory", 0),
        pods=offers.pop("pods", 0),
        storage=offers.pop("ephemeral-storage", 0),
        extra=offers,
        labels=dict(lookup(node, ("metadata", "labels")) or {}),
        taints=[{k: t.get(k) or "" for k in ("key", "value", "effect")} for t in taints],
        unschedulable=bool(lookup(node, ("spec", "unschedulable"))),
    )


def stamp(seconds: float, *, micro: bool = False) -> str:
    """Return a time as Kubernetes writes it."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(
        timespec="microseconds" if micro else "seconds"
    )
    return text.replace("+00:00", "Z")


def seconds_of(text: object) -> float:
    """Return a time that Kubernetes wrote in Unix seconds; raises ClusterError."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise ClusterError(f"the API server sent a time that cannot be read: '{text}'") from None


def _node(spec: NodeSpec, run: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": spec.name, "labels": {**spec.labels, RUN: run}},
        "spec": {
            "taints": [plain_taint(taint) for taint in spec.taints],
            **({"unschedulable": True} if spec.unschedulable else {}),
        },
        "status": _status(spec),
    }


def _status(spec: NodeSpec) -> Object:
    offers = {
        "cpu": from_millicores(spec.cpu),
        "memory": from_bytes(spec.memory),
        "pods": str(spec.pods),
        "ephemeral-storage": from_bytes(spec.storage),
        **{name: str(amount) for name, amount in spec.extra.items()},
    }
    return {"capacity": offers, "allocatable": offers, "conditions": _conditions(time.time())}


def _conditions(now: float) -> list[Object]:
    return [
        {
            "type": kind, "status": status, "reason": "Simgit", "message": "a virtual node",
            "lastHeartbeatTime": stamp(now), "lastTransitionTime": stamp(now),
        }
        for kind, status in {**_WELL, "Ready": "True"}.items()
    ]  # fmt: skip


def _lease_path(name: str) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"
