"""What the API server makes of a pod's priority: the class alone decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simgit.kube.embedded.fields import int_of

Priorities = Mapping[str, tuple[int, bool]]
"""Priority class to (value, whether its pods preempt)."""

_POLICIES = {True: "PreemptLowerPriority", False: "Never"}


def read_priority(spec: Mapping[str, Any], classes: Priorities) -> tuple[int, bool, str | None]:
    """Return (value, whether it preempts, why admission refuses the pod).

    Both come of the class alone: a pod may repeat what its class says, and nothing else.
    """
    name, given = str(spec.get("priorityClassName") or ""), spec.get("priority")
    int_of(given)
    if name and name not in classes:
        return 0, True, f"no PriorityClass with name {name} was found"
    value, preempts = classes.get(name, (0, True))
    computed = (
        ("integer value of priority", given, value),
        ("string value of PreemptionPolicy", spec.get("preemptionPolicy"), _POLICIES[preempts]),
    )
    for what, said, right in computed:
        if said is not None and said != right:
            why = f"the {what} ({said}) must not be provided in pod spec; "
            why += (
                f"priority admission controller computed {right} from the given PriorityClass name"
            )
            return value, preempts, why
    return value, preempts, None
