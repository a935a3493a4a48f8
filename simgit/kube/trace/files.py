"""Files of traces by name: either encoding in, the one that the name asks for out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from simgit.errors import InvalidInput, NotFound
from simgit.kube.trace.format import MAX_BYTES, dump_trace, load_trace
from simgit.kube.trace.json import trace_from_json, trace_to_json
from simgit.kube.trace.model import Trace

SUFFIX: Final = ".sktrace"
JSON: Final = ".json"


def parse_trace(data: bytes, name: str, *, max_bytes: int = MAX_BYTES) -> Trace:
    """Read a trace from bytes of either encoding; ``name`` is what errors call it.

    Raises InvalidInput; ``path`` on the error names the place inside the trace.
    """
    try:
        if data.lstrip()[:1] == b"{":  # no msgpack of a trace begins with this byte
            return trace_from_json(data, max_chars=max_bytes)
        return load_trace(data, max_bytes=max_bytes)
    except InvalidInput as error:
        why = str(error).removeprefix("bad trace: ")
        raise InvalidInput(
            f"'{name}' is not a valid trace: {why}", path=getattr(error, "path", "")
        ) from None


def read_trace_file(path: Path, *, max_bytes: int = MAX_BYTES) -> Trace:
    """Read a ``.sktrace`` or JSON file; the size is looked at before the content.

    Raises NotFound if there is no such file, InvalidInput if it is no trace.
    """
    try:
        if not path.is_file():
            raise NotFound(f"cannot read '{path}': {_why_no_file(path)}")
        if path.stat().st_size > max_bytes:
            raise InvalidInput(f"cannot read '{path}': more than {max_bytes} bytes", path="")
        return parse_trace(path.read_bytes(), str(path), max_bytes=max_bytes)
    except OSError as error:
        raise InvalidInput(f"cannot read '{path}': {(error.strerror or '').lower()}") from error


def _why_no_file(path: Path) -> str:
    return "it is a directory" if path.is_dir() else "no such file"


def encode_trace(trace: Trace, suffix: str) -> bytes:
    """Return the bytes of a file with this suffix: JSON for ``.json``, else msgpack."""
    return trace_to_json(trace).encode() + b"\n" if suffix == JSON else dump_trace(trace)


def write_trace_file(path: Path, trace: Trace) -> None:
    """Write a trace as its name's suffix says; the file appears, or is replaced, whole."""
    content = encode_trace(trace, path.suffix)
    if path.exists() and not path.is_file():  # a device or a pipe is never to be replaced
        path.write_bytes(content)
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def trace_paths(directory: Path) -> list[Path]:
    """Return the trace files of a directory, sorted by name.

    Raises NotFound if it is no directory or has none.
    """
    found = sorted(_files(directory))
    if not found:
        raise NotFound(f"no '*{SUFFIX}' files in '{directory}'")
    return found


def _files(directory: Path) -> Iterator[Path]:
    if not directory.is_dir():
        raise NotFound(f"no such directory '{directory}'")
    return (path for path in directory.iterdir() if path.suffix == SUFFIX)
