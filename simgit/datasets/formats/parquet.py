"""Parquet and Arrow IPC: a table of states, and the manifest in the metadata of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simgit.datasets.formats.base import Contents, Source
from simgit.datasets.formats.manifest import (
    KEY,
    FileManifest,
    StretchClaim,
    exact_contents,
    read_manifest,
    write_manifest,
)
from simgit.datasets.formats.selection import check_options
from simgit.datasets.packages import needed
from simgit.errors import IntegrityError, InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa

    from simgit.datasets.formats.selection import Export
    from simgit.objects.rows import Rows

_ROWS: Final = 65536
_MAX_GROUP: Final = 1 << 30
"""The most bytes of a row group, before compression, that is read."""
_IPC: Final = b"ARROW1"


class Parquet:
    """The format ``parquet``."""

    name = "parquet"
    summary = "Parquet: a table of states, exact"
    is_general = True

    def probe(self, source: Source) -> bool:
        """Return True for a file that begins as Parquet does."""
        return source.head(4) == b"PAR1"

    def write(self, export: Export, target: Path) -> None:
        """Write a row group for each batch of states."""
        check_options(export.options, ("oids", "compression"))
        pq = needed("pyarrow.parquet", "Parquet")
        tables = needed("simgit.datasets.formats.arrow_tables", "Parquet")
        schema, batches = tables.batches_of(export)
        codec = export.options.get("compression", "zstd")
        if codec not in ("zstd", "snappy", "gzip", "lz4", "none"):
            raise InvalidInput(
                f"unknown compression '{codec}'; use zstd, snappy, gzip, lz4 or none"
            )
        floats = tables.float_columns(schema)
        # in the schema: so it stays where pyarrow reads the table and writes it again
        schema = schema.with_metadata({**(schema.metadata or {}), KEY: write_manifest(export)})
        with pq.ParquetWriter(
            target, schema, compression=codec, use_dictionary=tables.repeating_columns(schema),
            use_byte_stream_split=floats, store_schema=True,
        ) as writer:  # fmt: skip
            for batch in batches:
                writer.write_batch(
                    batch.replace_schema_metadata(schema.metadata), row_group_size=_ROWS
                )

    def read(self, source: Source) -> Contents:
        """Return the runs of a table."""
        pq = needed("pyarrow.parquet", "Parquet")
        tables = needed("simgit.datasets.formats.arrow_tables", "Parquet")
        with tables.damage_of(source.text):
            opened = pq.ParquetFile(source.path, pre_buffer=False)
            metadata = opened.metadata
            for i in range(metadata.num_row_groups):
                if metadata.row_group(i).total_byte_size > _MAX_GROUP:
                    raise IntegrityError(f"'{source.text}' has a row group of more than 1 GiB")
            text = (metadata.metadata or {}).get(KEY.encode())

        def batches() -> Iterator[pa.RecordBatch]:
            with opened:
                for i in range(metadata.num_row_groups):
                    yield from opened.iter_batches(tables.rows_at_once(metadata, i), [i])

        return _contents(source, text, batches, tables)


class ArrowFile:
    """The format ``arrow``."""

    name = "arrow"
    summary = "Arrow IPC: a table of states to be mapped into memory, exact"
    is_general = True

    def probe(self, source: Source) -> bool:
        """Return True for a file that begins as Arrow's do."""
        return source.head(len(_IPC)) == _IPC

    def write(self, export: Export, target: Path) -> None:
        """Write a record batch for each batch of states."""
        check_options(export.options, ("oids",))
        ipc = needed("pyarrow", "Arrow").ipc
        tables = needed("simgit.datasets.formats.arrow_tables", "Arrow")
        schema, batches = tables.batches_of(export)
        schema = schema.with_metadata({**(schema.metadata or {}), KEY: write_manifest(export)})
        with target.open("wb") as out, ipc.new_file(out, schema) as writer:
            for batch in batches:
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))

    def read(self, source: Source) -> Contents:
        """Return the runs of a table."""
        arrow = needed("pyarrow", "Arrow")
        tables = needed("simgit.datasets.formats.arrow_tables", "Arrow")
        with tables.damage_of(source.text):
            mapped = source.closing.enter_context(arrow.memory_map(str(source.path)))
            count = arrow.ipc.open_file(mapped).num_record_batches
            mapped.seek(8)  # from here on it is a stream, whose messages are those that are checked
            needed("simgit.datasets.formats.arrow_bounds", "Arrow").check_sizes(mapped)
            mapped.seek(8)
            opened = arrow.ipc.open_stream(mapped)
            text = (opened.schema.metadata or {}).get(KEY.encode())

        def batches() -> Iterator[pa.RecordBatch]:
            found = 0
            for batch in opened:
                batch.validate(full=True)
                yield batch
                found += 1
            if found != count:
                raise IntegrityError("the Arrow file has another number of batches than it says")

        return _contents(source, text, batches, tables)


def _contents(
    source: Source, text: bytes | None, batches: Callable[[], Iterator[pa.RecordBatch]], tables: Any
) -> Contents:
    source.check_options("names", "alignment")
    manifest = None if text is None else read_manifest(text)
    guarded = tables.guarded(batches, source.text)
    if manifest is not None and manifest.names != "plain":
        guarded = tables.plain_names(guarded, manifest.names)
    if manifest is None or manifest.lossy is not None or source.as_new:
        found: Contents = tables.new_contents(source, manifest, guarded)
        return found
    return _exact(manifest, guarded)


def _exact(manifest: FileManifest, batches: Iterator[pa.RecordBatch]) -> Contents:
    held: list[pa.RecordBatch] = []
    rows = needed("simgit.datasets.formats.arrow_rows", "Arrow")

    def read(claim: StretchClaim) -> Iterator[Rows]:
        left = claim.rows
        while left:
            batch = held.pop() if held else next(batches, None)
            if batch is None:
                return
            if batch.num_rows > left:
                held.append(batch.slice(left))
                batch = batch.slice(0, left)
            left -= batch.num_rows
            if batch.num_rows:
                yield rows.rows_of(batch, claim.schema)

    def finish() -> None:
        if any(batch.num_rows for batch in (*held, *batches)):
            raise IntegrityError("the table has more rows than its manifest says: it was edited")

    return exact_contents(manifest, read, finish)


FORMATS: Final = (Parquet(), ArrowFile())
