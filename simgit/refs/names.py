"""Names of runs and tags: the rules for them, and when two count as the same."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from simgit.errors import InvalidInput, NotFound

HEAD: Final = "HEAD"
RUNS: Final = "runs/"
TAGS: Final = "tags/"
MAX_NAME: Final = 200
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")
_REVISION_LIKE: Final = re.compile(r"@(\d+|ep\d+(\.\d+)?)$")


def check_name(name: str, what: str = "a run") -> str:
    """Return ``name`` if a run or tag may have it: git's check-ref-format, and not a revision.

    Raises:
        InvalidInput: it may not; the message names the rule that it breaks.
    """
    reason = None
    components = name.split("/")
    if not name:
        reason = "it is empty"
    elif name in ("@", HEAD):
        reason = "it is reserved"
    elif found := _FORBIDDEN.search(name):
        reason = f"it contains {found[0]!r}"
    elif not all(components):
        reason = "a part between slashes is empty"
    elif any(part.startswith(".") or part.endswith(".lock") for part in components):
        reason = "a part between slashes begins with '.' or ends with '.lock'"
    elif name.endswith(".") or name.startswith("-"):
        reason = "it ends with '.' or begins with '-'"
    elif found := _REVISION_LIKE.search(name):
        reason = f"it ends with '{found[0]}', which means a step or an episode of a run"
    elif len(name.encode(errors="replace")) > MAX_NAME:
        reason = f"it is longer than {MAX_NAME} bytes"
    elif not name.isprintable():
        unprintable = next(each for each in name if not each.isprintable())
        reason = f"it contains {unprintable!r}, which cannot be printed"
    if reason is not None:
        raise InvalidInput(f"'{name}' is not a valid name for {what}: {reason}", name=name)
    return name


def is_pattern(text: str) -> bool:
    """Return whether a text is a pattern of names, such as ``try-*``; no name looks like one."""
    return any(character in text for character in "*?[")


def expanded(names: Iterable[str], known: Iterable[str], what: str = "run") -> list[str]:
    """Return names, each pattern replaced by the known names that it matches, each once.

    Raises:
        NotFound: a pattern matches none.
    """
    from fnmatch import fnmatchcase

    every = list(known)
    found: list[str] = []
    for text in names:
        matches = (
            [name for name in every if fnmatchcase(name, text)] if is_pattern(text) else [text]
        )
        if not matches:
            raise NotFound(f"no {what} matches '{text}'", name=text)
        found += matches
    return list(dict.fromkeys(found))


def fold(name: str) -> str:
    """Return the form that names share which differ only in case or Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def conflict_names(name: str) -> Iterator[str]:
    """Yield the names for states that could not be written to a run; the first free one is used."""
    base = name.encode()[: MAX_NAME - 24].decode(errors="ignore").rstrip("./")
    return (f"{base}.conflict-{number}" for number in itertools.count(1))
