"""HEAD and the working directory: checking out a state's files, and comparing with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from simgit.errors import Conflict, InvalidInput, NotFound, did_you_mean, warn
from simgit.objects.oid import Oid
from simgit.refs.names import HEAD, RUNS
from simgit.refs.revision import BACK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from simgit.repository.store import Store
    from simgit.repository.worktree.files import Status


class Checkout:
    """Moves HEAD, and keeps the files of the working directory with it.

    Attributes:
        directory: the working directory, None for a repository in memory.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.directory: Path | None = store.directory.parent if store.directory else None

    def head(self) -> str | Oid:
        with self._store.read() as txn:
            return self._store.refs.head(txn)

    def checkout(self, target: str | Oid, detach: bool, force: bool) -> Oid | None:
        run = self._run_named(target) if not detach else None
        with self._store.read() as txn:
            refs = self._store.refs
            head, old, new = refs.head(txn), refs.head_oid(txn), None
            if run is None:
                new = self._store.resolve(txn, target).oid
            elif refs.has_run(txn, run):
                new = refs.run(txn, run).oid
        self.switch(old, new, force)
        with self._store.write("checkout", target, files=True) as txn:
            where: str | Oid | None = run if run is not None else new
            assert where is not None
            start = head.hex() if isinstance(head, Oid) else head
            message = f"checkout: moving from {start} to {target}"
            self._store.refs.set_head(txn, where, message)
        return new

    def reset(self, revision: str | Oid, run: str | None, hard: bool) -> Oid:
        shown = revision if isinstance(revision, str) else revision.short()
        with self._store.read() as txn:
            refs = self._store.refs
            head, old = refs.head(txn), refs.head_oid(txn)
            name = run if run is not None or isinstance(head, Oid) else head
            if hard and name != head and name is not None:
                raise InvalidInput(f"run '{name}' is not checked out, so it has no files to reset")
        with self._store.write("reset", shown, files=hard) as txn:
            to = self._store.resolve(txn, revision)
            message = f"reset: moving to {shown}"
            if name is None:
                refs.set_head(txn, to.oid, message)
            else:
                self._store.runs.reset(txn, name, to, message)
            if hard:  # last: if the move is refused, files must not have changed
                self.switch(old, to.oid, force=True)
        return to.oid

    def _run_named(self, target: str | Oid) -> str | None:
        """Return the run that a target of a checkout names, None if it is another revision."""
        if isinstance(target, Oid):
            return None
        with self._store.read() as txn:
            if target == HEAD:
                head = self._store.refs.head(txn)
                return head if isinstance(head, str) else None
            if (back := re.fullmatch(BACK, target)) is not None:
                target = self._store.revisions.earlier_head(txn, int(back[1]))
            name = target.removeprefix(RUNS)
            return name if self._store.refs.has_run(txn, name) else None

    def switch(self, old: Oid | None, new: Oid | None, force: bool = False) -> None:
        """Replace the files of one state in the working directory by those of another.

        Raises:
            Conflict: files were changed there, and no ``force``; nothing was done.
            StorageError: the repository is read-only.
        """
        if self._store.storage.read_only:
            with self._store.storage.write():  # raises what says why
                pass
        if self.directory is None:
            return
        before, after = self._tree(old), self._tree(new)
        if before is not None or after is not None:
            from simgit.repository.worktree import files

            files.checkout(self._store.odb, self.directory, before, after, force)

    def restore_files(self) -> None:
        """Write the files of HEAD's state into a working directory that has none of them."""
        with self._store.read() as txn:
            head = self._store.refs.head_oid(txn)
        try:
            self.switch(None, head)
        except Conflict as error:
            warn(f"the files of HEAD were not written: {error}")

    def status(self) -> Status:
        from simgit.repository.worktree import files

        if self.directory is None:
            return files.Status((), (), ())
        return files.status(self._store.odb, self.directory, self._tree_of_head())

    def files(self, revision: str | Oid) -> dict[str, Oid]:
        from simgit.repository.worktree.files import read_files

        with self._store.read() as txn:
            state = self._store.resolve(txn, revision).oid
        if (tree := self._tree(state)) is None:
            return {}
        with self._store.read() as txn:
            return dict(read_files(self._store.odb, txn, tree))

    def restore(self, paths: Sequence[str], revision: str | Oid) -> tuple[str, ...]:
        from simgit.repository.worktree import files

        known = self.files(revision)
        wanted: dict[str, Oid] = {}
        for path in paths:
            clean = path.removeprefix("./").rstrip("/")
            found = {
                name: oid for name, oid in known.items()
                if clean in ("", ".", name) or name.startswith(f"{clean}/")
            }  # fmt: skip
            if not found:
                raise _no_file(path, revision, known)
            wanted |= found
        if self.directory is None:
            raise InvalidInput("a repository in memory has no working directory")
        parts = {tuple(name.split("/")): oid for name, oid in wanted.items()}
        files.restore(self._store.odb, self.directory, parts)
        return tuple(wanted)

    def file(self, revision: str | Oid, path: str) -> tuple[str, Oid]:
        from simgit.odb.trees import load_tree

        with self._store.read() as txn:
            state = self._store.resolve(txn, revision).oid
        tree = self._tree(state)
        kind, oid = "tree", tree
        for part in filter(None, path.split("/")):
            entry = None
            if kind == "tree" and oid is not None:
                with self._store.read() as txn:
                    entries = load_tree(self._store.odb, txn, oid).entries
                entry = next((each for each in entries if each.name == part), None)
            if entry is None:
                raise _no_file(path, revision, self.files(revision))
            kind, oid = entry.kind, entry.oid
        if oid is None:
            raise NotFound(f"the state '{revision}' has no files")
        return kind, oid

    def _tree(self, state: Oid | None) -> Oid | None:
        """Return the oid of the tree of a state's files, None if it has none."""
        if state is None:
            return None
        from simgit.history.state import load_state

        with self._store.read() as txn:
            odb = self._store.odb
            loaded = load_state(odb, txn, odb.locate(txn, state), None, state)
        return loaded.files

    def _tree_of_head(self) -> Oid | None:
        """Return the oid of the tree of HEAD's files; a state that can have none is not decoded."""
        refs, odb = self._store.refs, self._store.odb
        with self._store.read() as txn:
            state, head = refs.head_oid(txn), refs.head(txn)
            if state is not None and isinstance(head, str):
                place = refs.run(txn, head).place
                header = odb.states.header(txn, place)
                is_newest = place.step == header.end - 1 and header.last == state
                if is_newest and not odb.may_have_field(txn, header.schema, "files"):
                    return None
        return self._tree(state)


def _no_file(path: str, revision: str | Oid, known: Iterable[str]) -> NotFound:
    near = did_you_mean(path, known)
    return NotFound(f"the state '{revision}' has no file '{path}'{near}", name=path)
