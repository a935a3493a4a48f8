"""The range in which actions may move a workload: a step out of it is blocked, not clamped."""

from __future__ import annotations

from dataclasses import dataclass

from simgit.kube.quantity import from_bytes, from_millicores
from simgit.kube.task.resources import GIB, MIB, Resources


@dataclass(frozen=True, slots=True)
class Limits:
    """Least and most of each amount: CPU in millicores, memory in bytes."""

    min_cpu_m: int = 50
    max_cpu_m: int = 16_000
    min_memory: int = 64 * MIB
    max_memory: int = 32 * GIB
    min_replicas: int = 1
    max_replicas: int = 100


LIMITS = Limits()


def violation(before: Resources, after: Resources, limits: Limits = LIMITS) -> str | None:
    """Tell why the change is blocked, None if it may pass.

    Only a move away from the range is blocked: what starts outside may come back step by step.
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
