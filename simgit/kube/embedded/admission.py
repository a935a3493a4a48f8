"""Admission of pods: defaults, validation, limits and quotas, in the API server's order."""

from __future__ import annotations

from dataclasses import replace

from simgit.kube.embedded.limit_range import LimitRanges
from simgit.kube.embedded.podspec import PodFacts, with_resources
from simgit.kube.embedded.priority import Priorities, read_priority
from simgit.kube.embedded.quota import Quotas
from simgit.kube.embedded.validation import listed, template_causes

_NO_CLASS = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
_POD = {"apiVersion": "v1", "kind": "Pod"}


class Admission:
    """The checks between the request for a pod and the pod."""

    def __init__(self, limits: LimitRanges, quotas: Quotas, priorities: Priorities) -> None:
        """Ask these limits, quotas and priority classes."""
        self._limits = limits
        self._quotas = quotas
        self._priorities = priorities
        self._ranked: dict[PodFacts, PodFacts] = {}
        self._known: dict[tuple[str, PodFacts], tuple[PodFacts, str]] = {}
        self._version = 0

    def admit(self, facts: PodFacts, namespace: str, name: str) -> tuple[PodFacts, str | None]:
        """Return the facts of a pod with defaults, and why it is refused (None if it is not)."""
        if facts.error is not None:
            facts = self._with_late_class(facts)
        facts, why = self._known_limits(facts, namespace)
        if why:
            return facts, why.replace("\0", name, 1)
        refused = self._quotas.refusal(facts, namespace)
        return facts, f'pods "{name}" is forbidden: {refused}' if refused else None

    def _with_late_class(self, facts: PodFacts) -> PodFacts:
        """Return the facts with the priority of a class that came after the template."""
        if facts not in self._ranked:
            value, preempts, error = read_priority(facts.spec, self._priorities)
            if error is not None:
                return facts
            self._ranked[facts] = replace(facts, priority=value, preempts=preempts, error=None)
        return self._ranked[facts]

    def _known_limits(self, facts: PodFacts, namespace: str) -> tuple[PodFacts, str]:
        """Return the facts with defaults, which equal pods share, and a refusal or ''."""
        if self._version != self._limits.version:
            self._version = self._limits.version
            self._known.clear()
        known = self._known.get((namespace, facts))
        if known is None:
            known = self._known[namespace, facts] = self._limit(facts, namespace)
        return known

    def _limit(self, facts: PodFacts, namespace: str) -> tuple[PodFacts, str]:
        spec = self._limits.defaulted(facts.spec, namespace)
        if spec is not facts.spec:
            facts = with_resources(facts, spec)
        if facts.error is None and facts.causes:
            return facts, f'Pod "\0" is invalid: {listed(template_causes(_POD, facts.causes))}'
        if spec.get("overhead") and not spec.get("runtimeClassName"):
            return facts, f'pods "\0" is forbidden: {_NO_CLASS}'
        why = facts.error or self._limits.refusal(spec, namespace)
        return facts, f'pods "\0" is forbidden: {why}' if why else ""
