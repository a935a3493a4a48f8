"""Messages of the scheduler in one spelling, whatever the version that wrote them."""

from __future__ import annotations

import re
from collections.abc import Mapping

AFFINITY = "node(s) didn't match Pod's node affinity/selector"
SPELLINGS = {
    # as 1.20 says it: as current releases do
    "node(s) didn't match node selector": AFFINITY,
    "node(s) didn't match Pod's node affinity": AFFINITY,
    "node(s) didn't satisfy plugin(s) [NodeAffinity]": AFFINITY,
    "node(s) didn't match pod affinity/anti-affinity": None,
    "node(s) didn't match pod affinity/anti-affinity rules": None,
}
"""The reason of an older release, and how it is spelled now; None: said beside another one."""
TAINT = re.compile(r"(\d+) node\(s\) had taint \{[^}]*\}, that the pod didn't tolerate")


def reasons(message: str) -> dict[str, int]:
    """Return the reasons of a FailedScheduling message with their numbers of nodes.

    What preemption found is left out: 1.20 does not say it.
    """
    if message in ("no nodes available to schedule pods", "0/0 nodes are available: ."):
        return {"no nodes available to schedule pods": 0}
    head = re.split(r"\.? (?:no new claims|preemption:)", message)[0].rstrip(".")
    total, colon, rest = head.partition(" nodes are available: ")
    if not colon:
        return {message: 1}
    found: dict[str, int] = {"nodes": int(total.partition("/")[2])}
    rest = TAINT.sub(r"\1 node(s) had untolerated taint(s)", rest)
    rest = re.sub(
        r"node\(s\) had untolerated taint \{[^}]*\}", "node(s) had untolerated taint(s)", rest
    )
    for part in rest.split(", "):
        count, _, reason = part.partition(" ")
        if not count.isdigit():
            return {message: 1}
        now = SPELLINGS.get(reason, reason)
        if now is not None:
            found[now] = found.get(now, 0) + int(count)
    # before 1.22 a DaemonSet's pod is tried on all nodes, and a taint is found before the affinity
    if AFFINITY in found:
        found[AFFINITY] += found.pop("node(s) had untolerated taint(s)", 0)
    return found


def normal(messages: Mapping[str, int]) -> dict[str, int]:
    """Return a count of pods by normal message."""
    found: dict[str, int] = {}
    for message, count in messages.items():
        key = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons(message).items()))
        found[key] = found.get(key, 0) + count
    return found
