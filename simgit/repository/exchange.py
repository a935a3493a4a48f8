"""Export and import: states to files of other formats, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simgit.objects.oid import Oid
from simgit.refs.names import HEAD, expanded, is_pattern

if TYPE_CHECKING:
    from simgit.datasets.formats.exported import Exported
    from simgit.datasets.formats.loading import Loaded
    from simgit.datasets.formats.preview import ImportPreview
    from simgit.datasets.formats.selection import Export, Progress
    from simgit.repository.store import Store


class Exchange:
    """Writes and reads files of other formats."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def export(
        self,
        format: str,
        target: str | Path,
        revisions: Sequence[str | Oid],
        fields: Sequence[str] | None,
        where: str | None,
        options: Mapping[str, str] | None,
        replace: bool,
        progress: Progress | None,
    ) -> Exported:
        from simgit.datasets.formats.base import find_format
        from simgit.datasets.formats.exported import write_export
        from simgit.datasets.formats.selection import Export

        found = find_format(format, to_write=True)
        export: Export = Export(
            self._store.odb, self._store.refs, self._named(revisions), fields=fields, where=where,
            options=options, progress=progress,
        )  # fmt: skip
        return write_export(found, export, Path(target), replace)

    def _named(self, revisions: Sequence[str | Oid]) -> list[str]:
        texts = [each.hex() if isinstance(each, Oid) else each for each in revisions or [HEAD]]
        if not any(map(is_pattern, texts)):
            return texts
        with self._store.read() as txn:
            known = [name for name, ref in self._store.refs.runs(txn) if ref.oid is not None]
        return [
            name
            for text in texts
            for name in (expanded([text], known) if is_pattern(text) else [text])
        ]

    def load(
        self,
        source: str | Path,
        format: str | None,
        prefix: str,
        rename: str | None,
        as_new: bool,
        options: Mapping[str, str] | None,
        progress: Progress | None,
    ) -> Loaded:
        from simgit.datasets.formats.base import Source, StoredRun, find_format, probe
        from simgit.datasets.formats.loading import load
        from simgit.odb.trees import load_data
        from simgit.refs.attachments import attachments

        def stored(run: str, attachment: str) -> StoredRun | None:
            with self._store.read() as txn:
                name = rename or prefix + run
                refs = self._store.refs
                ref = refs.run(txn, name) if refs.has_run(txn, name) else None
                if ref is None or ref.oid is None:
                    return None
                found = attachments(self._store.odb, txn, ref.oid).get(attachment)
                data = None if found is None else load_data(self._store.odb, txn, *found)
                return StoredRun(ref.oid, ref.step, data)

        given = Source(str(source), Path(source), dict(options or {}), as_new, stored)
        odb = self._store.journaled("import", given.shown)
        with given.closing:
            found = probe(given) if format is None else find_format(format)
            return load(
                odb, self._store.refs, found.read(given), given.shown, prefix=prefix,
                rename=rename, as_new=as_new, progress=progress,
            )  # fmt: skip

    def preview(
        self,
        source: str | Path,
        format: str | None,
        options: Mapping[str, str] | None,
        progress: Progress | None,
    ) -> ImportPreview:
        from simgit.datasets.formats.base import Source, find_format, probe
        from simgit.datasets.formats.preview import preview

        given = Source(str(source), Path(source), dict(options or {}))
        with given.closing:
            found = probe(given) if format is None else find_format(format)
            return preview(found.read(given), progress)
