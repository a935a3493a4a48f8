"""Trace files by path: msgpack or JSON is recognised on reading, and chosen by suffix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from simgit.errors import InvalidInput, NotFound
from simgit.kube.trace.json_form import trace_from_json, trace_to_json
from simgit.kube.trace.model import Trace
from simgit.kube.trace.sktrace import MAX_BYTES, dump_trace, load_trace

SUFFIX: Final = ".sktrace"
JSON: Final = ".json"
SUFFIXES: Final = (SUFFIX, ".msgpack", JSON)


def parse_trace(data: bytes, name: str, *, max_bytes: int = MAX_BYTES) -> Trace:
    """Return the trace in bytes of either encoding; errors call it ``name``.

    Raises InvalidInput; ``path`` on the error names the place inside the trace.
    """
    try:
        if is_json(data):
            return trace_from_json(data, max_chars=max_bytes)
        return load_trace(data, max_bytes=max_bytes)
    except InvalidInput as error:
        why = str(error).removeprefix("bad trace: ")
        raise InvalidInput(
            f"'{name}' is not a valid trace: {why}", path=getattr(error, "path", "")
        ) from None


def is_json(data: bytes) -> bool:
    """Return True for JSON: no msgpack of a trace begins with these bytes."""
    return data.lstrip()[:1] in (b"{", b"[")


def read_trace_file(path: str | Path, *, max_bytes: int = MAX_BYTES) -> Trace:
    """Return the trace in a ``.sktrace`` or JSON file, whose size is checked first.

    Raises NotFound if there is no such file, InvalidInput if it is not a trace.
    """
    data = read_bytes(Path(path), max_bytes=max_bytes)
    return parse_trace(data, str(path), max_bytes=max_bytes)


def read_bytes(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a file whose size is checked first; raises as ``read_trace_file``."""
    try:
        if not path.is_file():
            why = "it is a directory" if path.is_dir() else "no such file"
            raise NotFound(f"cannot read '{path}': {why}")
        if path.stat().st_size > max_bytes:
            raise InvalidInput(f"cannot read '{path}': more than {max_bytes} bytes", path="")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read '{path}': {(error.strerror or '').lower()}") from error


def encode_trace(trace: Trace, suffix: str) -> bytes:
    """Return the bytes of a file with this suffix: JSON for ``.json``, else msgpack."""
    return trace_to_json(trace).encode() + b"\n" if suffix == JSON else dump_trace(trace)


def write_trace_file(path: str | Path, trace: Trace) -> None:
    """Write a trace in the encoding of the suffix; the file is created or replaced as a whole."""
    path = Path(path)
    content = encode_trace(trace, path.suffix)
    if path.exists() and not path.is_file():  # never replace a device or a pipe
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

    A JSON file counts if it looks like a trace, and its name is not that of a binary one too.
    Raises NotFound if it is not a directory, or has none.
    """
    if not directory.is_dir():
        raise NotFound(f"no such directory '{directory}'")
    files = [path for path in directory.iterdir() if path.suffix in SUFFIXES and path.is_file()]
    stems = {path.stem for path in files if path.suffix != JSON}
    found = [p for p in files if p.suffix != JSON or (p.stem not in stems and _is_json_trace(p))]
    if not found:
        raise NotFound(f"no traces ({', '.join(f'*{each}' for each in SUFFIXES)}) in '{directory}'")
    return sorted(found)


def _is_json_trace(path: Path) -> bool:
    with path.open("rb") as opened:
        head = opened.read(4096)
    return b'"trackedObjects"' in head or b'"events"' in head
