"""Semantic equality of pod templates, as the Deployment controller compares them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simgit.errors import InvalidInput
from simgit.kube.quantity import parse_quantity

_DEFAULTS: Mapping[str, Any] = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "terminationGracePeriodSeconds": 30,
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "protocol": "TCP",
    "podManagementPolicy": "OrderedReady",
    "completionMode": "NonIndexed",
}
_AMOUNTS = frozenset({"requests", "limits", "overhead"})


def same_template(left: Any, right: Any) -> bool:
    """Return True for templates equal but for API defaults and the spelling of quantities."""
    return left is right or left == right or normal(left) == normal(right)


def normal(value: Any) -> Any:
    """Return a copy without nulls, empty maps and lists, and defaults; quantities as amounts."""
    if isinstance(value, Mapping):
        return _normal_map(value)
    if isinstance(value, (list, tuple)):
        return [normal(item) for item in value]
    return value


def _normal_map(value: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for key, item in value.items():
        if key in _DEFAULTS and item == _DEFAULTS[key]:
            continue
        if key in _AMOUNTS and isinstance(item, Mapping):
            plain: Any = {name: _amount(text) for name, text in item.items()}
        else:
            plain = normal(item)
        if plain is not None and plain != {} and plain != []:
            kept[key] = plain
    return kept


def _amount(text: Any) -> Any:
    try:
        return parse_quantity(text).milli  # the API server stores no finer ones
    except InvalidInput:
        return text
