"""JSON lines: a line a state, every value in the form of docs/json.md, exactly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from simgit.datasets.formats.base import Contents, Source, SourceRun, state_columns
from simgit.datasets.formats.foreign import given_names, source_runs
from simgit.datasets.formats.manifest import (
    KEY,
    MAX_MANIFEST,
    NO_MANIFEST,
    OWN_KEYS,
    FileManifest,
    Places,
    StretchClaim,
    exact_contents,
    read_manifest,
    with_empty_runs,
    write_manifest,
)
from simgit.datasets.formats.packing import packed_values, row_values
from simgit.datasets.formats.selection import Export, check_options
from simgit.errors import IntegrityError, InvalidInput
from simgit.objects.columns import FIELDS
from simgit.objects.json_form import parse_json, value_to_json
from simgit.objects.rows import Rows
from simgit.refs.names import usable_name

_MAX_LINE: Final = 64 << 20
_BLOCK: Final = 4096
_PLACES: Final = {"step", "episode"}
_KNOWN: Final = {"run", *_PLACES, *FIELDS}
_HEAD: Final = b'{"simgit": '


class JsonLines:
    """The format ``jsonl``."""

    name = "jsonl"
    summary = "JSON lines: one state per line, exact"
    is_general = True

    def probe(self, source: Source) -> bool:
        """Return True for a file that simgit wrote, or that is named ``.jsonl`` or ``.ndjson``."""
        if source.head(len(_HEAD)) == _HEAD:
            return True
        return source.path.suffix in (".jsonl", ".ndjson") and source.path.is_file()

    def read(self, source: Source) -> Contents:
        """Return the runs of a file; the lines of another program's file are dicts of fields."""
        lines = _lines(source.open(), source.text)
        first = next(lines, b"")
        if not first.startswith(_HEAD):
            return _foreign(source, _chained(first, lines))
        if len(first) > MAX_MANIFEST:
            raise IntegrityError("malformed manifest: it is too large")
        manifest = read_manifest(first.rstrip()[len(_HEAD) : -1])
        if manifest.lossy is not None or source.as_new:
            return _anew(manifest, lines)
        return _exact(manifest, lines)

    def write(self, export: Export, target: Path) -> None:
        """Write a line with the manifest, then one for each state."""
        check_options(export.options, ())
        with target.open("w", encoding="utf-8") as out:
            out.write(f'{{"{KEY}": {write_manifest(export)}}}\n')
            for part in export.parts(_BLOCK):
                values = row_values(part.rows)
                places = zip(part.steps.tolist(), part.episodes.tolist(), values, strict=True)
                out.writelines(
                    json.dumps(
                        {"run": part.run, "step": step, "episode": episode}
                        | {name: value_to_json(item) for name, item in value.items()},
                        allow_nan=False,
                    )
                    + "\n"
                    for step, episode, value in places
                )


def _lines(opened: BinaryIO, name: str) -> Iterator[bytes]:
    while line := opened.readline(_MAX_LINE + 1):
        if len(line) > _MAX_LINE:
            raise IntegrityError(f"a line of '{name}' is longer than {_MAX_LINE} bytes")
        yield line


def _chained(first: bytes, lines: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from lines


def _state(line: bytes) -> dict[str, Any]:
    """Return the object of a line.

    Raises:
        IntegrityError: it is not an object of JSON.
    """
    try:
        found = parse_json(line)
    except (InvalidInput, ValueError, RecursionError) as error:
        raise IntegrityError(f"malformed line of JSON: {error}") from None
    if not isinstance(found, dict):
        raise IntegrityError("malformed line of JSON: it must be an object")
    return found


def _fields(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in FIELDS if name in state and state[name] is not None}


def _exact(manifest: FileManifest, lines: Iterator[bytes]) -> Contents:
    def read(claim: StretchClaim) -> Iterator[tuple[Rows, Places]]:
        left = claim.rows
        name = manifest.runs[claim.run].name
        while left and (part := list(islice(lines, min(left, _BLOCK)))):
            states = [*map(_state, part)]
            for state in states:
                if state.get("run") != name or not _PLACES <= state.keys() <= _KNOWN:
                    raise IntegrityError(
                        f"a state of run '{name}' has another run, or other keys: it was edited; "
                        "--as-new imports it as a new run"
                    )
            places = {key: [each[key] for each in states] for key in _PLACES}
            yield packed_values(claim.schema, [*map(_fields, states)]), places
            left -= len(part)

    def finish() -> None:
        if next(lines, None) is not None:
            raise IntegrityError("the file has more states than its manifest says: it was edited")

    return exact_contents(manifest, read, finish)


def _anew(manifest: FileManifest, lines: Iterator[bytes]) -> Contents:
    """Return the runs of an edited or lossy file; states of a run follow each other."""
    runs = with_empty_runs(_split(map(_state, lines), manifest.runs), manifest.runs)
    return Contents(runs, manifest.total or None, manifest.lossy)


def _split(states: Iterable[dict[str, Any]], runs: Iterable[SourceRun]) -> Iterator[SourceRun]:
    from itertools import groupby

    known = {run.name: run for run in runs}
    for name, found in groupby(states, lambda state: str(state.get("run", "run"))):
        run = known.get(name) or SourceRun(usable_name(name))
        run.blocks = state_columns(map(_fields, found))
        yield run


def _foreign(source: Source, lines: Iterator[bytes]) -> Contents:
    """Return the states of a file that no simgit wrote, by the usual names of columns."""
    source.check_options("names", "alignment")
    contents = Contents(())

    def rows() -> Iterator[dict[str, Any]]:
        for line in lines:
            state = {name: each for name, each in _state(line).items() if each is not None}
            if state.keys() >= {*OWN_KEYS} and NO_MANIFEST not in contents.notes:
                contents.notes.append(NO_MANIFEST)
            yield state

    contents.runs = source_runs(rows(), source, given_names(source), contents.notes)
    return contents


FORMAT: Final = JsonLines()
