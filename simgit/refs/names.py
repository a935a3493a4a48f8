"""Names of runs, tags and remotes: the rules for them, and when two count as the same."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from simgit.errors import InvalidInput, NotFound, shown

HEAD: Final = "HEAD"
RUNS: Final = "runs/"
TAGS: Final = "tags/"
REMOTES: Final = "remotes/"
SPACES: Final = (RUNS, TAGS, REMOTES)
"""What the full names of refs begin with; HEAD has none of them."""
OF_RUNS: Final = (RUNS, REMOTES)
"""What the full names of refs begin with that have the fields of a run."""
MAX_NAME: Final = 200
_FORBIDDEN: Final = r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//"
_REVISION_LIKE: Final = r"@(\d+|ep\d+(\.\d+)?|t=-?\d+(\.\d+)?(e[-+]?\d+)?)$"
_REMOTE: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}"
_RESERVED: Final = (*(space[:-1] for space in SPACES), HEAD)
_OID: Final = r"[0-9a-fA-F]{64}"
COUNTER: Final = r"\{auto\}|%0?(?P<width>[0-9]{0,2})d"
"""What a recorder replaces in the name of a new run by the next number."""


def check_name(name: str, what: str) -> str:
    """Return ``name`` if something may have it: git's check-ref-format, and not a revision.

    Raises:
        InvalidInput: it may not; the message names the rule that it breaks, and a name that works.
    """
    return _checked(name, what, _form_fault)


def check_ref_name(name: str, what: str = "a run") -> str:
    """Return ``name`` if a new run or tag may have it: each revision then means one thing.

    Raises:
        InvalidInput: as ``check_name``; or it is a full oid, begins as full names of refs do, or
            has a counter.
    """
    return _checked(name, what, _ref_fault)


def check_remote_name(name: str) -> str:
    """Return ``name`` if a remote may have it: one part of a name, short and plain.

    Raises:
        InvalidInput: it may not; the message names the rule that it breaks.
    """
    return _checked(name, "a remote", _remote_fault)


def is_remote_name(name: str) -> bool:
    """Return True if a remote may have a name."""
    return _remote_fault(name) is None


def _checked(name: str, what: str, fault: Callable[[str], str | None]) -> str:
    if not isinstance(name, str):
        raise InvalidInput(f"the name of {what} must be a text, got {shown(name)}")
    if (reason := fault(name)) is not None:
        near = _usable(name)
        hint = "" if near is None or fault(near) is not None else f"; use '{near}'"
        raise InvalidInput(f"'{name}' is not a valid name for {what}: {reason}{hint}", name=name)
    return name


def _form_fault(name: str) -> str | None:
    """Return the rule that a name breaks, None for a valid one."""
    components = name.split("/")
    if not name:
        return "it is empty"
    if name in ("@", HEAD):
        return "it is reserved"
    if found := re.search(_FORBIDDEN, name):
        return f"it contains {found[0]!r}"
    if not all(components):
        return "a part between slashes is empty"
    if any(part.startswith(".") or part.endswith(".lock") for part in components):
        return "a part between slashes begins with '.' or ends with '.lock'"
    if name.endswith(".") or name.startswith("-"):
        return "it ends with '.' or begins with '-'"
    if found := re.search(_REVISION_LIKE, name):
        return f"it ends with '{found[0]}', which means a step or an episode of a run"
    if len(name.encode(errors="replace")) > MAX_NAME:
        return f"it is longer than {MAX_NAME} bytes"
    if not name.isprintable():
        unprintable = next(each for each in name if not each.isprintable())
        return f"it contains {unprintable!r}, which cannot be printed"
    return None


def _ref_fault(name: str) -> str | None:
    """Return the rule that the name of a run or tag breaks, None for a valid one."""
    if (reason := _form_fault(name)) is not None:
        return reason
    if re.fullmatch(_OID, name):
        return "it is a full oid, which means a state"
    if name.startswith(SPACES):
        return f"it begins with '{name.partition('/')[0]}/', as full names of refs do"
    if found := re.search(COUNTER, name):
        return f"it contains '{found[0]}', a counter that only recorders fill in"
    return None


def _remote_fault(name: str) -> str | None:
    """Return the rule that the name of a remote breaks, None for a valid one."""
    if (reason := _form_fault(name)) is not None:
        return reason
    if name in _RESERVED:
        return "it is reserved"
    if not re.fullmatch(_REMOTE, name):
        return "it must have at most 50 letters, digits, '_', '-' and '.', a letter or digit first"
    return None


def _usable(name: str) -> str | None:
    """Return a name that is like one that is not allowed, None if nothing is left of it."""
    text = "".join(each if each.isprintable() else "-" for each in re.sub(COUNTER, "1", name))
    text = re.sub(_FORBIDDEN, "-", text.replace("//", "/"))
    while text.startswith(SPACES):
        text = text.partition("/")[2]
    parts = [re.sub(r"(\.lock)+$", "", part.lstrip(".-")).rstrip(".-") for part in text.split("/")]
    text = _cut("/".join(filter(None, parts)), MAX_NAME)
    text = re.sub(_REVISION_LIKE, lambda found: "-" + found[0][1:], text)
    if re.fullmatch(_OID, text):
        text = f"run-{text[:12]}"
    return text.lower() if text in ("@", HEAD) else text or None


def usable_name(text: str) -> str:
    """Return a name for a run or tag that another program calls ``text``: the same if it can."""
    return text if text and _ref_fault(text) is None else _usable(text) or "run"


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


def is_pattern(text: str) -> bool:
    """Return whether a text is a pattern of names, such as ``try-*``; no name looks like one."""
    return any(character in text for character in "*?[")


def matches(name: str, wanted: Iterable[str]) -> bool:
    """Return True if a name is one of others, or one of them is a pattern that it matches."""
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, each) if is_pattern(each) else name == each for each in wanted)


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
    base = _cut(name, MAX_NAME - 24)
    return (f"{base}.conflict-{number}" for number in itertools.count(1))


def more_names(name: str) -> Iterator[str]:
    """Yield names for a run beside one that cannot be recorded to: ``main.2``, ``main.3``, …."""
    base = _cut(name, MAX_NAME - 24)
    return (f"{base}.{number}" for number in itertools.count(2))


def _cut(name: str, size: int) -> str:
    """Return the beginning of a name that takes so many bytes at most."""
    return name.encode()[:size].decode(errors="ignore").rstrip("./")
