"""The forms of questions and settings: JSON Schema from an example, and answers checked by it.

The part of JSON Schema that a form in a terminal or a page can show: an object of fields, each a
number, an integer, a text, a truth value or one of a list, with bounds and defaults.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from numbers import Real
from types import NoneType
from typing import Any, Final

from simgit.errors import InvalidInput, near_or_known, shown

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "boolean": (bool,), "integer": (int,), "number": (int, float), "string": (str,),
    "array": (list,), "object": (dict,), "null": (NoneType,),
}  # fmt: skip
_KINDS: Final = {
    "boolean": "a truth value", "number": "a number", "string": "a text", "object": "a map",
}  # fmt: skip
"""The kinds of settings, in words."""


def form(example: Mapping[str, Any], nullable: Collection[str] = ()) -> dict[str, Any]:
    """Return the JSON Schema of a form.

    Args:
        example: a value for each field, which is its default too; or a JSON Schema of an object,
            which has ``properties``: ``nullable`` in it is what a list of types with "null" is.
        nullable: dotted paths of the fields of an example that may be None, too.

    Raises:
        InvalidInput: it is neither.
    """
    if not isinstance(example, Mapping):
        raise InvalidInput(f"a form must be a dict of examples, got {shown(example)}")
    if isinstance(example.get("properties"), Mapping) and example.get("type", "object") == "object":
        schema = json.loads(_json(dict(example)))
        for each in schema["properties"].values():
            if isinstance(each, dict) and each.pop("nullable", False) and _types_of(each):
                each["type"] = [*_types_of(each), "null"]
        return {"type": "object", **schema}
    plain = json.loads(_json(dict(example)))
    return {
        "type": "object",
        "properties": _properties(plain, nullable),
        "required": list(plain),
    }


def _json(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a form must be of plain values: {error}") from None


def _properties(example: Mapping[str, Any], nullable: Collection[str]) -> dict[str, Any]:
    found = {name: _property(value) for name, value in example.items()}
    for name, each in found.items():
        below = [path[len(name) + 1 :] for path in nullable if path.startswith(f"{name}.")]
        if below and isinstance(example[name], dict):
            each["properties"] = _properties(example[name], below)
        if name in nullable and "type" in each:
            each["type"] = [each["type"], "null"]
    return found


def _types_of(schema: Mapping[str, Any]) -> list[str]:
    """Return the names of the types that a field may be of; none are all."""
    given = schema.get("type", [])
    return [given] if isinstance(given, str) else list(given)


def _property(value: Any) -> dict[str, Any]:
    for name in ("boolean", "integer", "number", "string", "array", "object"):
        if type(value) in _TYPES[name]:
            # an example of 2 for a torque must not refuse 2.5
            return {"type": "number" if name == "integer" else name, "default": value}
    return {"default": value}


def check_settings(
    defaults: Mapping[str, Any],
    given: Mapping[str, Any],
    free: Collection[str] = (),
    nullable: Collection[str] = (),
    above: str = "",
) -> None:
    """Check nested settings by the defaults of a type: each is of the kind of its default.

    An integer is a number. Settings without a default, or whose default is None or a list, are
    free.

    Args:
        defaults: of the type.
        given: the settings, or some of them.
        free: dotted paths of others that are.
        nullable: dotted paths of those that may be None, too.
        above: the beginning of their paths.

    Raises:
        InvalidInput: one is not; the message has its path, the kind and the value.
    """
    for name, value in given.items():
        path, default = f"{above}{name}", defaults.get(name)
        if default is None or path in free or (value is None and path in nullable):
            continue
        wanted = _property(default).get("type")
        if wanted == "object" and isinstance(value, Mapping):
            check_settings(default, value, free, nullable, f"{path}.")
        elif wanted in _KINDS and not _is_of(wanted, value):
            raise InvalidInput(
                f"setting '{path}' must be {_KINDS[wanted]}, got {shown(value)}", path=path
            )


def _is_of(kind: str, value: Any) -> bool:
    if kind == "number":
        return isinstance(value, Real) and not isinstance(value, bool)
    return isinstance(value, _TYPES[kind])


def defaults(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the defaults of all required fields, and of others; None where one is missing."""
    properties = schema.get("properties", {})
    found = {name: each["default"] for name, each in properties.items() if "default" in each}
    return found if all(name in found for name in schema.get("required", ())) else None


def checked_answer(schema: Mapping[str, Any], answer: Any) -> dict[str, Any]:
    """Return an answer that fits a form; fields that it leaves out have their defaults.

    Raises:
        InvalidInput: it does not fit; the message names the field.
    """
    properties = schema.get("properties", {})
    if not isinstance(answer, Mapping):
        raise InvalidInput(f"an answer must be a map of {', '.join(properties)}")
    for name in answer:
        if name not in properties:
            near = near_or_known(str(name), properties)
            raise InvalidInput(f"unknown field '{name}'{near}", path=name)
    found = {}
    for name, each in properties.items():
        if name not in answer:
            if "default" in each:
                found[name] = each["default"]
            elif name in schema.get("required", ()):
                raise InvalidInput(f"field '{name}' is missing", path=name)
            continue
        found[name] = _checked(name, each, answer[name])
    return found


def _checked(name: str, schema: Mapping[str, Any], value: Any) -> Any:
    wanted = _types_of(schema)
    if wanted and all(each in _TYPES for each in wanted):
        fits = any(type(value) in _TYPES[each] for each in wanted)
        if not fits or (type(value) is float and not math.isfinite(value)):
            kinds = " or ".join("null" if each == "null" else f"a {each}" for each in wanted)
            raise InvalidInput(f"field '{name}' must be {kinds}, got {shown(value)}", path=name)
        if type(schema.get("default")) is float and type(value) is int:
            value = float(value)
    if "enum" in schema and value not in schema["enum"]:
        raise InvalidInput(
            f"field '{name}' must be one of {shown(schema['enum'])}, got {shown(value)}", path=name
        )
    if type(value) in (int, float):
        for key, is_within in (("minimum", value >= schema.get("minimum", value)),
                               ("maximum", value <= schema.get("maximum", value))):  # fmt: skip
            if not is_within:
                raise InvalidInput(
                    f"field '{name}' must have a {key} of {schema[key]}, got {shown(value)}",
                    path=name,
                )
    return value
