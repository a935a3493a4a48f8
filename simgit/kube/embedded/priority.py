"""Admission of a pod's priority: its PriorityClass alone decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simgit.kube.embedded.fields import int_of

Priorities = Mapping[str, tuple[int, bool]]
"""PriorityClass -> (value, True if its pods preempt)."""

_POLICIES = {True: "PreemptLowerPriority", False: "Never"}


def read_priority(spec: Mapping[str, Any], classes: Priorities) -> tuple[int, bool, str | None]:
    """Return (value, True if it preempts, reason for which admission refuses the pod or None).

    Value and policy come from the class: a pod may repeat them, but not say anything else.
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
