"""Bundles: carrying states from one repository to another in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from simgit.repository.base import RepositoryBase

if TYPE_CHECKING:
    from simgit.remotes import bundle


class TransportOperations(RepositoryBase):
    """Bundles: carrying states from one repository to another in a file."""

    def create_bundle(
        self,
        file: str | Path | BinaryIO,
        refs: Sequence[str],
        *,
        exclude: Sequence[str] = (),
        attachments: Sequence[str] | None = None,
    ) -> bundle.BundleInfo:
        """Write runs and tags, with all that leads to them, into a file or a binary stream.

        A file is there whole and synced, or not at all.

        Args:
            file: a path, or what has ``write``.
            refs: names of runs and tags.
            exclude: revisions that the receiver has, with all that leads to them.
            attachments: names of the attachments to take along; None for all, () for none.

        Raises:
            NotFound: a ref or revision is not found.
            StorageError: the file cannot be written.
        """
        from simgit.remotes import bundle
        from simgit.remotes.bundle.files import writing

        with writing(file) as write:
            return bundle.create(self.odb, self.refs, write, refs, exclude, attachments)

    def import_bundle(
        self,
        file: str | Path | BinaryIO,
        *,
        prefix: str = "",
        rename: str | None = None,
        max_object: int | None = None,
        progress: bundle.Progress | None = None,
    ) -> bundle.Imported:
        """Import a bundle from a file or a binary stream; nothing in it is believed.

        An import that was cut off is gone on with by doing it again. A run or tag that differs
        from what is there is kept aside as ``NAME.conflict-1``.

        Args:
            file: a path, or what has ``read``.
            prefix: put before the names of runs and tags.
            rename: the name for the bundle's only run.
            max_object: the largest object in bytes that is accepted; 2 GiB if not given.
            progress: told how many states have been read.

        Raises:
            IntegrityError: the bundle is damaged, cut off or lies; refs are as they were.
            NotFound: the file, or the states that the bundle goes on from, are not there.
            InvalidInput: a name with its prefix is none that a run or tag may have.
        """
        from simgit.remotes import bundle
        from simgit.remotes.bundle.files import reading

        limit = bundle.MAX_OBJECT if max_object is None else max_object
        odb = self._journaled("import", file if isinstance(file, (str, Path)) else "-")
        with reading(file) as read:
            return bundle.load(
                odb, self.refs, read, prefix=prefix, rename=rename, max_object=limit,
                progress=progress,
            )  # fmt: skip
