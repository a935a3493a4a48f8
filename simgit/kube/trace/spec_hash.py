"""Hashes of specs in a trace: SipHash-1-3 with zero keys, as Rust's default hasher."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from simgit.errors import InvalidInput

_MASK = 2**64 - 1
_INITIAL = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
_VOLUME_PREFIX = "kube-api-access"
_UNSTABLE = ("nodeName", "serviceAccount", "serviceAccountName")
_MAX_DEPTH = 200

_Words = tuple[int, int, int, int]


def _round(state: _Words) -> _Words:
    a, b, c, d = state
    a = (a + b) & _MASK
    b = (b << 13 | b >> 51) & _MASK ^ a
    a = (a << 32 | a >> 32) & _MASK
    c = (c + d) & _MASK
    d = (d << 16 | d >> 48) & _MASK ^ c
    a = (a + d) & _MASK
    d = (d << 21 | d >> 43) & _MASK ^ a
    c = (c + b) & _MASK
    b = (b << 17 | b >> 47) & _MASK ^ c
    return a, b, (c << 32 | c >> 32) & _MASK, d


def _absorb(state: _Words, word: int) -> _Words:
    a, b, c, d = _round((state[0], state[1], state[2], state[3] ^ word))
    return a ^ word, b, c, d


def siphash13(data: bytes) -> int:
    """Return the 64-bit SipHash-1-3 of the bytes under the keys (0, 0)."""
    state = _INITIAL
    whole = len(data) & ~7
    for (word,) in struct.iter_unpack("<Q", data[:whole]):
        state = _absorb(state, word)
    last = int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56
    a, b, c, d = _absorb(state, last)
    state = (a, b, c ^ 0xFF, d)
    for _ in range(3):
        state = _round(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def hash_value(value: Any) -> int:
    """Return SimKube's hash of a JSON value; raises InvalidInput for other data."""
    out = bytearray()
    _feed(value, out, 0)
    return siphash13(bytes(out))


def spec_hash(manifest: Mapping[str, Any]) -> int:
    """Return the hash of an object's spec, as the index of a trace holds it."""
    return hash_value(manifest.get("spec"))


def pod_spec_hash(spec: Mapping[str, Any]) -> int:
    """Return the hash of a pod's spec without what differs between equal pods."""
    stable = {k: v for k, v in spec.items() if k not in _UNSTABLE and v is not None}
    stable["volumes"] = _without_access(spec.get("volumes"))
    if spec.get("initContainers") is not None:
        stable["initContainers"] = [_stable_container(c) for c in spec["initContainers"]]
    containers = [_stable_container(c) for c in spec.get("containers", ())]
    stable["containers"] = [{k: v for k, v in c.items() if k != "ports"} for c in containers]
    return hash_value(stable)


def _stable_container(container: Mapping[str, Any]) -> dict[str, Any]:
    return {**container, "volumeMounts": _without_access(container.get("volumeMounts"))}


def _without_access(items: Any) -> list[Any]:
    return [i for i in items or () if not str(i.get("name", "")).startswith(_VOLUME_PREFIX)]


def _feed(value: Any, out: bytearray, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InvalidInput("value is nested too deeply to hash")
    if isinstance(value, Mapping):
        for key in sorted(value, key=str.encode):
            out += _text(key)
            _feed(value[key], out, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _feed(item, out, depth + 1)
    else:
        out += _scalar(value)


def _scalar(value: Any) -> bytes:
    if value is None:
        return bytes(8)
    if isinstance(value, bool):
        return bytes((value,))
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise InvalidInput(f"integer '{value}' does not fit in 64 bits")
        return (value & _MASK).to_bytes(8, "little")
    if isinstance(value, float):
        return struct.pack("<d", value + 0.0)  # minus zero hashes as zero
    if isinstance(value, str):
        return _text(value)
    raise InvalidInput(f"cannot hash a {type(value).__name__}: expected JSON data")


def _text(value: str) -> bytes:
    return value.encode() + b"\xff"
