"""Sources of traces: scenarios, files, directories, or content as plain data.

A catalogue maps names to traces. ``content`` turns it into plain data, from which the same
traces can be read when the files no longer exist.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from simgit.errors import AlreadyExists, InvalidInput
from simgit.kube.task.scenarios import parse_scenario
from simgit.kube.trace.files import SUFFIXES, parse_trace, read_trace_file, trace_paths
from simgit.kube.trace.json_form import trace_data, trace_from_data
from simgit.kube.trace.model import Trace

UNNAMED: Final = "trace"
"""The name of a trace that is given by its content alone."""

Source = str | Path | bytes | Trace | Mapping[str, Any] | Sequence[Any]
Catalogue = dict[str, Trace]


def catalogue(source: Source) -> Catalogue:
    """Return the traces of a source by name, in its order.

    Args:
        source: the name of a scenario ('cpu-slight-severity4-seed7'), a file, a directory of
            files, a Trace, its bytes, its content as ``content`` gives it, a map of names to any
            of these, or a sequence of them.

    Raises:
        NotFound: there is no such scenario or file.
        InvalidInput: it is not a trace, or not a source.
        AlreadyExists: two traces have the same name.
    """
    found: Catalogue = {}
    for name, trace in _traces(source):
        if name in found:
            raise AlreadyExists(f"two traces are named '{name}'")
        found[name] = trace
    if not found:
        raise InvalidInput("the source has no traces")
    return found


def content(traces: Catalogue) -> dict[str, Any]:
    """Return the traces as plain data that JSON can hold and ``catalogue`` reads back."""
    return {name: _lists(trace_data(trace)) for name, trace in traces.items()}


def is_content(source: Any) -> bool:
    """Return True if a source has its traces in itself, and no file is read for them."""
    if isinstance(source, Mapping):
        return "events" in source or "version" in source or all(map(is_content, source.values()))
    if isinstance(source, (list, tuple)):
        return all(map(is_content, source))
    return isinstance(source, (bytes, Trace))


def _traces(source: Any) -> Iterator[tuple[str, Trace]]:
    if isinstance(source, Trace):
        yield UNNAMED, source
    elif isinstance(source, bytes):
        yield UNNAMED, parse_trace(source, "bytes")
    elif isinstance(source, (str, Path)):
        yield from _named(os.fspath(source))
    elif isinstance(source, Mapping):
        yield from _mapped(source)
    elif isinstance(source, (list, tuple)):
        for item in source:
            yield from _traces(item)
    else:
        found = type(source).__name__
        raise InvalidInput(f"expected a scenario, path, bytes, content or Trace, got {found}")


def _named(text: str) -> Iterator[tuple[str, Trace]]:
    path = Path(text)
    if path.is_dir():
        yield from ((found.stem, read_trace_file(found)) for found in trace_paths(path))
    elif _is_file(path):
        yield path.stem, read_trace_file(path)
    else:
        yield text, parse_scenario(text).trace


def _is_file(path: Path) -> bool:
    """Return True for a file, or a name that looks like one; else it names a scenario."""
    return path.is_file() or path.suffix in SUFFIXES or len(path.parts) > 1


def _mapped(source: Mapping[str, Any]) -> Iterator[tuple[str, Trace]]:
    if "events" in source or "version" in source:
        yield UNNAMED, trace_from_data(source)
        return
    for name, item in source.items():
        for _, trace in _traces(item):
            yield str(name), trace


def _lists(value: Any) -> Any:
    """Return a copy with lists for tuples, so that JSON gives back an equal value."""
    if isinstance(value, Mapping):
        return {key: _lists(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_lists(item) for item in value]
    return value
