"""The OpenAPI v3 subset of CRDs: pruning, defaults, and validation in the API server's words."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from simgit.testing.apiserver.statuses import Cause

_INTEGERS = {"int32": (-(2**31), 2**31), "int64": (-(2**63), 2**63)}
_TYPES: Mapping[str, Any] = {
    "object": Mapping,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def conform(schema: Mapping[str, Any], value: Any) -> tuple[Any, list[str], list[Cause]]:
    """Return (value pruned and with defaults, unknown fields, causes for which it is refused)."""
    found = _Conformer()
    pruned = found.shape(schema, value, "", root=True)
    found.check(schema, pruned, "")
    return pruned, found.unknown, found.causes


class _Conformer:
    def __init__(self) -> None:
        self.unknown: list[str] = []
        self.causes: list[Cause] = []

    def shape(self, schema: Mapping[str, Any], value: Any, path: str, *, root: bool = False) -> Any:
        """Prune unknown fields, and fill in defaults."""
        if isinstance(value, list):
            items = schema.get("items") or {}
            return [self.shape(items, item, f"{path}[{n}]") for n, item in enumerate(value)]
        if not isinstance(value, Mapping):
            return value
        known = schema.get("properties") or {}
        rest = schema.get("additionalProperties")
        keeps = schema.get("x-kubernetes-preserve-unknown-fields") or rest is True
        whole = ("apiVersion", "kind", "metadata") if root else ()
        shaped = {}
        for name, item in value.items():
            place = f"{path}.{name}" if path else name
            if name in whole:
                shaped[name] = item
            elif name in known:
                # A null that is not allowed gives way to the default.
                if item is None and not known[name].get("nullable") and "default" in known[name]:
                    continue
                shaped[name] = self.shape(known[name], item, place)
            elif isinstance(rest, Mapping):
                shaped[name] = self.shape(rest, item, place)
            elif keeps:
                shaped[name] = item
            else:
                self.unknown.append(place)
        for name, each in known.items():
            if name not in shaped and "default" in each:
                default = copy.deepcopy(each["default"])
                shaped[name] = self.shape(each, default, f"{path}.{name}" if path else name)
        return shaped

    def check(self, schema: Mapping[str, Any], value: Any, path: str) -> None:
        """Validate what is left."""
        if value is None and (schema.get("nullable") or "type" not in schema):
            return
        kind = schema.get("type")
        if schema.get("x-kubernetes-int-or-string"):
            kind = "integer" if isinstance(value, int) else "string"
        if kind is not None and not _is_of(kind, value):
            shown = "null" if value is None else json.dumps(_type_name(value))
            self._refuse(path, f"must be of type {kind}: {shown}", shown)
            return
        self._check_value(schema, value, path)
        if isinstance(value, Mapping):
            for name in schema.get("required") or ():
                if name not in value:
                    place = f"{path}.{name}" if path else name
                    self.causes.append((place, "FieldValueRequired", "Required value"))
            for name, item in value.items():
                below = (schema.get("properties") or {}).get(name)
                rest = schema.get("additionalProperties")
                below = rest if below is None and isinstance(rest, Mapping) else below
                if below is not None:
                    self.check(below, item, f"{path}.{name}" if path else name)
        if isinstance(value, list):
            for number, item in enumerate(value):
                self.check(schema.get("items") or {}, item, f"{path}[{number}]")

    def _check_value(self, schema: Mapping[str, Any], value: Any, path: str) -> None:
        shown = json.dumps(value, ensure_ascii=False)
        if "enum" in schema and value not in schema["enum"]:
            named = ", ".join(json.dumps(each) for each in schema["enum"] if each is not None)
            message = f"Unsupported value: {shown}: supported values: {named}"
            self.causes.append((path, "FieldValueNotSupported", message))
        least, most = schema.get("minimum"), schema.get("maximum")
        if least is not None and value < least:
            self._refuse(path, f"should be greater than or equal to {least:g}", shown)
        if most is not None and value > most:
            self._refuse(path, f"should be less than or equal to {most:g}", shown)
        pattern = schema.get("pattern")
        if pattern is not None and not re.search(pattern, value):
            self._refuse(path, f"should match '{pattern}'", shown)
        form = schema.get("format")
        if form in _INTEGERS and not _INTEGERS[form][0] <= value < _INTEGERS[form][1]:
            why = f"Checked value must be of type integer with format {form} in {path}"
            self.causes.append((path, "FieldValueInvalid", f"Invalid value: {shown}: {why}"))
        if form == "date-time" and not _is_time(value):
            self._refuse(path, f"must be of type date-time: {shown}", shown)

    def _refuse(self, path: str, why: str, shown: str) -> None:
        message = f"Invalid value: {shown}: {path} in body {why}"
        self.causes.append((path, "FieldValueInvalid", message))


def _is_of(kind: str, value: Any) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return next(name for name, types in _TYPES.items() if isinstance(value, types))


def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return "T" in value.upper()
