"""Names of runs and tags: the rules for them, and when two count as the same."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

from simgit.errors import InvalidInput

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


def own_ancestor(parents: Mapping[str, str | None]) -> str | None:
    """Return a run that is its own ancestor, given each run's parent; None if there is none."""
    sound: set[str] = set()
    for name in parents:
        path: dict[str, None] = {}
        above: str | None = name
        while above is not None and above not in sound:
            if above in path:
                return above
            path[above] = None
            above = parents.get(above)
        sound.update(path)
    return None


def fold(name: str) -> str:
    """Return the form that names share which differ only in case or Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def conflict_names(name: str) -> Iterator[str]:
    """Yield the names for states that could not be written to a run; the first free one is used."""
    base = name.encode()[: MAX_NAME - 24].decode(errors="ignore").rstrip("./")
    return (f"{base}.conflict-{number}" for number in itertools.count(1))
