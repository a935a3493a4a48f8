"""HEAD, tags, reflogs, and the working directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simgit.errors import IntegrityError, NotFound
from simgit.objects.kinds import Tag
from simgit.objects.oid import Oid
from simgit.refs.names import HEAD, RUNS
from simgit.refs.records import LogEntry, TagRef
from simgit.repository.objects import ObjectOperations
from simgit.storage.base import ReadTxn
from simgit.storage.process import now
from simgit.storage.room import make_room

if TYPE_CHECKING:
    from simgit.repository.worktree import files as files_on_disk


class CheckoutOperations(ObjectOperations):
    """HEAD, tags, reflogs, and the working directory."""

    @property
    def head(self) -> str | Oid:
        """The name of the run that HEAD points at, or the oid of a detached HEAD."""
        with self._read() as txn:
            return self.refs.head(txn)

    def checkout(
        self, target: str | Oid = HEAD, *, detach: bool = False, force: bool = False
    ) -> Oid | None:
        """Point HEAD at a run, or detach it at a state; return the state's oid.

        The state's files replace those of the state before in the working directory.

        Raises:
            Conflict: files were changed there, and no ``force``; nothing was done.
        """
        run = self._run_named(target) if not detach else None
        with self._read() as txn:
            old = self.refs.head_oid(txn)
            if run is not None:
                new = self.refs.run(txn, run).oid if self.refs.has_run(txn, run) else None
            else:
                new = self._resolve(txn, target).oid
        self._switch_files(old, new, force)
        with self._write("checkout", target, files=True) as txn:
            where: str | Oid | None = run if run is not None else new
            assert where is not None
            self.refs.set_head(txn, where, f"checkout: moving to {target}")
        return new

    def _switch_files(self, old: Oid | None, new: Oid | None, force: bool = False) -> None:
        """Turn the files of one state in the working directory into those of another."""
        from simgit.repository.worktree import files as files_on_disk

        if self.read_only:
            with self._storage.write():  # which says why nothing can be written
                pass
        if self.worktree is None:
            return
        trees = [self.state(oid).files if oid else None for oid in (old, new)]
        if trees != [None, None]:
            files_on_disk.checkout(self.odb, self.worktree, trees[0], trees[1], force)

    def _run_named(self, target: str | Oid) -> str | None:
        """Return the run that a target of a checkout names, None if it is another revision."""
        if isinstance(target, Oid):
            return None
        with self._read() as txn:
            if target == HEAD:
                head = self.refs.head(txn)
                return head if isinstance(head, str) else None
            name = target[len(RUNS) :] if target.startswith(RUNS) else target
            return name if self.refs.has_run(txn, name) else None

    def status(self) -> files_on_disk.Status:
        """Compare the working directory with the files of HEAD's state."""
        from simgit.repository.worktree import files as files_on_disk

        if self.worktree is None:
            return files_on_disk.Status((), (), ())
        with self._read() as txn:
            oid = self.refs.head_oid(txn)
        tree = self.state(oid).files if oid else None
        return files_on_disk.status(self.odb, self.worktree, tree)

    def files(self, revision: str | Oid = HEAD) -> dict[str, Oid]:
        """Return the paths of a state's files with the oids of their blobs."""
        from simgit.repository.worktree import files as files_on_disk

        tree = self.state(revision).files
        if tree is None:
            return {}
        with self._read() as txn:
            return dict(files_on_disk.read_files(self.odb, txn, tree))

    def tag(
        self,
        name: str,
        revision: str | Oid = HEAD,
        *,
        message: str | None = None,
        tagger: str = "",
        force: bool = False,
    ) -> Oid:
        """Tag a state, with an annotation if there is a message; return the state's oid.

        Raises:
            AlreadyExists: there is a tag of this name, and no ``force``.
        """
        with self._write("tag", name, revision) as txn:
            found = self._resolve(txn, revision)
            note = None
            if message is not None:
                note = self.odb.put(txn, Tag(found.oid, name, message, tagger, now()))
            self.refs.create_tag(txn, name, TagRef(found.oid, note), force)
        return found.oid

    def tags(self) -> dict[str, tuple[Oid, Tag | None]]:
        """Return all tags: name to the state's oid, and the annotation if there is one."""
        with self._read() as txn:
            found = {}
            for name, ref in self.refs.tags(txn):
                note = self.odb.object(txn, ref.tag) if ref.tag else None
                found[name] = (ref.oid, note if isinstance(note, Tag) else None)
            return found

    def delete_tag(self, name: str) -> Oid:
        """Delete a tag; return the state's oid."""
        return make_room(self._storage, lambda: self._delete_tag(name))

    def _delete_tag(self, name: str) -> Oid:
        with self._write("delete-tag", name) as txn:
            return self.refs.delete_tag(txn, name).oid

    def reflog(self, ref: str = HEAD) -> list[LogEntry]:
        """Return what a ref was, the newest change first.

        Raises:
            NotFound: there never was such a ref.
            IntegrityError: an entry is damaged or missing.
        """
        with self._read() as txn:
            for full in (ref, RUNS + ref, "tags/" + ref):
                entries = list(self.refs.log(txn, full))
                if entries:
                    self._check_end(txn, full, entries[0])
                    return entries
        raise NotFound(f"reflog of '{ref}' not found")

    def _check_end(self, txn: ReadTxn, ref: str, newest: LogEntry) -> None:
        name = ref.removeprefix(RUNS)
        is_run = name != ref and self.refs.has_run(txn, name)
        if is_run and self.refs.run(txn, name).oid != newest.new:
            raise IntegrityError(f"the reflog of '{ref}' lacks its end; see 'simgit fsck'")
