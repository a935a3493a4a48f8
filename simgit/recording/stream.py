"""States as a stream of JSON lines or msgpack maps, from a program in any language.

A record is a map of the fields of ``Recorder.append``; ``seed`` stands for a reset with a seed. In
``observation`` and ``action`` a list of numbers, or of equally long lists of them, is an array:
of bools, of int64 or of float64. ``{"dtype": "<f4", "shape": [84, 84], "data": …}`` is an array as
well; its data are bytes, in JSON as base64.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Final

import numpy as np

from simgit.errors import IntegrityError, InvalidInput, near_or_known, warn
from simgit.objects.arrays import dtype_from_text
from simgit.objects.json_form import parse_json
from simgit.recording.recorder import RunRecorder

FORMATS: Final = ("json", "msgpack")
_FIELDS: Final = frozenset(
    (
        "observation",
        "action",
        "reward",
        "terminated",
        "truncated",
        "info",
        "time",
        "reset",
        "message",
    )
)
GOES_ON: Final = "follows a state that ended its episode, and is no reset: it counts to that one"
_ARRAY_KEYS: Final = {"dtype", "shape", "data"}
_NUMBERS: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf")}
_MAX_DEPTH: Final = 32


def arrays_of(value: Any, depth: int = 0) -> Any:
    """Return a decoded value whose lists of numbers became arrays.

    Raises:
        InvalidInput: it nests too deep, or its dtype, shape and data do not agree.
    """
    if depth > _MAX_DEPTH:
        raise InvalidInput(f"nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, dict):
        if set(value) == _ARRAY_KEYS:
            return _described(value)
        return {key: arrays_of(item, depth + 1) for key, item in value.items()}
    if not isinstance(value, list) or not value:
        return value
    array = _numeric(value)
    return array if array is not None else [arrays_of(item, depth + 1) for item in value]


def _numeric(value: list[Any]) -> Any:
    """Return an array if the list holds numbers of one kind in a regular shape, else None."""
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        return None
    if array.dtype.kind not in "bif":
        return None
    if array.dtype.kind != "b" and _has_bool(value):
        return None
    return array.astype(f"<{array.dtype.str[1:]}", copy=False)


def _has_bool(value: Any) -> bool:
    return any(map(_has_bool, value)) if isinstance(value, list) else isinstance(value, bool)


def _described(value: dict[str, Any]) -> Any:
    data = value["data"]
    try:
        if isinstance(data, str):
            import base64

            data = base64.b64decode(data, validate=True)
        dtype = dtype_from_text(value["dtype"])
        return np.frombuffer(data, dtype).reshape(value["shape"])
    except (ValueError, TypeError, AttributeError, IntegrityError) as error:
        raise InvalidInput(f"dtype, shape and data of an array do not agree: {error}") from None


def fields_of(record: Any) -> dict[str, Any]:
    """Return a decoded record as the arguments of ``Recorder.append``.

    Raises:
        InvalidInput: it is not a map, or has an unknown field.
    """
    if not isinstance(record, dict):
        raise InvalidInput(f"a record must be a map of fields, got {_kind(record)}")
    fields = {name: value for name, value in record.items() if value is not None}
    if "seed" in fields:
        given = fields.get("reset")
        fields["reset"] = {
            **(given if isinstance(given, dict) else {}), "seed": fields.pop("seed"),
        }  # fmt: skip
    unknown = sorted(map(str, fields.keys() - _FIELDS))
    if unknown:
        known = sorted({*_FIELDS, "seed"})
        near = near_or_known(unknown[0], known)
        raise InvalidInput(f"unknown field '{unknown[0]}'{near}")
    for name in ("observation", "action"):
        if type(fields.get(name)) in (list, dict):
            fields[name] = arrays_of(fields[name])
    if isinstance(fields.get("reward"), str):
        fields["reward"] = _NUMBERS.get(fields["reward"], fields["reward"])
    return fields


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "a bool"}
    return names.get(type(value), "nothing" if value is None else f"a {type(value).__name__}")


def read_records(stream: IO[bytes], form: str | None = None) -> Iterator[tuple[str, Any]]:
    """Yield (``line 1`` or ``record 1``, decoded record); the first byte tells the format.

    Raises:
        InvalidInput: a record cannot be decoded; the message begins with its place.
    """
    first = b""
    while form is None and (first := stream.read(1)) in (b" ", b"\n", b"\r", b"\t"):
        pass
    if form == "msgpack" or (first and first[0] & 0x80 and first != b"\xef"):
        return _msgpack(stream, first)
    return _json(stream, first)


def goes_on(fields: Mapping[str, Any]) -> bool:
    """Return True for the fields of a step that begins no episode."""
    return fields.get("action") is not None and not fields.get("reset")


def _json(stream: IO[bytes], first: bytes) -> Iterator[tuple[str, Any]]:
    line = first + stream.readline()
    number = 1
    while line:
        if line.strip():
            yield f"line {number}", _parse(line, number)
        line = stream.readline()
        number += 1


def _parse(line: bytes, number: int) -> Any:
    try:
        return parse_json(line)
    except InvalidInput as error:
        raise InvalidInput(f"line {number}: {error}", line=number) from None
    except UnicodeDecodeError:
        raise InvalidInput(f"line {number}: not UTF-8", line=number) from None
    except json.JSONDecodeError as error:
        why = f"{error.msg[:1].lower()}{error.msg[1:]} at column {error.colno}"
        raise InvalidInput(f"line {number}: not JSON: {why}", line=number) from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"line {number}: malformed: {error}", line=number) from None


def _msgpack(stream: IO[bytes], first: bytes) -> Iterator[tuple[str, Any]]:
    import msgpack

    unpacker = msgpack.Unpacker(strict_map_key=False)
    number, consumed = 1, 0
    read = getattr(stream, "read1", stream.read)
    data = first + read(1 << 16)
    while data:
        unpacker.feed(data)
        consumed += len(data)
        try:
            for record in unpacker:
                yield f"record {number}", record
                number += 1
        except (ValueError, msgpack.UnpackException) as error:
            why = str(error) or "malformed"
            raise InvalidInput(f"record {number}: not msgpack: {why}") from None
        data = read(1 << 16)
    if unpacker.tell() != consumed:
        raise InvalidInput(f"record {number}: truncated: the stream ends within it")


def record(
    recorder: RunRecorder,
    stream: IO[bytes],
    form: str | None = None,
    progress: Callable[[int], None] | None = None,
    *,
    ended: bool = False,
) -> int:
    """Append every record of a stream to a recorder; return how many there were.

    Args:
        recorder: the recorder to append to.
        stream: the bytes to read.
        form: ``json`` or ``msgpack``; None to tell from the first byte.
        progress: called now and then with the number of records so far.
        ended: whether the run's newest state ended its episode.

    An action after a state that ended its episode, without a reset between them, is recorded as
    given, with a warning for the first.

    Raises:
        InvalidInput: a record is malformed or cannot be recorded; the message names its line, and
            ``recorded`` is the number of records before it, which remain.
    """
    count, warned = 0, False
    try:
        for place, item in read_records(stream, form):
            try:
                fields = fields_of(item)
                recorder.append(**fields)
            except InvalidInput as error:
                raise InvalidInput(f"{place}: {error}") from None
            if ended and not warned and goes_on(fields):
                warn(f"{place} {GOES_ON}")
                warned = True
            if fields.keys() & {"action", "reset", "terminated", "truncated"}:
                ended = bool(fields.get("terminated") or fields.get("truncated"))
            count += 1
            if progress is not None and not count % 1024:
                progress(count)
    except InvalidInput as error:
        raise InvalidInput(
            f"{error} (recorded before it: {count or 'nothing'})", recorded=count
        ) from None
    return count
