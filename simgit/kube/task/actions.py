"""What an agent may do to a workload: small functions from a manifest to a manifest.

To add one, write it here under ``@ACTIONS.register``: its place in the file is its index.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simgit.errors import InvalidInput
from simgit.kube.manifest import Manifest, full_name
from simgit.kube.task.registry import Registry
from simgit.kube.task.resources import add_replicas, add_request, read_resources
from simgit.kube.task.safeguards import LIMITS, Limits, violation
from simgit.kube.trace.edit import Match, edit
from simgit.kube.trace.model import Trace

Action = Callable[[Manifest], Manifest]

ACTIONS: Registry[Action] = Registry("action")
SMALL_CPU = "500m"
SMALL_MEMORY = "256Mi"


@ACTIONS.register("noop")
def noop(manifest: Manifest) -> Manifest:
    """Leave everything as it is."""
    return manifest


@ACTIONS.register("bump_cpu_small")
def bump_cpu_small(manifest: Manifest) -> Manifest:
    """Ask for 500m more CPU."""
    return add_request(manifest, "cpu", SMALL_CPU)


@ACTIONS.register("bump_mem_small")
def bump_mem_small(manifest: Manifest) -> Manifest:
    """Ask for 256Mi more memory."""
    return add_request(manifest, "memory", SMALL_MEMORY)


@ACTIONS.register("scale_up_replicas")
def scale_up_replicas(manifest: Manifest) -> Manifest:
    """Add one replica."""
    return add_replicas(manifest, 1)


@ACTIONS.register("reduce_cpu_small")
def reduce_cpu_small(manifest: Manifest) -> Manifest:
    """Ask for 500m less CPU."""
    return add_request(manifest, "cpu", "-" + SMALL_CPU)


@ACTIONS.register("reduce_mem_small")
def reduce_mem_small(manifest: Manifest) -> Manifest:
    """Ask for 256Mi less memory."""
    return add_request(manifest, "memory", "-" + SMALL_MEMORY)


@ACTIONS.register("scale_down_replicas")
def scale_down_replicas(manifest: Manifest) -> Manifest:
    """Remove one replica."""
    return add_replicas(manifest, -1)


STANDARD: tuple[str, ...] = ACTIONS.names()
"""What an agent may do unless it is told: the seven above, whatever is registered later."""


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The trace after an action, and what is recorded of it."""

    trace: Trace
    changed: bool
    error: str | None = None

    @property
    def blocked(self) -> bool:
        """Whether a safeguard stopped it."""
        return self.error is not None

    def info(self) -> dict[str, Any]:
        """Return the record of the step: a blocked action says so and why."""
        if self.blocked:
            return {"changed": False, "blocked": True, "error": self.error}
        return {"changed": self.changed, "blocked": False}


class _Blocked(Exception):
    """Stops an edit half way; nothing of it remains, since edits copy."""


def action_name(action: str | int) -> str:
    """Return the name of an action given by name, or by its index among the seven.

    Raises InvalidInput or NotFound if there is none.
    """
    if isinstance(action, str):
        ACTIONS.get(action)
        return action
    if not 0 <= action < len(STANDARD):
        raise InvalidInput(f"action {action} is not in 0..{len(STANDARD) - 1}", value=action)
    return STANDARD[action]


def act(trace: Trace, match: Match, action: str | int, limits: Limits = LIMITS) -> ActionResult:
    """Do an action to the matching workload in every event, or not at all if one is blocked.

    Raises NotFound if there is no such workload, whatever the action.
    """
    function = ACTIONS.get(action_name(action))

    def guarded(manifest: Manifest) -> Manifest:
        after = function(manifest)
        if after is not manifest:
            _check(manifest, after, limits)
        return after

    try:
        edited = edit(trace, match, guarded)
    except _Blocked as blocked:
        return ActionResult(trace, changed=False, error=str(blocked))
    return ActionResult(edited, changed=edited is not trace)


def _check(before: Manifest, after: Manifest, limits: Limits) -> None:
    why = violation(read_resources(before), read_resources(after), limits)
    if why is not None:
        raise _Blocked(f"{full_name(before)}: {why}")
