"""Names of files in a state: what may be stored, and be written to any file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from simgit.errors import InvalidInput
from simgit.refs.names import fold

RESERVED: Final = frozenset({".simgit", ".git", ".hg", ".bzr", ".svn", ".jj"})
"""Directories whose files programs execute, or read as their configuration."""
_SHORT: Final = re.compile(r"(\w{1,6})~[0-9]+")
_BARE: Final = ("commondir", "objects", "refs")
_CONTROL: Final = ("Cc", "Zl", "Zp")
MAX_COMPONENT: Final = 255
MAX_DEPTH: Final = 64
Parts = tuple[str, ...]


def split_path(path: str) -> Parts:
    """Return the components of a relative path with ``/`` between them.

    Raises:
        InvalidInput: no file of a state may have this name; the message says why.
    """
    parts = tuple(path.split("/"))
    reason = next(filter(None, map(_fault, parts)), None)
    if path.startswith("/"):
        reason = "it is absolute"
    elif len(parts) > MAX_DEPTH:
        reason = f"it is nested deeper than {MAX_DEPTH}"
    if reason is not None:
        raise InvalidInput(f"'{path}' is not a valid name for a file: {reason}", name=path)
    return parts


def is_reserved(component: str) -> bool:
    """Return True if a file system may take a name for ``.simgit``, ``.git`` or the like."""
    name = _on_disk(component)
    short = _SHORT.fullmatch(name)  # the other name that NTFS and FAT give it
    return (f".{short[1]}" if short else name) in RESERVED


def _on_disk(component: str) -> str:
    """Return what all names share that some file system may take for one another.

    Ignorable characters (HFS+), streams, and trailing dots and spaces (NTFS) do not count there.
    """
    visible = "".join(c for c in component if not _is_ignorable(c))
    return fold(visible.split(":")[0]).rstrip(". ")


def _is_ignorable(char: str) -> bool:
    return unicodedata.category(char) == "Cf" or char == "\u034f" or "\ufe00" <= char <= "\ufe0f"


def is_component(name: str) -> bool:
    """Return True if a name is one component of a path, whatever it may mean to a program."""
    return name not in ("", ".", "..") and not set("/\\\0") & set(name)


def _fault(component: str) -> str | None:
    """Return why a component of a path is refused, or None."""
    try:
        size = len(component.encode())
    except UnicodeEncodeError:
        return "it is no Unicode"
    if component in ("", ".", ".."):
        return "a component is empty, '.' or '..'"
    if "\\" in component or "\0" in component:
        return "it contains a backslash or NUL"
    if any(unicodedata.category(char) in _CONTROL for char in component):
        return "it contains a control character"
    if is_reserved(component):
        return f"'{component}' is a directory of simgit's or of a version control system"
    return f"a component is longer than {MAX_COMPONENT} bytes" if size > MAX_COMPONENT else None


def check_together(paths: Iterable[Parts]) -> None:
    """Check that files can lie side by side on any file system.

    Raises:
        InvalidInput: two names differ only in case or Unicode form, one is a directory too, or
            git would take a directory for a repository.
    """
    paths = list(paths)
    spelt: dict[Parts, Parts] = {}
    files: set[Parts] = set()
    inner: set[Parts] = set()
    for parts in paths:
        for end in range(1, len(parts) + 1):
            key = tuple(map(fold, parts[:end]))
            other = spelt.setdefault(key, parts[:end])
            if other != parts[:end]:
                raise InvalidInput(
                    f"'{'/'.join(other)}' and '{'/'.join(parts[:end])}' differ only in case or "
                    "Unicode form"
                )
            (files if end == len(parts) else inner).add(parts[:end])
    for both in files & inner:
        raise InvalidInput(f"'{'/'.join(both)}' is both a file and a directory")
    _refuse_bare_repositories(paths)


def _refuse_bare_repositories(paths: Iterable[Parts]) -> None:
    """Refuse a directory that git takes for a bare repository, and whose ``config`` it obeys."""
    names = {tuple(map(_on_disk, parts[:end])) for parts in paths for end in range(len(parts) + 1)}
    for *above, last in filter(None, names):
        inside = {each for each in _BARE if (*above, each) in names}
        if last == "head" and ("commondir" in inside or {"objects", "refs"} <= inside):
            raise InvalidInput(
                f"'{'/'.join(above) or '.'}' would be a git repository: it has HEAD, "
                f"{' and '.join(sorted(inside))}"
            )
