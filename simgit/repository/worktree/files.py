"""The files of a state: from the working directory into the store, and back."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from blake3 import blake3

from simgit.errors import Conflict, IntegrityError, InvalidInput, NotFound
from simgit.objects.kinds import Blob, Entry, Tree
from simgit.objects.oid import Oid, object_header
from simgit.odb.database import CHUNKED_SIZE, ObjectDatabase
from simgit.odb.trees import load_tree
from simgit.repository.worktree.directory import Directory, io_errors
from simgit.repository.worktree.ignore import Ignored, read_ignored
from simgit.repository.worktree.names import (
    MAX_DEPTH,
    Parts,
    check_together,
    is_component,
    split_path,
)
from simgit.storage.base import ReadTxn, WriteTxn

_PIECE: Final = 1 << 20
_BATCH_BYTES: Final = 8 << 20


# --- storing -----------------------------------------------------------------------------------


def store_files(
    odb: ObjectDatabase, paths: Mapping[str, Path | bytes], follow_symlinks: bool = False
) -> Oid:
    """Store files in transactions of its own; return the oid of the tree of directories.

    Args:
        odb: where to.
        paths: for each name in the state (``/`` between directories) a file or its content.
        follow_symlinks: store what a link leads to; without it a link is refused.

    Raises:
        InvalidInput: a name is none that a file may have, or a path is no regular file.
        NotFound: a file does not exist.
        StorageError: a file cannot be read.
    """
    names = {name: split_path(name) for name in paths}
    check_together(names.values())
    oids: dict[Parts, Oid] = {}
    small: dict[Parts, bytes] = {}
    for name, parts in names.items():
        source = paths[name]
        content = source if isinstance(source, bytes) else _small(source, follow_symlinks)
        if content is None:
            assert isinstance(source, Path)
            oids[parts] = _stream(odb, source, follow_symlinks)
            continue
        small[parts] = content
        if sum(map(len, small.values())) > _BATCH_BYTES:
            _store_small(odb, small, oids)
    _store_small(odb, small, oids)
    with odb.write() as txn:
        tree = _store_tree(odb, txn, oids)
        odb.expect(txn, tree)
    return tree


def _open(path: Path, follow: bool) -> int:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    if not follow and path.is_symlink():
        raise InvalidInput(f"'{path}' is a symbolic link", name=str(path))
    with io_errors(str(path)):
        fd = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidInput(f"'{path}' is not a regular file", name=str(path))
    return fd


def _small(path: Path, follow: bool) -> bytes | None:
    """Return a file's content, None if it is large."""
    with os.fdopen(_open(path, follow), "rb") as stream, io_errors(str(path)):
        content = stream.read(CHUNKED_SIZE)
    return content if len(content) < CHUNKED_SIZE else None


def _stream(odb: ObjectDatabase, path: Path, follow: bool) -> Oid:
    with os.fdopen(_open(path, follow), "rb", buffering=0) as stream, io_errors(str(path)):
        return odb.put_blob(
            lambda size: stream.read(size) or b"", os.fstat(stream.fileno()).st_size
        )


def _store_small(odb: ObjectDatabase, small: dict[Parts, bytes], oids: dict[Parts, Oid]) -> None:
    with odb.write() as txn:
        for parts, content in small.items():
            oids[parts] = odb.put(txn, Blob(content))
            odb.expect(txn, oids[parts])
    small.clear()


def _store_tree(odb: ObjectDatabase, txn: WriteTxn, files: Mapping[Parts, Oid]) -> Oid:
    entries, inner = [], dict[str, dict[Parts, Oid]]()
    for parts, oid in files.items():
        if len(parts) == 1:
            entries.append(Entry(parts[0], "blob", oid))
        else:
            inner.setdefault(parts[0], {})[parts[1:]] = oid
    entries += [Entry(name, "tree", _store_tree(odb, txn, each)) for name, each in inner.items()]
    return odb.put(txn, Tree(tuple(entries)))


# --- reading -----------------------------------------------------------------------------------


def read_files(odb: ObjectDatabase, txn: ReadTxn, tree: Oid) -> Iterator[tuple[str, Oid]]:
    """Yield path and blob of every file of a tree of directories, ordered by name in each.

    Names that may not be written anywhere are among them: see ``writable_files``.

    Raises:
        IntegrityError: the tree is damaged, or an entry of it is no path.
    """
    yield from (("/".join(parts), oid) for parts, oid in _entries(odb, txn, tree, ()))


def writable_files(odb: ObjectDatabase, tree: Oid | None) -> dict[Parts, Oid]:
    """Return the blob of every file of a tree, which is checked to be fit for a file system.

    Raises:
        IntegrityError: the tree is damaged, or has a name that may not be written. A stranger's
            program can store such a name, and earlier versions of simgit could.
    """
    if tree is None:
        return {}
    with odb.read() as txn:
        found = dict(_entries(odb, txn, tree, ()))
    try:
        for parts in found:
            split_path("/".join(parts))
        check_together(found)
    except InvalidInput as error:
        raise IntegrityError(f"cannot use the files of tree '{tree}': {error}", oid=tree) from None
    return found


def _entries(
    odb: ObjectDatabase, txn: ReadTxn, oid: Oid, above: Parts
) -> Iterator[tuple[Parts, Oid]]:
    tree = load_tree(odb, txn, oid)
    for entry in tree.entries:
        parts = (*above, entry.name)
        is_path = is_component(entry.name) and len(parts) <= MAX_DEPTH
        if not is_path or tree.form != "map" or entry.kind not in ("blob", "tree"):
            raise IntegrityError(
                f"tree '{oid}' has an entry '{entry.name}' that no file may be", oid=oid
            )
        if entry.kind == "blob":
            yield parts, entry.oid
        else:
            yield from _entries(odb, txn, entry.oid, parts)


# --- the working directory ---------------------------------------------------------------------


@dataclass(frozen=True)
class Status:
    """The differences between a working directory and a tree: paths, sorted.

    A directory of which the tree has nothing is one path in ``untracked``, with ``/`` at its end.
    """

    modified: tuple[str, ...]
    deleted: tuple[str, ...]
    untracked: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """True if every file of the tree is there as it was stored."""
        return not self.modified and not self.deleted


def status(odb: ObjectDatabase, root: Path, tree: Oid | None) -> Status:
    """Compare a working directory with the files of a tree, by size and then by hash.

    What ``.simgitignore`` names is not untracked, nor is anything in ``.git`` and the like.

    Raises:
        InvalidInput: a line of ``.simgitignore`` is malformed.
    """
    wanted = writable_files(odb, tree)
    with Directory(root) as directory:
        there = {
            parts
            for parts in wanted
            if directory.mode(parts) is not None and not directory.is_directory(parts)
        }
        changed = [p for p in there if not _is(odb, directory, p, wanted[p])]
        untracked = sorted(_untracked(directory, wanted.keys(), read_ignored(directory)))
    return Status(_sorted(changed), _sorted(wanted.keys() - there), tuple(untracked))


def _untracked(directory: Directory, tracked: Set[Parts], is_ignored: Ignored) -> Iterator[str]:
    """Yield what is not tracked; a directory without tracked files as one path."""
    above = {parts[:end] for parts in tracked for end in range(len(parts))} | {()}
    waiting: list[Parts] = [()]
    while waiting:
        below = waiting.pop()
        for name, is_dir in directory.entries(below):
            parts = (*below, name)
            if parts in tracked or is_ignored(parts, is_dir):
                continue
            if is_dir and parts in above:
                waiting.append(parts)
            elif not is_dir or _has_files(directory, parts, is_ignored):
                yield "/".join(parts) + "/" * is_dir


def _has_files(directory: Directory, below: Parts, is_ignored: Ignored) -> bool:
    for name, is_dir in directory.entries(below):
        parts = (*below, name)
        if not is_ignored(parts, is_dir) and (
            not is_dir or _has_files(directory, parts, is_ignored)
        ):
            return True
    return False


def _sorted(paths: Any) -> tuple[str, ...]:
    return tuple("/".join(parts) for parts in sorted(paths))


def _is(odb: ObjectDatabase, directory: Directory, parts: Parts, *oids: Oid | None) -> bool:
    """Return whether a regular file has the content of one of some blobs."""
    if not directory.is_file(parts):
        return False
    with directory.reading(parts) as stream:
        size = os.fstat(stream.fileno()).st_size
        with odb.read() as txn:
            alike = [oid for oid in oids if oid is not None and _size(odb, txn, oid) == size]
        if not alike:
            return False
        hasher = blake3(object_header("blob", size))
        while piece := stream.read(_PIECE):
            hasher.update(piece)
    return hasher.digest() in alike


def _size(odb: ObjectDatabase, txn: ReadTxn, oid: Oid) -> int:
    try:
        return odb.blob_size(txn, oid)
    except NotFound:
        return -1


def checkout(
    odb: ObjectDatabase,
    root: Path,
    old_tree: Oid | None,
    new_tree: Oid | None,
    force: bool = False,
) -> None:
    """Turn the files of one tree in a working directory into those of another.

    Files that neither tree has are kept, and so are local changes of those that both have alike.
    Each file is replaced at once; nothing is written through a link.

    Raises:
        Conflict: ``files`` were changed here, or are in the way and in neither tree; nothing was
            done. With ``force`` only where untracked files lie in a directory that has to go.
        IntegrityError: a tree has names that no file may have.
        StorageError: a file cannot be written or removed.
    """
    old, new = writable_files(odb, old_tree), writable_files(odb, new_tree)
    with Directory(root) as directory:
        going = {parts for parts in old.keys() - new.keys() if directory.mode(parts) is not None}
        coming = {p for p in new if force or old.get(p) != new[p]}
        kept = {p for p in coming if _is(odb, directory, p, new[p])}
        _refuse(_in_the_way(odb, directory, old, going, coming - kept, force))
        for parts in sorted(going, reverse=True):
            if not directory.is_directory(parts):
                directory.remove(parts)
        for parts in sorted(coming - kept):
            _clear(directory, parts)
            directory.write(parts, odb.stream_blob(new[parts]))


def restore(odb: ObjectDatabase, root: Path, wanted: Mapping[Parts, Oid]) -> None:
    """Write files into a working directory, in place of what is there.

    Raises:
        Conflict: untracked files lie in a directory that would have to go; nothing was done.
        StorageError: a file cannot be written.
    """
    with Directory(root) as directory:
        coming = {parts for parts in wanted if not _is(odb, directory, parts, wanted[parts])}
        _refuse(_in_the_way(odb, directory, {}, set(), coming, True))
        for parts in sorted(coming):
            _clear(directory, parts)
            directory.write(parts, odb.stream_blob(wanted[parts]))


def _refuse(files: set[Parts]) -> None:
    if files:
        names = _sorted(files)
        listed = ", ".join(f"'{name}'" for name in names[:10])
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        raise Conflict(f"local changes would be overwritten: {listed}{more}", files=names)


def _in_the_way(
    odb: ObjectDatabase,
    directory: Directory,
    old: Mapping[Parts, Oid],
    going: set[Parts],
    coming: set[Parts],
    force: bool,
) -> set[Parts]:
    """Return what is neither as the old tree has it nor may be overwritten."""
    found = set()
    for parts in coming:
        if directory.is_directory(parts):
            found |= set(directory.files(parts)) - going
    if force:
        return found
    for parts in going | coming:
        for end in range(1, len(parts)):
            above = parts[:end]
            mode = directory.mode(above)
            if mode is not None and not stat.S_ISDIR(mode) and above not in going:
                found.add(above)
        if directory.mode(parts) is None or directory.is_directory(parts):
            continue
        if not _is(odb, directory, parts, old.get(parts)):
            found.add(parts)
    return found


def _clear(directory: Directory, parts: Parts) -> None:
    """Remove files and links where directories have to be, and empty directories where the file."""
    for end in range(1, len(parts)):
        mode = directory.mode(parts[:end])
        if mode is not None and not stat.S_ISDIR(mode):
            directory.remove(parts[:end])
    if directory.is_directory(parts):
        directory.prune(parts)
