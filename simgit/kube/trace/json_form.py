"""Traces as JSON, exact in both directions: 64-bit hashes are strings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from simgit.errors import InvalidInput, visible_json
from simgit.kube.manifest import freeze
from simgit.kube.trace.model import Trace
from simgit.kube.trace.sktrace import (
    MAX_BYTES,
    check_depth,
    check_version,
    plain_trace,
    trace_from_plain,
)


def trace_to_json(trace: Trace, *, indent: int | None = 2) -> str:
    """Return the content as JSON with sorted keys."""
    data = trace_data(trace)
    return visible_json(json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False))


def trace_data(trace: Trace) -> dict[str, Any]:
    """Return the content as JSON data with sorted keys; ``trace_from_data`` reads it."""
    plain = plain_trace(trace)
    plain["index"] = {
        gvk: {name: str(number) for name, number in names.items()}
        for gvk, names in plain["index"].items()
    }
    plain["pod_lifecycles"] = [
        {"kind": gvk, "name": name, "specs": {str(spec): lives for spec, lives in specs.items()}}
        for (gvk, name), specs in plain["pod_lifecycles"].items()
    ]
    return plain


def trace_from_json(text: str | bytes, *, max_chars: int = MAX_BYTES) -> Trace:
    """Return the trace in JSON text, hashes as strings or integers; raises InvalidInput."""
    if len(text) > max_chars:
        raise _bad(f"{len(text)} characters are more than the limit of {max_chars}")
    return trace_from_data(_parse(text))


def trace_from_data(data: Any) -> Trace:
    """Return the trace in JSON data, with lists or tuples; raises InvalidInput."""
    check_depth(data)
    check_version(data)
    plain = freeze(data)
    if isinstance(plain, dict):
        plain |= {"index": _index(plain.get("index")), "pod_lifecycles": _lifecycles(plain)}
    return trace_from_plain(plain)


def _parse(text: str | bytes) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except InvalidInput:
        raise
    except RecursionError as error:
        raise _bad("nested too deeply") from error
    except UnicodeDecodeError as error:
        raise _bad(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise _bad(f"not JSON: {error}") from error
    except ValueError as error:  # Python's limit on the digits of a number
        raise _bad("a number has too many digits") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        raise _bad("a map has the same key twice")
    return built


def _refuse_constant(name: str) -> NoReturn:
    raise _bad(f"'{name}' is not JSON")


def _index(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {gvk: _numbers(names) for gvk, names in value.items()}


def _numbers(names: Any) -> Any:
    if not isinstance(names, Mapping):
        return names
    return {name: _number(value) for name, value in names.items()}


def _number(value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        return int(value)
    return value


def _lifecycles(plain: Mapping[str, Any]) -> Any:
    entries = plain.get("pod_lifecycles")
    if not isinstance(entries, tuple):
        return entries
    built: dict[tuple[Any, Any], Any] = {}
    for i, entry in enumerate(entries):
        key, specs = _entry(entry, f"pod_lifecycles[{i}]")
        built[key] = specs
    return built


def _entry(entry: Any, path: str) -> tuple[tuple[str, str], dict[Any, Any]]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("specs"), Mapping):
        raise InvalidInput(f"bad trace: expected kind, name and specs at '{path}'", path=path)
    key = (entry.get("kind"), entry.get("name"))
    if not isinstance(key[0], str) or not isinstance(key[1], str):
        raise InvalidInput(f"bad trace: expected strings at '{path}'", path=path)
    return (key[0], key[1]), {_number(spec): lives for spec, lives in entry["specs"].items()}


def _bad(why: str) -> InvalidInput:
    return InvalidInput(f"bad trace: {why}", path="")
