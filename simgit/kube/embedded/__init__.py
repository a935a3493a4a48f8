"""A deterministic model of Kubernetes' control plane and KWOK, in virtual time."""

from simgit.kube.embedded.cluster import EmbeddedCluster
from simgit.kube.embedded.faults import Faults
from simgit.kube.embedded.kwok import PodDelays
from simgit.kube.embedded.node_events import NodeEvent
from simgit.kube.embedded.nodes import NodeSpec, default_nodes, node_spec, virtual_nodes

__all__ = [
    "EmbeddedCluster",
    "Faults",
    "NodeEvent",
    "NodeSpec",
    "PodDelays",
    "default_nodes",
    "node_spec",
    "virtual_nodes",
]
