"""Traces of SimKube and Sim-Arena: version 2 as runs of one state, 1 refused with reason."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Final

from simgit.datasets.formats.base import Contents, ImportOnly, Source, SourceRun, state_columns
from simgit.errors import InvalidInput, NotFound, SimgitError
from simgit.kube.trace.files import SUFFIX, SUFFIXES, read_trace_file, trace_paths
from simgit.kube.trace.model import Trace
from simgit.refs.names import more_names, usable_name

_ARRAY: Final = 0x90
"""The first byte of version 1: an array of up to 15 parts."""


class Traces(ImportOnly):
    """The format of traces, one file each."""

    name = "trace"
    summary = "traces of SimKube and Sim-Arena; import only"

    def probe(self, source: Source) -> bool:
        """Return True for a trace, and for a directory that has one."""
        return any(map(_is_trace, _files(source.path)))

    def read(self, source: Source) -> Contents:
        """Return a run for each trace, with the file as its attachment ``trace``."""
        source.check_options()
        files = _files(source.path)
        if not files:
            raise InvalidInput(f"'{source.text}' has no traces", path=source.text)
        contents = Contents(())
        contents.runs = _runs(files, contents.notes, source.path.is_dir())
        return contents


def _files(path: Path) -> list[Path]:
    """Return the trace that a path is, or those of a directory, each in one encoding."""
    if path.is_file():
        return [path] if path.suffix in SUFFIXES else []
    try:
        return [each for each in trace_paths(path) if not each.is_symlink()]
    except NotFound:
        return []


def _is_trace(path: Path) -> bool:
    if path.suffix == SUFFIX:
        return True
    with path.open("rb") as opened:
        head = opened.read(4096)
    if path.suffix == ".json":
        return (head.lstrip()[:1] == b"{" and b'"events"' in head) or b'"version"' in head[:64]
    # a map of a few keys, or the array that version 1 was
    return bool(head) and (head[0] >> 4 == 8 or head[0] & 0xF0 == _ARRAY) and b"ts" in head


def _runs(files: list[Path], notes: list[str], several: bool) -> Iterator[SourceRun]:
    taken: set[str] = set()
    refused = []
    for path in files:
        try:
            trace = read_trace_file(path)
        except SimgitError as error:
            if not several:
                raise
            refused.append(str(error))
            continue
        base = usable_name(f"traces/{path.stem}")
        name = next(each for each in chain((base,), more_names(base)) if each not in taken)
        taken.add(name)
        data = path.read_bytes()
        yield SourceRun(
            name,
            state_columns([_state(trace, path, data)]),
            spec={"source": Traces.name},
            attachments=[(0, "trace", data)],
        )
    if refused and not taken:
        raise InvalidInput(f"no trace can be imported: {refused[0]}")
    notes += [f"not imported: {why}" for why in refused[:20]]
    if len(refused) > 20:
        notes.append(f"and {len(refused) - 20} more were refused")


def _state(trace: Trace, path: Path, data: bytes) -> dict[str, Any]:
    """Return the state of a trace: of two traces these are two, for each has an attachment."""
    times = [event.ts for event in trace.events]
    return {
        "reset": True,
        "message": f"trace '{path.name}'",
        "info": {
            "events": len(trace.events),
            "start": times[0] if times else None,
            "end": times[-1] if times else None,
            "hash": blake2b(data, digest_size=16).hexdigest(),
        },
    }


FORMAT: Final = Traces()
