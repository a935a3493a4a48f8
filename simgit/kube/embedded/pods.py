"""A pod in the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simgit.kube.embedded.controller import PodOwner
    from simgit.kube.embedded.nodes import Node
    from simgit.kube.embedded.podspec import PodFacts

PENDING, RUNNING, SUCCEEDED, FAILED = "Pending", "Running", "Succeeded", "Failed"


class Pod:
    """One pod: identity, what it asks for, and where it stands. Times are milliseconds."""

    __slots__ = (
        "bound_at", "created_at", "facts", "group", "message", "name", "namespace", "node",
        "nominated", "ordinal", "overlooked", "owner", "parked_at", "phase", "queued", "ready",
        "ready_at", "rejected_by", "removed", "revision", "target", "uid",
    )  # fmt: skip

    def __init__(
        self, uid: int, name: str, namespace: str, facts: PodFacts, owner: PodOwner, now: int
    ) -> None:
        """Start pending and unbound; ``uid`` grows with age."""
        self.uid = uid
        self.name = name
        self.namespace = namespace
        self.facts = facts
        self.owner = owner
        self.group: object = owner
        self.created_at = now
        self.phase = PENDING
        self.ready = False
        self.ready_at = 0
        self.bound_at = 0
        self.node: Node | None = None
        self.nominated: Node | None = None
        self.message: str | None = None
        self.rejected_by: frozenset[str] = frozenset()
        self.queued = 0
        self.parked_at = 0
        self.overlooked = False
        self.ordinal = 0
        self.revision: object = None
        self.target = ""
        self.removed = False

    @property
    def finished(self) -> bool:
        """Whether it ran to its end."""
        return self.phase in (SUCCEEDED, FAILED)
