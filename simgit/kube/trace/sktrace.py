"""The msgpack form of a trace, as SimKube writes it; reading is safe for foreign bytes.

A file is first skipped through without building anything, which finds a length that the bytes
do not back before anything is allocated for it. Then maps are counted while they are built,
and the result is checked place by place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgpack

from simgit.errors import InvalidInput, nested_deeper, plural
from simgit.kube.trace.check import check_trace
from simgit.kube.trace.model import VERSION, Lifecycle, Trace

MAX_BYTES = 16 * 2**20
MAX_DEPTH = 100
MAX_MAPS = 2_000_000

_V1 = "version 1 is readable only by SimKube 1.1.1 and before: record the trace again"
_KEYS = ("version", "config", "events", "index", "pod_lifecycles")


def load_trace(data: bytes, *, max_bytes: int = MAX_BYTES, max_maps: int = MAX_MAPS) -> Trace:
    """Return the trace in a version 2 file; it keeps the bytes for a verbatim export.

    Raises InvalidInput for other bytes; ``path`` on the error names the place.
    """
    if len(data) > max_bytes:
        raise _bad(f"{len(data)} bytes are more than the limit of {max_bytes}")
    _check_complete(data)
    return trace_from_plain(_unpack(data, max_maps), source=bytes(data))


def trace_from_plain(plain: Any, *, source: bytes | None = None) -> Trace:
    """Return the trace in decoded data with the layout of the file; raises InvalidInput."""
    check_depth(plain)
    check_version(plain)
    missing = [key for key in _KEYS if key not in plain]
    if missing:
        raise _bad(f"missing key '{missing[0]}'", missing[0])
    return check_trace(plain, source)


def dump_trace(trace: Trace) -> bytes:
    """Return the file: the bytes it was read from, or the canonical bytes if it was edited."""
    return canonical_bytes(trace) if trace.source is None else trace.source


def canonical_bytes(trace: Trace) -> bytes:
    """Return the canonical encoding of the content: sorted keys, known fields only.

    It is itself a valid trace file.
    """
    packed: bytes = msgpack.packb(plain_trace(trace), use_bin_type=True)
    return packed


def trace_id(trace: Trace) -> str:
    """Return the SHA-256 of the canonical bytes, in hexadecimal: equal content, equal id."""
    return hashlib.sha256(canonical_bytes(trace)).hexdigest()


def plain_trace(trace: Trace) -> dict[str, Any]:
    """Return the content in the layout of the file, with sorted maps."""
    return {
        "version": VERSION,
        "config": sort_keys(trace.config),
        "events": [
            {
                "ts": event.ts,
                "applied_objs": sort_keys(event.applied),
                "deleted_objs": sort_keys(event.deleted),
            }
            for event in trace.events
        ],
        "index": sort_keys(trace.index),
        "pod_lifecycles": {
            key: {spec: tuple(map(plain_lifecycle, by_spec[spec])) for spec in sorted(by_spec)}
            for key, by_spec in sorted(trace.lifecycles.items())
        },
    }


def plain_lifecycle(life: Lifecycle) -> Any:
    """Return one lifecycle in the layout of the file."""
    if life.start is None:
        return "Empty"
    return {"Running": life.start} if life.end is None else {"Finished": (life.start, life.end)}


def sort_keys(value: Any) -> Any:
    """Return a copy of JSON-like data with sorted keys in every map."""
    if isinstance(value, Mapping):
        return {key: sort_keys(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return tuple(sort_keys(item) for item in value)
    return value


def _check_complete(data: bytes) -> None:
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(data), 1))
    try:
        unpacker.feed(data)
        unpacker.skip()
    except Exception as error:
        raise _bad(f"truncated or not msgpack, after {len(data)} bytes") from error
    if unpacker.tell() != len(data):
        after = plural(len(data) - unpacker.tell(), "byte")
        raise _bad(f"{after} after its end, at {unpacker.tell()}")


def _unpack(data: bytes, max_maps: int) -> Any:
    count = 0

    def build(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        nonlocal count
        count += 1
        if count > max_maps:
            raise _bad(f"more than {max_maps} maps")
        built = dict(pairs)
        if len(built) != len(pairs):
            raise _bad("a map has the same key twice")
        return built

    try:
        return msgpack.unpackb(data, strict_map_key=False, use_list=False, object_pairs_hook=build)
    except InvalidInput:
        raise
    except UnicodeDecodeError as error:
        raise _bad("a string is not UTF-8") from error
    except Exception as error:
        raise _bad(f"not a trace: {type(error).__name__}") from error


def check_version(plain: Any) -> None:
    """Check that the data is a trace of version 2; raises InvalidInput."""
    if isinstance(plain, (list, tuple)):
        raise _bad(f"an array, which was {_V1}" if len(plain) == 4 else "not a map")
    if not isinstance(plain, Mapping):
        raise _bad("not a map")
    version = plain.get("version")
    if version == 1 and not isinstance(version, bool):
        raise _bad(_V1, "version")
    if version != VERSION or isinstance(version, (bool, float)):
        raise _bad(f"unsupported version {str(version)[:40]!r}, expected {VERSION}", "version")


def check_depth(plain: Any) -> None:
    """Check that no object is nested deeper than Kubernetes' own are; raises InvalidInput."""
    if nested_deeper(plain, MAX_DEPTH):
        raise _bad(f"nested too deeply: more than {MAX_DEPTH} levels")


def _bad(why: str, path: str = "") -> InvalidInput:
    return InvalidInput(f"bad trace: {why}", path=path)
