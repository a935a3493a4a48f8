"""Parquet and Arrow IPC: a table of states, and the manifest in the metadata of the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from simgit.datasets.formats.base import Contents, Source
from simgit.datasets.formats.manifest import (
    KEY,
    FileManifest,
    Places,
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

    from simgit.datasets.formats.arrow_tables import StateTable
    from simgit.datasets.formats.selection import Export
    from simgit.objects.rows import Rows

_ROWS: Final = 65536
_TABLES: Final = "simgit.datasets.formats.arrow_tables"
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
        tables = needed(_TABLES, "Parquet")
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
        return _contents(source, needed(_TABLES, "Parquet").read_parquet(source))


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
        tables = needed(_TABLES, "Arrow")
        schema, batches = tables.batches_of(export)
        schema = schema.with_metadata({**(schema.metadata or {}), KEY: write_manifest(export)})
        with target.open("wb") as out, ipc.new_file(out, schema) as writer:
            for batch in batches:
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))

    def read(self, source: Source) -> Contents:
        """Return the runs of a table."""
        return _contents(source, needed(_TABLES, "Arrow").read_ipc(source))


def _contents(source: Source, table: StateTable) -> Contents:
    source.check_options("names", "alignment")
    tables = needed(_TABLES, "Arrow")
    text = table.metadata.get(KEY.encode())
    manifest = None if text is None else read_manifest(text)
    batches = table.batches
    if manifest is None or manifest.lossy is not None or source.as_new:
        found: Contents = tables.new_contents(source, table.schema.names, manifest, batches)
        return found
    return _exact(manifest, batches)


def _exact(manifest: FileManifest, batches: Iterator[pa.RecordBatch]) -> Contents:
    held: list[pa.RecordBatch] = []
    rows = needed("simgit.datasets.formats.arrow_rows", "Arrow")

    def read(claim: StretchClaim) -> Iterator[tuple[Rows, Places]]:
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
                yield rows.rows_of(batch, claim.schema, manifest.runs[claim.run].name)

    def finish() -> None:
        if any(batch.num_rows for batch in (*held, *batches)):
            raise IntegrityError("the table has more rows than its manifest says: it was edited")

    return exact_contents(manifest, read, finish)


FORMATS: Final = (Parquet(), ArrowFile())
