"""Names of runs and tags: which there may be, and which are alike."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from simgit.errors import InvalidInput

HEAD: Final = "HEAD"
RUNS: Final = "runs/"
TAGS: Final = "tags/"
MAX_NAME: Final = 200
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")
_REVISION_LIKE: Final = re.compile(r"@(\d+|ep\d+(\.\d+)?)$")


def check_name(name: str, what: str = "run") -> str:
    """Return ``name`` if a run or tag may have it: git's check-ref-format, and no revision.

    Raises:
        InvalidInput: it may not; the message says why.
    """
    reason = None
    components = name.split("/")
    if not name or name in ("@", HEAD):
        reason = "the name is empty or reserved"
    elif _FORBIDDEN.search(name):
        reason = "it contains a character or sequence that revisions need"
    elif any(part.startswith(".") or part.endswith(".lock") or not part for part in components):
        reason = "a component is empty, begins with '.' or ends with '.lock'"
    elif name.endswith(".") or name.startswith("-"):
        reason = "it ends with '.' or begins with '-'"
    elif _REVISION_LIKE.search(name):
        reason = "it reads as a step or an episode of another run"
    elif len(name.encode(errors="replace")) > MAX_NAME:
        reason = f"it is longer than {MAX_NAME} bytes"
    elif not name.isprintable():
        reason = "it contains characters that cannot be shown"
    if reason is not None:
        raise InvalidInput(f"'{name}' is not a valid name for a {what}: {reason}", name=name)
    return name


def fold(name: str) -> str:
    """Return what two names that differ only in case or Unicode form have in common."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def conflict_names(name: str) -> Iterator[str]:
    """Yield the names for what could not be written to a run, the first that is free is taken."""
    base = name.encode()[: MAX_NAME - 24].decode(errors="ignore").rstrip("./")
    return (f"{base}.conflict-{number}" for number in itertools.count(1))
