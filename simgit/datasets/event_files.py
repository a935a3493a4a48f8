"""TensorBoard's event files: the messages in their records, written and read by hand.

A record is a protobuf ``Event``: a time, a step, and a summary of values with their tags. Only what
is needed of these messages is known here; the rest is skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from simgit.datasets.event_records import RecordFile

VERSION: Final = "brain.Event:2"
_DTYPES: Final = {
    1: "<f4", 2: "<f8", 3: "<i4", 4: "|u1", 5: "<i2", 6: "|i1", 9: "<i8", 10: "|b1", 19: "<f2",
    17: "<u2", 22: "<u4", 23: "<u8",
}  # fmt: skip
_LISTS: Final = {5: "<f4", 6: "<f8"}
"""Fields of a tensor that list its elements, with a fixed width for each."""
_VARINTS: Final = (7, 10, 11, 16, 17)


# --- writing -------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def message(number: int, body: bytes) -> bytes:
    """Return a field that holds a message, a text or bytes."""
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _event(step: int, time: float, what: bytes) -> bytes:
    return b"\x09" + struct.pack("<d", time) + b"\x10" + _varint(step) + what


def version_event(time: float) -> bytes:
    """Return the event that a file begins with."""
    return b"\x09" + struct.pack("<d", time) + message(3, VERSION.encode())


def scalar_events(
    tag: str, steps: Sequence[int], times: Sequence[float], values: Sequence[float]
) -> list[bytes]:
    """Return the events of one scalar; values become float32."""
    head = message(1, tag.encode()) + b"\x15"
    size = len(head) + 4
    head = b"\x2a" + _varint(1 + len(_varint(size)) + size) + b"\x0a" + _varint(size) + head
    narrow = np.asarray(values, np.float64)
    with np.errstate(all="ignore"):
        packed = narrow.astype("<f4").tobytes()
    return [
        _event(step, time, head + packed[4 * i : 4 * i + 4])
        for i, (step, time) in enumerate(zip(steps, times, strict=True))
    ]


def image_event(tag: str, step: int, time: float, png: bytes, shape: tuple[int, ...]) -> bytes:
    """Return the event of an image, given as PNG and its shape (height, width, …)."""
    height, width = shape[:2]
    image = _integer(1, height) + _integer(2, width) + _integer(3, 3) + message(4, png)
    value = message(1, tag.encode()) + message(4, image)
    return _event(step, time, message(5, message(1, value)))


def settings_event(settings: dict[str, Any], time: float) -> bytes:
    """Return the event that shows settings under HPARAMS: numbers, texts and flags."""
    entries = b""
    for key, value in settings.items():
        if isinstance(value, bool):
            body = _integer(4, int(value))
        elif isinstance(value, (int, float)):
            body = b"\x11" + struct.pack("<d", value)
        else:
            body = message(3, str(value).encode(errors="replace"))
        entries += message(1, message(1, key.encode(errors="replace")) + message(2, body))
    start = entries + b"\x29" + struct.pack("<d", time)
    plugin = message(1, b"hparams") + message(2, message(3, start))
    value = message(1, b"_hparams_/session_start_info") + message(9, message(1, plugin))
    return _event(0, time, message(5, message(1, value)))


# --- reading -------------------------------------------------------------------------------------


class LoggedPoint(NamedTuple):
    """A number that was logged: float32 where a file has it as such."""

    tag: str
    step: int
    time: float
    value: float


class LoggedMedia(NamedTuple):
    """An image, a sound or a text that was logged, as a file has it; ``suffix`` says what it is."""

    tag: str
    step: int
    time: float
    suffix: str
    data: bytes


class SessionStart(NamedTuple):
    """A program that continues at a step: what was logged at it or later does not count."""

    step: int


class EventFile(RecordFile):
    """An event file that is read as far as it is written.

    Attributes:
        settings: the hyperparameters that were found.
        left_out: numbers of values of other kinds, by their kind.
        newest_image: the greatest step of an image, -1 if there is none.
    """

    def __init__(
        self,
        path: Path,
        plugins: dict[str, str] | None = None,
        media: list[LoggedMedia] | None = None,
    ) -> None:
        """Begin.

        Args:
            path: the file.
            plugins: those of tags in the files of the directory before it.
            media: gets the images, sounds and texts that are found; None leaves them out.
        """
        super().__init__(path)
        self._media = media
        self.settings: dict[str, Any] = {}
        self.left_out: dict[str, int] = {}
        self.newest_image = -1
        self._plugins = {} if plugins is None else plugins

    def points(self) -> Iterator[LoggedPoint | SessionStart]:
        """Yield the numbers in the records that are whole and have not been read yet.

        Restarts stand between them. A record that is not whole yet, at the end of the file, is
        left for the next call.

        Raises:
            IntegrityError: it is not an event file.
        """
        for payload in self.payloads():
            try:
                yield from self._points(payload)
            except _MALFORMED:  # a field of another type, cut off, or out of range
                self.damaged += 1

    def _points(self, payload: bytes) -> Iterator[LoggedPoint | SessionStart]:
        step, time = 0, float("nan")
        summaries = []
        has_started = False
        for number, value in _fields(payload):
            if number == 1:
                time = struct.unpack("<d", value)[0]
            elif number == 2:
                step = _signed(value)
            elif number == 5:
                summaries.append(value)
            elif number == 7:
                has_started = dict(_fields(value)).get(1) == _START
            elif number in _OTHERS:
                self._leave_out(_OTHERS[number])
        if has_started:
            yield SessionStart(step)
        for summary in summaries:
            for number, value in _fields(summary):
                if number == 1:
                    yield from self._value(value, step, time)

    def _value(self, body: bytes, step: int, time: float) -> Iterator[LoggedPoint]:
        tag, plugin, kind = "", None, ""
        number: float | None = None
        contents: list[bytes] = []
        for part, value in _fields(body):
            if part == 1:
                tag = value.decode()
            elif part == 9:
                plugin = self._plugin(value)
            elif part == 2:
                number = struct.unpack("<f", value)[0]
            elif part == 8:
                number, kind = _tensor(value), "tensor"
                contents = [each for inner, each in _fields(value) if inner == _TEXTS]
            elif part in _KINDS:
                kind = _KINDS[part]
                if kind in ("image", "audio"):
                    contents = [each for inner, each in _fields(value) if inner == _CONTENT]
                if kind == "image":
                    self.newest_image = max(self.newest_image, step)
        if plugin is not None:
            self._plugins.setdefault(tag, plugin)
        plugin = self._plugins.get(tag, "")
        if plugin == "hparams":
            return
        if number is not None and plugin in ("", "scalars"):
            yield LoggedPoint(tag, step, time, number)
            return
        plugin = plugin.removesuffix("s")
        kind = plugin[:_LONGEST] or kind or "value"
        files = [each for each in contents if isinstance(each, bytes) and _suffix(each)]
        if self._media is None or kind not in ("image", "audio", "text"):
            self._leave_out(kind)
        elif kind == "text" and contents:
            text = b"\n".join(contents)
            self._media.append(LoggedMedia(tag, step, time, ".txt", text))
        elif files:
            for i, each in enumerate(files):
                name = tag if len(files) == 1 else f"{tag}/{i}"
                self._media.append(LoggedMedia(name, step, time, _suffix(each), each))
        else:
            self._leave_out(kind)

    def _leave_out(self, kind: str) -> None:
        self.left_out[kind] = self.left_out.get(kind, 0) + 1

    def _plugin(self, metadata: bytes) -> str:
        """Return the plugin of a tag; note the settings in it."""
        name, content = "", b""
        for number, value in _fields(metadata):
            if number == 1:
                for inner, part in _fields(value):
                    name = part.decode() if inner == 1 else name
                    content = part if inner == 2 else content
        if name == "hparams":
            for number, value in _fields(content):
                if number == 3:
                    self.settings |= _settings(value)
        return name


_START: Final = 1
"""The status of a session that begins; TensorBoard's EventAccumulator purges at it."""
_MALFORMED: Final = (
    IndexError, struct.error, ValueError, OverflowError, TypeError, AttributeError, KeyError,
)  # fmt: skip
_OTHERS: Final = {4: "graph", 8: "profile", 9: "graph"}
_LONGEST: Final = 40
"""The most characters of a plugin's name that are told."""
_KINDS: Final = {3: "histogram", 4: "image", 5: "histogram", 6: "audio"}


_TEXTS: Final = 8
"""The field of a tensor that lists its texts: what is written, or the bytes of files."""
_CONTENT: Final = 4
"""The field of an image or a sound that has the bytes of its file."""
_SIGNATURES: Final = (
    (b"\x89PNG", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF8", ".gif"),
    (b"RIFF", ".wav"),
)


def _suffix(data: bytes) -> str:
    """Return the end of the name of a file by its first bytes; '' for an unknown kind."""
    return next((suffix for begin, suffix in _SIGNATURES if data.startswith(begin)), "")


def _settings(start: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, entry in _fields(start):
        if number != 1:
            continue
        parts = dict(_fields(entry))
        for kind, value in _fields(parts.get(2, b"")):
            if kind == 2:
                number_value = struct.unpack("<d", value)[0]
                whole = number_value == number_value and abs(number_value) < 2**53
                found[parts[1].decode()] = (
                    int(number_value) if whole and number_value == int(number_value)
                    else number_value
                )  # fmt: skip
            elif kind == 3:
                found[parts[1].decode()] = value.decode()
            elif kind == 4:
                found[parts[1].decode()] = bool(value)
    return found


def _tensor(body: bytes) -> float | None:
    """Return the number that a tensor of one element holds, None for other tensors."""
    dtype, content, size = "", b"", 1
    listed: list[float] = []
    for number, value in _fields(body):
        if number == 1:
            dtype = _DTYPES.get(value, "")
        elif number == 2:
            for part, dim in _fields(value):
                if part == 2:
                    size *= next((_signed(n) for k, n in _fields(dim) if k == 1), 0)
        elif number == 4:
            content = value
        elif number in _LISTS:
            kind = np.dtype(_LISTS[number])
            whole = value if len(value) % kind.itemsize == 0 else b""
            listed += np.frombuffer(whole, kind).tolist()
        elif number in _VARINTS:
            values = [value] if isinstance(value, int) else list(_varints(value))
            listed += [_signed(each) for each in values]
    if size != 1 or not dtype:
        return None
    kind = np.dtype(dtype)
    if len(content) == kind.itemsize:
        return float(np.frombuffer(content, kind)[0])
    return float(listed[0]) if len(listed) == 1 else None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _read_varint(data, at)
        yield value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _fields(data: Any) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a message: integers, or the bytes of all others."""
    if not isinstance(data, bytes):
        raise ValueError("not a message")
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _read_varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("an unknown wire type")
        if at + size > len(data):
            raise ValueError("a field is cut off")
        yield key >> 3, data[at : at + size]
        at += size
