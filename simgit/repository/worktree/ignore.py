"""Files that are left out of ``status``: those that ``.simgitignore`` names, and ``.git``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from simgit.errors import InvalidInput
from simgit.repository.worktree.directory import Directory
from simgit.repository.worktree.names import Parts

FILE: Final = ".simgitignore"
ALWAYS: Final = frozenset((".git", ".hg", ".svn", ".venv", "__pycache__"))
"""Directories that belong to other programs, wherever they are."""
_MOST: Final = 1 << 20
Ignored = Callable[[Parts, bool], bool]
"""Returns True for a path that is ignored; the flag says whether it is a directory."""


def read_ignored(directory: Directory) -> Ignored:
    """Return the rules of a working directory: git's patterns, in ``.simgitignore`` at its top.

    Raises:
        InvalidInput: a line of the file is malformed, or it is too large.
    """
    if not directory.is_file((FILE,)):
        return lambda parts, is_dir: is_dir and parts[-1] in ALWAYS
    from pathspec import GitIgnoreSpec

    with directory.reading((FILE,)) as stream:
        text = stream.read(_MOST + 1) or b""
    if len(text) > _MOST:
        raise InvalidInput(f"'{FILE}' must have at most {_MOST} bytes", name=FILE)
    lines = text.decode(errors="surrogateescape").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:
            raise InvalidInput(
                f"'{FILE}', line {number}: malformed pattern '{line}'", name=FILE, line=number
            ) from None
    rules = [each for each in GitIgnoreSpec.from_lines(lines).patterns if each.include is not None]

    def is_ignored(parts: Parts, is_dir: bool) -> bool:
        if is_dir and parts[-1] in ALWAYS:
            return True
        path = "/".join(parts)
        last = (each.include for each in reversed(rules) if _is_of(each, path, is_dir))
        return next(last, None) is True

    return is_ignored


def _is_of(rule: Any, path: str, is_dir: bool) -> bool:
    """Return True if a rule is of a path itself, not only of a directory that it is in.

    Those directories were asked for before: what git does not re-include either.
    """
    found = rule.regex.match(path)
    if found is not None and _directory_end(found) is None:
        return True
    found = rule.regex.match(path + "/") if is_dir else None
    return found is not None and _directory_end(found) == len(path) + 1


def _directory_end(found: re.Match[str]) -> int | None:
    """Return where the directory ends by which a rule of pathspec matched, None without one."""
    return found.end("ps_d") if found.groupdict().get("ps_d") is not None else None
