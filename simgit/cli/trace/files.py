"""Reading and writing traces for commands, ``-`` for standard input and output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.app import App
from simgit.errors import InvalidInput, StorageError

if TYPE_CHECKING:
    from simgit.kube.trace.model import Trace


PIPE: Final = "-"
FILE: Final = click.argument("file", metavar="FILE")


def read(app: App, file: str) -> Trace:
    """Read a trace, msgpack or JSON, from a file or with ``-`` from standard input."""
    return read_with_bytes(app, file)[0]


def read_with_bytes(app: App, file: str) -> tuple[Trace, bytes]:
    """Read a trace as ``read`` does; return the bytes that it was read from, too."""
    from simgit.kube.trace.files import parse_trace, read_bytes

    if file == PIPE:
        data = sys.stdin.buffer.read()
        return parse_trace(data, "standard input"), data
    path = app.path(file)
    data = read_bytes(path)
    return parse_trace(data, str(path)), data


def write(app: App, file: str, trace: Trace, suffix: str | None = None) -> None:
    """Write a trace to a file, as its name says, or with ``-`` to standard output.

    Raises:
        InvalidInput: standard output is a terminal.
        StorageError: the file cannot be written.
    """
    from simgit.kube.trace.files import JSON, encode_trace

    if file != PIPE:
        _write_file(app.path(file), trace)
        return
    if suffix != JSON and sys.stdout.isatty():
        raise InvalidInput("a trace is binary: name a file, or redirect standard output")
    sys.stdout.buffer.write(encode_trace(trace, suffix or ""))
    sys.stdout.buffer.flush()


def _write_file(path: Path, trace: Trace) -> None:
    from simgit.kube.trace.files import write_trace_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_trace_file(path, trace)
    except OSError as error:
        raise StorageError(f"cannot write '{path}': {(error.strerror or '').lower()}") from None


def written(file: str, trace: Trace) -> dict[str, Any]:
    """Return what ``--json`` prints about a trace that was written."""
    from simgit.kube.trace.sktrace import trace_id

    return {"file": file, "id": trace_id(trace), "events": len(trace.events)}


def seconds(offset: int | None) -> str:
    """Return a number of seconds as tables show it."""
    return "" if offset is None else f"{offset} s"
