"""Permissions: tokens, and rules as in a ClusterRole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

EVERYTHING: Mapping[str, Any] = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
AccessRules = Sequence[Mapping[str, Any]]
"""Rules with ``apiGroups``, ``resources`` (``pods``, ``pods/status``) and ``verbs``; ``*`` is all.
A rule may have ``namespaces`` too, which stands for a RoleBinding."""


def allows(rules: AccessRules, verb: str, group: str, resource: str, namespace: str) -> bool:
    """Return True if a rule allows the verb on a resource (``pods/status`` for a subresource)."""
    return any(
        _has(rule.get("verbs"), verb)
        and _has(rule.get("apiGroups"), group)
        and _has(rule.get("resources"), resource)
        and ("namespaces" not in rule or namespace in rule["namespaces"])
        for rule in rules
    )


def _has(values: Any, wanted: str) -> bool:
    return "*" in (values or ()) or wanted in (values or ())
