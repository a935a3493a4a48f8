"""The actions of an agent on a workload, and the safeguards that keep it in range.

An action is a small function from a manifest to a manifest. To add one, write it here under
``@ACTIONS.register``: its place in the file is its index. A step out of the range is blocked,
not clamped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simgit.errors import InvalidInput
from simgit.kube.embedded.validation import listed, resource_causes, template_causes
from simgit.kube.manifest import Manifest, full_name, template_of
from simgit.kube.quantity import from_bytes, from_millicores
from simgit.kube.task.registry import Registry
from simgit.kube.task.resources import (
    GIB,
    MIB,
    Resources,
    add_replicas,
    add_request,
    read_resources,
)
from simgit.kube.trace.edit import Match, edit
from simgit.kube.trace.model import Trace

Action = Callable[[Manifest], Manifest]

ACTIONS: Registry[Action] = Registry("action")
SMALL_CPU = "500m"
SMALL_MEMORY = "256Mi"


@ACTIONS.register("noop")
def noop(manifest: Manifest) -> Manifest:
    """Change nothing."""
    return manifest


@ACTIONS.register("bump_cpu_small")
def bump_cpu_small(manifest: Manifest) -> Manifest:
    """Request 500m more CPU."""
    return add_request(manifest, "cpu", SMALL_CPU)


@ACTIONS.register("bump_mem_small")
def bump_mem_small(manifest: Manifest) -> Manifest:
    """Request 256Mi more memory."""
    return add_request(manifest, "memory", SMALL_MEMORY)


@ACTIONS.register("scale_up_replicas")
def scale_up_replicas(manifest: Manifest) -> Manifest:
    """Add one replica."""
    return add_replicas(manifest, 1)


@ACTIONS.register("reduce_cpu_small")
def reduce_cpu_small(manifest: Manifest) -> Manifest:
    """Request 500m less CPU."""
    return add_request(manifest, "cpu", "-" + SMALL_CPU)


@ACTIONS.register("reduce_mem_small")
def reduce_mem_small(manifest: Manifest) -> Manifest:
    """Request 256Mi less memory."""
    return add_request(manifest, "memory", "-" + SMALL_MEMORY)


@ACTIONS.register("scale_down_replicas")
def scale_down_replicas(manifest: Manifest) -> Manifest:
    """Remove one replica."""
    return add_replicas(manifest, -1)


STANDARD: tuple[str, ...] = ACTIONS.names()
"""The default actions of an agent: the seven above, whatever else is registered."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The range of each amount: CPU in millicores, memory in bytes."""

    min_cpu_m: int = 50
    max_cpu_m: int = 16_000
    min_memory: int = 64 * MIB
    max_memory: int = 32 * GIB
    min_replicas: int = 1
    max_replicas: int = 100


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The trace after an action, and whether the action changed it or was blocked."""

    trace: Trace
    changed: bool
    error: str | None = None

    @property
    def blocked(self) -> bool:
        """True if a safeguard blocked the action."""
        return self.error is not None

    def info(self) -> dict[str, Any]:
        """Return what a step records of its action, with the reason if it was blocked."""
        if self.blocked:
            return {"changed": False, "blocked": True, "error": self.error}
        return {"changed": self.changed, "blocked": False}


class _Blocked(Exception):
    """Stops an edit; since edits copy, nothing of it remains."""


def action_name(action: str | int) -> str:
    """Return the name of an action given by name, or by its index among the standard ones.

    Raises NotFound for an unknown name, InvalidInput for an index out of range.
    """
    if isinstance(action, str):
        ACTIONS.get(action)
        return action
    if not 0 <= action < len(STANDARD):
        raise InvalidInput(f"action must be in 0..{len(STANDARD) - 1}, got {action}", value=action)
    return STANDARD[action]


def act(trace: Trace, match: Match, action: str | int, limits: Limits = LIMITS) -> ActionResult:
    """Apply an action to the matching workload in every event, or to none if one is blocked.

    Raises NotFound if the trace has no such workload.
    """
    function = ACTIONS.get(action_name(action))

    def guarded(manifest: Manifest) -> Manifest:
        after = function(manifest)
        if after is not manifest:
            why = violation(read_resources(manifest), read_resources(after), limits)
            why = why or _refusal(manifest, after)
            if why is not None:
                raise _Blocked(f"{full_name(manifest)}: {why}")
        return after

    try:
        edited = edit(trace, match, guarded)
    except _Blocked as blocked:
        return ActionResult(trace, changed=False, error=str(blocked))
    return ActionResult(edited, changed=edited is not trace)


def violation(before: Resources, after: Resources, limits: Limits = LIMITS) -> str | None:
    """Return why a change is blocked, None if it is allowed.

    Only a move away from the range is blocked: a workload that starts outside may come back
    step by step.
    """
    return (
        _out_of_range("cpu", before.cpu_m, after.cpu_m, limits.min_cpu_m, limits.max_cpu_m)
        or _out_of_range(
            "memory", before.memory, after.memory, limits.min_memory, limits.max_memory
        )
        or _out_of_range(
            "replicas", before.replicas, after.replicas, limits.min_replicas, limits.max_replicas
        )
    )


def _refusal(before: Manifest, after: Manifest) -> str | None:
    """Return why the API server would refuse the amounts after an action, None if it would not.

    A request may not exceed the container's limit.
    """
    was, now = template_of(before) or {}, template_of(after) or {}
    if now is was:
        return None
    old, new = (
        template_causes(each, resource_causes(template.get("spec") or {}))
        for each, template in ((before, was), (after, now))
    )
    found = [cause for cause in new if cause not in old]
    return listed(found) if found else None


def _out_of_range(what: str, before: int, after: int, low: int, high: int) -> str | None:
    if after > before and after > high:
        return f"{what} {_show(what, after)} would exceed the limit of {_show(what, high)}"
    if after < before and after < low:
        return f"{what} {_show(what, after)} would fall below the limit of {_show(what, low)}"
    return None


def _show(what: str, amount: int) -> str:
    if what == "replicas":
        return str(amount)
    return from_millicores(amount) if what == "cpu" else from_bytes(amount)
