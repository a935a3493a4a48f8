"""Rewards: functions of the counts of pods, the requests and the target.

To add one, write it here under ``@REWARDS.register``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simgit.kube.observation import Observation, check_target
from simgit.kube.task.registry import Registry
from simgit.kube.task.resources import GIB, MIB, Resources

MAX_CPU_M = 16_000
MAX_MEMORY = 32 * GIB
MAX_REPLICAS = 100
BLOCKED_PENALTY = 0.12


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """The values that rewards are computed from, after the action took effect.

    ``blocked`` is True if this action was blocked; only cost_aware_v2 reads ``step_penalty``.
    """

    ready: int
    pending: int
    total: int
    target: int
    requests: Resources
    blocked: bool = False
    step_penalty: float = 0.0

    @property
    def goal(self) -> bool:
        """True if exactly the target number of pods exist, all of them ready."""
        return self.ready == self.total == self.target and self.pending == 0


Reward = Callable[[StepOutcome], float]
REWARDS: Registry[Reward] = Registry("reward")


def outcome(
    observation: Observation,
    requests: Resources,
    target: int,
    *,
    blocked: bool = False,
    step_penalty: float = 0.0,
) -> StepOutcome:
    """Return the outcome of a step; raises ClusterError for a failed observation."""
    counts = observation.counts()
    return StepOutcome(*counts, check_target(target), requests, blocked, step_penalty)


@REWARDS.register("base")
def base(o: StepOutcome) -> float:
    """Return 1 at the goal, else 0."""
    return 1.0 if o.goal else 0.0


@REWARDS.register("shaped")
def shaped(o: StepOutcome) -> float:
    """Return 1 at the goal, else a penalty that shrinks as pods become ready."""
    if o.goal:
        return 1.0
    count = 0.15 * _over(o) if o.total > o.target else 0.08 * _under(o)
    return _clamp(-0.1 * abs(o.ready - o.target) - 0.05 * o.pending - count, -1.0, 1.0)


@REWARDS.register("scale")
def scale(o: StepOutcome) -> float:
    """Return 1 at the goal, else a penalty relative to the target, for targets of any size."""
    if o.goal:
        return 1.0
    count = 0.07 * _over(o) if o.total > o.target else 0.03 * _under(o) / o.target
    return _clamp(-0.02 * o.pending / o.target - count, -1.0, 1.0)


@REWARDS.register("max_punish")
def max_punish(o: StepOutcome) -> float:
    """Return ``base`` less 0.5 for each amount above what a node or the safeguards allow."""
    beyond = (
        (o.requests.cpu_m > MAX_CPU_M)
        + (o.requests.memory > MAX_MEMORY)
        + (o.requests.replicas > MAX_REPLICAS)
    )
    return base(o) - 0.5 * beyond


@REWARDS.register("cost_aware_v2")
def cost_aware_v2(o: StepOutcome) -> float:
    """Return 0 at the goal at best, else the cost of ill health and resources, down to -1."""
    value = 0.0 if o.goal else max(-1.0, _health_less_cost(o) - 1.0)
    value -= o.step_penalty
    if o.blocked:
        value -= BLOCKED_PENALTY
    return _clamp(value, -1.0, 0.0)


def _health_less_cost(o: StepOutcome) -> float:
    if o.ready >= o.target and not o.pending:
        return 0.9 - 0.6 * _cost(o)
    return _health(o) - (0.08 if o.pending > 0 else 0.12) * _cost(o)


def _health(o: StepOutcome) -> float:
    ready = _clamp(o.ready / o.target, 0.0, 1.0)
    pending = _clamp(o.pending / o.target, 0.0, 1.0)
    return ready**2 - 0.85 * pending - 0.75 * _under(o) / o.target


def _cost(o: StepOutcome) -> float:
    cpu = _excess(o.requests.cpu_m, 500, 501, MAX_CPU_M // o.target)
    memory = _excess(o.requests.memory, 256 * MIB, 256 * MIB + 1, MAX_MEMORY // o.target)
    return 0.45 * cpu + 0.45 * memory + 0.6 * min(1.0, _over(o) / o.target)


def _excess(amount: int, free: int, least: int, most: int) -> float:
    """Return the part, up to 1, of the range from the free amount to the sensible maximum."""
    return min(1.0, max(0, amount - free) / (max(least, most) - free))


def _over(o: StepOutcome) -> int:
    return max(0, o.total - o.target)


def _under(o: StepOutcome) -> int:
    return max(0, o.target - o.total)


def _clamp(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))
