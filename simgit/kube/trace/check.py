"""The checks of a decoded trace, which build a Trace place by place.

Every error names its place, such as ``events[3].applied_objs[0].metadata.name``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

from simgit.errors import InvalidInput
from simgit.kube.manifest import Manifest, full_name, gvk_of, normal_gvk
from simgit.kube.trace.model import Event, Lifecycle, LifecycleKey, Trace
from simgit.kube.trace.spec_hash import spec_hash

MAX_DEPTH = 100
_TRACKED = {"podSpecTemplatePaths", "podSpecTemplatePath", "trackLifecycle", "skipOwned"}


def check_trace(plain: Mapping[Any, Any], source: bytes | None) -> Trace:
    """Return the trace of decoded data with all five keys; raises InvalidInput with the place."""
    return Trace(
        events=_events(plain["events"]),
        config=_config(plain["config"]),
        index=_index(plain["index"]),
        lifecycles=_lifecycles(plain["pod_lifecycles"]),
        source=source,
    )


def trace_warnings(trace: Trace) -> list[str]:
    """Return warnings: stale hashes, objects without a namespace, decreasing times."""
    return [*_time_warnings(trace), *_namespace_warnings(trace), *_stale_hashes(trace)]


def _time_warnings(trace: Trace) -> list[str]:
    pairs = enumerate(zip(trace.events, trace.events[1:], strict=False), start=1)
    return [f"events[{i}].ts goes back from {a.ts} to {b.ts}" for i, (a, b) in pairs if b.ts < a.ts]


def _namespace_warnings(trace: Trace) -> list[str]:
    return [
        f"events[{i}].{part}[{j}] has no namespace, which SimKube's driver requires"
        for i, event in enumerate(trace.events)
        for part, objects in (("applied_objs", event.applied), ("deleted_objs", event.deleted))
        for j, manifest in enumerate(objects)
        if not manifest["metadata"].get("namespace")
    ]


def _stale_hashes(trace: Trace) -> list[str]:
    """Return warnings for index entries that are not the hash of the last applied spec."""
    last = {(gvk_of(m), full_name(m)): m for m in trace.applied()}
    return [
        f"index.{gvk}.{name} is stale"
        for gvk, names in sorted(trace.index.items())
        for name, recorded in sorted(names.items())
        if (gvk, name) in last and spec_hash(last[gvk, name]) != recorded
    ]


def _fail(path: str, why: str) -> NoReturn:
    raise InvalidInput(f"bad trace: {why} at '{path}'", path=path)


def _map(value: Any, path: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        _fail(path, "expected a map")
    return value


def _list(value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        _fail(path, "expected a list")
    return tuple(value)


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str) or not value:
        _fail(path, "expected a string")
    return value


def _integer(value: Any, path: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        _fail(path, "expected an integer")
    if not low <= value <= high:
        _fail(path, f"integer {value} is out of range")
    return value


def _seconds(value: Any, path: str) -> int:
    # SimKube's dates have a smaller range; this one is exact in every arithmetic.
    return _integer(value, path, -(2**53), 2**53)


def _hash(value: Any, path: str) -> int:
    return _integer(value, path, 0, 2**64 - 1)


def _gvk(value: Any, path: str) -> str:
    text = _text(value, path)
    group, _, rest = text.rpartition("/")
    version, dot, kind = rest.partition(".")
    if "/" in group or not dot or not version or not kind or "." in kind:
        _fail(path, f"expected group/version.Kind, got {text[:60]!r}")
    return normal_gvk(text)


def _config(value: Any) -> dict[str, Any]:
    tracked = _map(_map(value, "config").get("trackedObjects"), "config.trackedObjects")
    checked = {}
    for key, entry in tracked.items():
        path = f"config.trackedObjects.{str(key)[:60]}"
        checked[_gvk(key, path)] = _tracked(_map(entry, path), path)
    return {"trackedObjects": checked}


def _tracked(entry: Mapping[Any, Any], path: str) -> dict[str, Any]:
    unknown = sorted(str(key) for key in entry if key not in _TRACKED)
    if unknown:
        _fail(f"{path}.{unknown[0]}", "unknown key")
    paths = entry.get("podSpecTemplatePaths")
    if not paths and entry.get("podSpecTemplatePath") is not None:
        paths = (entry["podSpecTemplatePath"],)
    checked: dict[str, Any] = {}
    if paths is not None:
        place = f"{path}.podSpecTemplatePaths"
        checked["podSpecTemplatePaths"] = tuple(_pointer(p, place) for p in _list(paths, place))
    return checked | {f: True for f in ("trackLifecycle", "skipOwned") if _flag(entry, f, path)}


def _pointer(value: Any, path: str) -> str:
    if not isinstance(value, str):
        _fail(path, "expected a string")
    return value


def _flag(entry: Mapping[Any, Any], name: str, path: str) -> bool:
    value = entry.get(name, False)
    if not isinstance(value, bool):
        _fail(f"{path}.{name}", "expected true or false")
    return value


def _events(value: Any) -> tuple[Event, ...]:
    return tuple(_event(e, f"events[{i}]") for i, e in enumerate(_list(value, "events")))


def _event(value: Any, path: str) -> Event:
    event = _map(value, path)
    for key in ("ts", "applied_objs", "deleted_objs"):
        if key not in event:
            _fail(f"{path}.{key}", "missing key")
    return Event(
        _seconds(event["ts"], f"{path}.ts"),
        _objects(event["applied_objs"], f"{path}.applied_objs"),
        _objects(event["deleted_objs"], f"{path}.deleted_objs"),
    )


def _objects(value: Any, path: str) -> tuple[Manifest, ...]:
    return tuple(_object(o, f"{path}[{i}]") for i, o in enumerate(_list(value, path)))


def _object(value: Any, path: str) -> Manifest:
    manifest = _map(value, path)
    _text(manifest.get("apiVersion"), f"{path}.apiVersion")
    _text(manifest.get("kind"), f"{path}.kind")
    metadata = _map(manifest.get("metadata"), f"{path}.metadata")
    _text(metadata.get("name"), f"{path}.metadata.name")
    if metadata.get("namespace") is not None:
        _text(metadata["namespace"], f"{path}.metadata.namespace")
    check_json(manifest, path)
    return manifest


def check_json(value: Any, path: str, depth: int = 0) -> None:
    """Raise InvalidInput for what JSON cannot hold: bytes, NaN, keys other than strings."""
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return
    if depth > MAX_DEPTH:
        _fail(path[:200], "nested too deeply")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                _fail(path, f"key {str(key)[:40]!r} is not a string")
            check_json(item, f"{path}.{key}", depth + 1)
    elif type(value) in (list, tuple):
        for i, item in enumerate(value):
            check_json(item, f"{path}[{i}]", depth + 1)
    elif not _is_number(value):
        _fail(path, _no_number(value))


def _no_number(value: Any) -> str:
    if isinstance(value, int):
        return f"integer {str(value)[:40]} is out of range"
    return f"expected JSON data, got {type(value).__name__}"


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and -(2**63) <= value < 2**64


def _index(value: Any) -> dict[str, dict[str, int]]:
    checked: dict[str, dict[str, int]] = {}
    for key, names in _map(value, "index").items():
        path = f"index.{str(key)[:60]}"
        checked[_gvk(key, path)] = {
            _text(name, path): _hash(number, f"{path}.{name}")
            for name, number in _map(names, path).items()
        }
    return checked


def _lifecycles(value: Any) -> dict[LifecycleKey, dict[int, tuple[Lifecycle, ...]]]:
    checked = {}
    for i, (key, by_spec) in enumerate(_map(value, "pod_lifecycles").items()):
        path = f"pod_lifecycles[{i}]"
        if not isinstance(key, tuple) or len(key) != 2:
            _fail(path, "expected a key of [kind, name]")
        owner = (_gvk(key[0], path), _text(key[1], path))
        checked[owner] = {
            _hash(spec, path): _lives(lives, f"{path}.{spec}")
            for spec, lives in _map(by_spec, path).items()
        }
    return checked


def _lives(value: Any, path: str) -> tuple[Lifecycle, ...]:
    lives = tuple(_life(life, f"{path}[{i}]") for i, life in enumerate(_list(value, path)))
    if not lives:
        _fail(path, "expected at least one lifecycle")
    return lives


def _life(value: Any, path: str) -> Lifecycle:
    if value == "Empty" or value == {"Empty": None}:
        return Lifecycle()
    life = _map(value, path)
    if set(life) == {"Running"}:
        return Lifecycle(_seconds(life["Running"], path))
    if set(life) != {"Finished"}:
        _fail(path, "expected Empty, Running or Finished")
    span = _list(life["Finished"], path)
    if len(span) != 2:
        _fail(path, "expected a start and an end")
    return Lifecycle(_seconds(span[0], path), _seconds(span[1], path))
