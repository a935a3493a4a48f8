"""The manifest of a file that simgit wrote: what the states' oids depend on beside their values.

It is JSON, in the place that a format has for remarks: a key of Parquet's metadata, the first line
of JSON lines, the first line of a file
``simgit.jsonl`` in a directory. docs/export-manifest.md is normative.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from simgit.datasets.formats.base import Contents, PackedStates, SourceRun
from simgit.datasets.formats.exported_runs import ExportedRun
from simgit.datasets.formats.selection import ALIGNMENT, Export
from simgit.errors import FormatError, IntegrityError, InvalidInput, plural
from simgit.objects.json_form import value_from_json, value_to_json
from simgit.objects.kinds import Run, Spec
from simgit.objects.oid import OID_SIZE
from simgit.objects.rows import Rows
from simgit.objects.schema import MAP, TUPLE, VALUE, FieldType, Path, Schema
from simgit.refs.names import check_name
from simgit.refs.records import STATUSES

KEY: Final = "simgit"
VERSION: Final = 0
OWN_KEYS: Final = ("run", "step", "episode")
NO_MANIFEST: Final = (
    "the columns are those of an export of simgit, but its manifest is missing or damaged: the "
    "states get new oids"
)
MAX_MANIFEST: Final = 64 << 20
"""The most bytes of a manifest that is read."""
_NUMBERED: Final = re.compile(r"(-\d+)+$")
"""What attachments of one kind differ in: ``usage-0-1795982376250``."""


@dataclass(frozen=True)
class StretchClaim:
    """The claim of a manifest about consecutive rows: their schema, and the oids around them."""

    run: int
    rows: int
    schema: Schema
    parents: tuple[bytes, ...]
    origin: bytes
    last: bytes


@dataclass(frozen=True)
class FileManifest:
    """A decoded manifest.

    Attributes:
        runs: the runs without their states.
        schemas: of the states as they are in the file.
        stretches: in the order of the rows, ordered by run.
        lossy: why the file is not what was recorded, None if it is.
        attachments: the numbers of attachments that the file does not have, by name.
    """

    runs: list[SourceRun]
    schemas: list[Schema]
    stretches: list[StretchClaim]
    lossy: str | None
    attachments: Mapping[str, int]

    @property
    def total(self) -> int:
        """The number of rows."""
        return sum(each.rows for each in self.stretches)

    def widest(self) -> Schema | None:
        """Return a schema with all fields, each of the type that it has last; None without any."""
        types: dict[Path, FieldType] = {}
        for schema in self.schemas:
            types |= dict(schema.fields)
        for path in sorted(types, key=len):
            if len(path) > 1 and types.get(path[:-1], FieldType(VALUE)).code not in (MAP, TUPLE):
                del types[path]
        order = sorted(types, key=lambda path: [part.encode() for part in path])
        return Schema(tuple((path, types[path]) for path in order)) if types else None


def write_manifest(export: Export) -> str:
    """Return the manifest of an export, a JSON text in one line."""
    schemas = list(dict.fromkeys(export.schemas))
    specs = {export_spec for stretch in export.stretches if (export_spec := stretch.origin)}
    record: dict[str, Any] = {
        "format": KEY,
        "version": VERSION,
        "alignment": ALIGNMENT,
        "lossy": export.lossy,
        "states": export.count,
        "names": "plain",
        "runs": [_run(export, number) for number in range(len(export.runs))],
        "attachments": export.attachments,
        "schemas": [_text(schema.payload) for schema in schemas],
    }
    if export.lossy is None:
        record |= {
            "specs": [_text(payload) for payload in _payloads(export, specs)],
            "stretches": [
                {
                    "run": each.run,
                    "rows": each.stop - each.start,
                    "schema": schemas.index(each.schema),
                    "parents": [oid.hex() for oid in each.parents],
                    "origin": each.origin.hex() or None,
                    "last": each.last.hex(),
                }
                for each in export.stretches
            ],
        }
    return json.dumps(record, ensure_ascii=True, allow_nan=False)


def _run(export: Export, number: int) -> dict[str, Any]:
    run = export.runs[number]
    found: dict[str, Any] = {"name": run.name, "tip": run.tip.hex(), "states": run.count}
    if run.is_merged:
        found["merged"] = True
    if run.ref is not None:
        found |= {
            "status": run.ref.status, "created": run.ref.created, "ended": run.ref.ended,
            "config": value_to_json(export.config(run)),
            "records": [_text(payload) for payload in export.records(run)],
            "branched_off": run.ref.parent,
        }  # fmt: skip
    return found | {"parent": _parent(export, run), "spec": value_to_json(export.spec(run))}


def _parent(export: Export, run: ExportedRun) -> list[Any] | None:
    """Return the run of the export, and its step, after which a run has states of its own."""
    above = run.pieces[0].start - 1 if run.pieces else run.place.step
    if above < 0:
        return None
    with export.odb.read() as txn:
        place = export.odb.states.ancestor(txn, run.place, above)
    for other in export.runs:
        for line, start, stop in other.pieces:
            if line == place.line and start <= place.step < stop:
                return [other.name, above]
    return None


def _payloads(export: Export, oids: Iterable[bytes]) -> list[bytes]:
    with export.odb.read() as txn:
        return [export.odb.get(txn, oid)[1] for oid in sorted(oids)]


def _text(payload: bytes) -> str:
    return base64.b64encode(payload).decode()


def read_manifest(text: str | bytes) -> FileManifest:
    """Return the manifest that a text is.

    Raises:
        IntegrityError: it is malformed.
        FormatError: a newer version of simgit wrote it.
    """
    if len(text) > MAX_MANIFEST:
        raise IntegrityError(f"malformed manifest: it has more than {MAX_MANIFEST} bytes")
    try:
        record = json.loads(text)
        if record["format"] != KEY or type(record["version"]) is not int:
            raise ValueError("not simgit's")
        if record["version"] > VERSION:
            raise FormatError(
                f"manifest of version {record['version']}: a newer version of simgit wrote it"
            )
        return _decoded(record)
    except (FormatError, IntegrityError):
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"malformed manifest: {error or type(error).__name__}") from None


def _decoded(record: dict[str, Any]) -> FileManifest:
    lossy = record["lossy"]
    if not (lossy is None or isinstance(lossy, str)):
        raise ValueError("'lossy' must be a text or null")
    specs = [base64.b64decode(text, validate=True) for text in record.get("specs", ())]
    for payload in specs:
        Spec.decode(payload)
    runs = [_source_run(each, specs) for each in record["runs"]]
    if len({run.name for run in runs}) != len(runs):
        raise ValueError("a run stands twice")
    schemas = [
        Schema.decode(base64.b64decode(text, validate=True)) for text in record.get("schemas", ())
    ]
    stretches = [_claim(each, schemas, len(runs)) for each in record.get("stretches", ())]
    if [each.run for each in stretches] != sorted(each.run for each in stretches):
        raise ValueError("its runs are out of order")
    counts = {str(name): int(count) for name, count in record.get("attachments", {}).items()}
    if record.get("names", "plain") != "plain":
        raise ValueError("its columns have other names than their fields")
    return FileManifest(runs, schemas, stretches, lossy, counts)


def _source_run(record: dict[str, Any], specs: Sequence[bytes]) -> SourceRun:
    try:
        name = check_name(record["name"], "a run")
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    records = [base64.b64decode(text, validate=True) for text in record.get("records", ())]
    for payload in records:
        Run.decode(payload)
    status = record.get("status", "completed")
    if status not in STATUSES:
        raise ValueError(f"unknown status '{status}'")
    parent = record.get("parent")
    return SourceRun(
        name,
        parent=None if parent is None else (str(parent[0]), int(parent[1])),
        spec=dict(value_from_json(record.get("spec", {}))),
        config=dict(value_from_json(record.get("config", {}))),
        status=status if status != "active" else "paused",
        created=_time(record.get("created")),
        ended=_time(record.get("ended")),
        records=records,
        specs=specs,
        tip=_oid(record["tip"]),
        branched_off=_maybe_text(record.get("branched_off")),
        is_merged=record.get("merged") is True,
    )


def _maybe_text(value: Any) -> str | None:
    if not (value is None or isinstance(value, str)):
        raise ValueError("a name must be a text")
    return value


def _time(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not -(1 << 63) <= value < 1 << 63):
        raise ValueError("a time must be an integer of 64 bits")
    return value


def _claim(record: dict[str, Any], schemas: list[Schema], runs: int) -> StretchClaim:
    rows, run = record["rows"], record["run"]
    if type(rows) is not int or rows < 1 or type(run) is not int or not 0 <= run < runs:
        raise ValueError("a range of rows has an impossible number")
    parents = tuple(map(_oid, record["parents"]))
    origin = b"" if parents else _oid(record["origin"])
    if len(set(parents)) != len(parents) or len(parents) > 255:
        raise ValueError("a range of rows has impossible parents")
    schema = schemas[record["schema"]]
    return StretchClaim(run, rows, schema, parents, origin, _oid(record["last"]))


def _oid(text: str) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != OID_SIZE:
        raise ValueError("an oid must have 32 bytes")
    return raw


Places = Mapping[str, Sequence[Any]]
RowReader = Callable[[StretchClaim], Iterator[Rows | tuple[Rows, Places]]]
"""A function that reads the rows of the next stretch, some thousand at once, and the places that
the file gives them (see ``PackedStates``)."""


def exact_contents(manifest: FileManifest, read: RowReader, finish: Callable[[], None]) -> Contents:
    """Return the contents of a file that is not lossy.

    Args:
        manifest: of the file.
        read: called for each stretch in order.
        finish: called after the last; raises IntegrityError if the file has more rows.
    """
    known = {each.last for each in manifest.stretches}
    expected = [oid for each in manifest.stretches for oid in each.parents if oid not in known]
    contents = Contents((), manifest.total, None, _notes(manifest))
    contents.runs = _exact_runs(manifest, read, finish)
    # a parent may also lie within a stretch: only one before all stretches must be there already
    if manifest.stretches and manifest.stretches[0].parents:
        contents.expected = expected[: len(manifest.stretches[0].parents)]
    return contents


def _exact_runs(
    manifest: FileManifest, read: RowReader, finish: Callable[[], None]
) -> Iterator[SourceRun]:
    by_run = {number: list(found) for number, found in groupby(manifest.stretches, lambda s: s.run)}
    for number, run in enumerate(manifest.runs):
        run.blocks = _exact_blocks(by_run.get(number, []), read)
        yield run
    finish()


def _exact_blocks(claims: list[StretchClaim], read: RowReader) -> Iterator[PackedStates]:
    for claim in claims:
        done = 0
        parents: tuple[bytes, ...] | None = claim.parents
        for found in read(claim):
            rows, places = found if isinstance(found, tuple) else (found, {})
            done += rows.count
            last = claim.last if done == claim.rows else None
            yield PackedStates(rows, parents, claim.origin, last, places)
            parents = None
        if done != claim.rows:
            raise IntegrityError(f"the source has {plural(claim.rows - done, 'state')} fewer than "
                                 "it says: it was truncated or edited")  # fmt: skip


def _notes(manifest: FileManifest) -> list[str]:
    return [
        f"{plural(count, 'attachment')} '{name}' left out: only bundles carry them"
        for name, count in by_family(manifest.attachments).items()
    ]


def by_family(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the numbers of attachments by name, without the numbers at the ends of names."""
    found: dict[str, int] = {}
    for name, count in counts.items():
        family = _NUMBERED.sub("-*", name)
        found[family] = found.get(family, 0) + count
    return found


def with_empty_runs(found: Iterator[SourceRun], known: Sequence[SourceRun]) -> Iterator[SourceRun]:
    """Yield runs as they are found, and those of a manifest that have no rows in their place."""
    waiting = list(known)
    for run in found:
        if any(each is run for each in waiting):
            while waiting[0] is not run:
                yield waiting.pop(0)
            waiting.pop(0)
        yield run
    yield from waiting
