"""Names of files in a state: what may be stored, and be written to any file system."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

from simgit.errors import InvalidInput
from simgit.refs.names import fold

RESERVED: Final = ".simgit"
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
    """Return whether a file system may take a name for ``.simgit``."""
    # ignorable characters (HFS+), streams and trailing dots and spaces (NTFS) do not count there
    visible = "".join(c for c in component if unicodedata.category(c) != "Cf")
    return fold(visible.split(":")[0]).rstrip(". ") == RESERVED


def _fault(component: str) -> str | None:
    """Return why a component of a path is refused, or None."""
    try:
        size = len(component.encode())
    except UnicodeEncodeError:
        return "it is no Unicode"
    if component in ("", ".", ".."):
        return "a component is empty, '.' or '..'"
    if "\\" in component or "\0" in component:
        return "it holds a backslash or NUL"
    if is_reserved(component):
        return f"'{RESERVED}' is the repository's own"
    return f"a component is longer than {MAX_COMPONENT} bytes" if size > MAX_COMPONENT else None


def check_together(paths: Iterable[Parts]) -> None:
    """Check that files can lie side by side on any file system.

    Raises:
        InvalidInput: two names differ only in case or Unicode form, or one is a directory too.
    """
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
