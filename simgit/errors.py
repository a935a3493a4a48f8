"""The error tree: one branch for each thing that a handler would do differently.

The attributes carry the data and the message is built from them, in git's manner: lower case,
no full stop, what went wrong first, the subject in single quotes.
Every error survives pickling, so that worker processes can raise it across their border.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

_MOST_BITS: Final = 14_000
"""The most bits of an integer that is written in full: Python refuses more than 4300 digits."""
_UNSEEN: Final = frozenset(
    map(chr, (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x3164, 0xFFA0,
              *range(0xE0100, 0xE01F0)))
)  # fmt: skip
"""Letters and marks that take no space or show nothing, though they count as printable."""


def visible(text: str) -> str:
    """Return a text on one line, with what a terminal obeys or does not show as escapes.

    These are the control characters (C0, DEL, C1), those that change the direction of writing,
    separators of lines, characters without width, and unpaired surrogates.
    """
    if text.isprintable() and (text.isascii() or _UNSEEN.isdisjoint(text)):
        return text
    return "".join(
        c if c.isprintable() and c not in _UNSEEN else c.encode("unicode_escape").decode()
        for c in text
    )


def visible_lines(text: str) -> str:
    """Return a text of several lines, each ``visible``."""
    return "\n".join(map(visible, text.split("\n")))


def visible_json(text: str) -> str:
    """Return a JSON text in which what ``visible`` escapes is escaped as JSON does."""
    if text.isascii() and text.isprintable():  # as nearly every line is
        return text
    return "".join(c if c == "\n" or visible(c) == c else _json_escape(c) for c in text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


_PART: Final = r"[^\s/'\"`<>|:;,()\[\]{}]+"
_BEGINS: Final = (
    r"(?:(?<![\w.~/…-])|(?<=^-[A-Za-z])|(?<=\s-[A-Za-z]))(?:(?<!:)/+|(?<=:)/(?!/)|(?<=:)///+)"
)
_PATHS: Final = rf"""(?x)(?<=')/[^'/\n]*(?:/[^'/\n]*)+(?=') | (?<=")/[^"/\n]*(?:/[^"/\n]*)+(?=")
    | {_BEGINS}(?:{_PART}/+)+(?:{_PART})?"""
_OWN_PATHS: Final = r"/+v1(?:/|$)"
"""Those of the HTTP API, which are of no machine."""
_WORD: Final = r"(?s)([\w.-]*[=@])?(/.*/.*)"


def without_folders(text: str) -> str:
    """Return a text whose absolute paths have only their last name: ``…/train.py``.

    They tell others how a machine is laid out, and who works on it. URLs are kept.
    """
    return re.sub(_PATHS, lambda found: _last(found[0]), text) if "/" in text else text


def word_without_folders(word: str) -> str:
    """Return a word of a command in the same way: all of it, or what follows ``=``, is a path."""
    found = re.fullmatch(_WORD, word)
    return without_folders(word) if found is None else (found[1] or "") + _last(found[2])


def _last(path: str) -> str:
    return path if re.match(_OWN_PATHS, path) else f"…/{path.rstrip('/').rpartition('/')[2]}"


def nested_deeper(value: object, most: int) -> bool:
    """Return True if maps, lists and tuples are nested deeper than ``most``, without recursion."""
    level: list[Any] = [value]
    for _ in range(most):
        below = {
            id(item): item
            for each in level
            if isinstance(each, (Mapping, list, tuple))
            for item in (each.values() if isinstance(each, Mapping) else each)
            if isinstance(item, (Mapping, list, tuple))
        }
        if not below:
            return False
        level = list(below.values())
    return True


def text_of(value: object) -> str:
    """Return a value as Python writes it, integers of thousands of digits by their size."""
    try:
        return repr(value)
    except ValueError:  # Python refuses to write them: it takes long
        return repr(_without_long_integers(value))


class _LongInteger:
    def __init__(self, bits: int) -> None:
        self.bits = bits

    def __repr__(self) -> str:
        return f"<integer of {self.bits} bits>"


def is_long(value: object) -> bool:
    """Return True for an integer of more digits than Python writes."""
    return type(value) is int and value.bit_length() > _MOST_BITS


def _without_long_integers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            _without_long_integers(key): _without_long_integers(item) for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(map(_without_long_integers, value))
    return _LongInteger(value.bit_length()) if is_long(value) else value


def shown(value: object) -> str:
    """Return a value as a message shows it: short, on one line, whatever it is."""
    try:
        text = text_of(value.item() if getattr(value, "shape", None) == () else value)  # type: ignore[attr-defined]
    except Exception:  # what the value's own class raises
        text = f"<{type(value).__name__}>"
    text = visible(text[:81])
    return text if len(text) <= 80 else text[:77] + "..."


def reason(error: OSError) -> str:
    """Return the operating system's words for an error, in lower case."""
    return (error.strerror or str(error)).lower()


def plural(count: int, noun: str) -> str:
    """Return a number with its noun: ``1 state``, ``2 states``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'reward'?`` for a word near a known one, else an empty string.

    Near is at most one edit for each three letters of the shorter word (one edit inserts, deletes
    or replaces a letter, or swaps two neighbours), or else a beginning of three letters or more,
    or the last part of a longer name: ``lr`` of ``agent.lr``, ``web`` of ``train/web``.
    """
    low = word.lower()
    ranked = sorted(
        (_edits(low, name.lower()), abs(len(low) - len(name)), name)
        for name in known
        if name != word
    )
    if ranked and ranked[0][0] <= (min(len(word), len(ranked[0][2])) + 1) // 3:
        return f"; did you mean '{ranked[0][2]}'?"
    begun = [name for *_, name in ranked if len(word) > 2 and name.lower().startswith(low)]
    parts = [name for *_, name in ranked if word and name.endswith((f".{word}", f"/{word}"))]
    return f"; did you mean '{(begun + parts)[0]}'?" if begun or parts else ""


def near_or_known(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'reward'?``, or `` (known: step, reward)`` where none is near."""
    names = list(known)
    return did_you_mean(word, names) or f" (known: {', '.join(names)})"


def _edits(a: str, b: str) -> int:
    """Return the edit distance of two words; a swap of neighbours counts once."""
    before, row = [0], list(range(len(b) + 1))
    for i, x in enumerate(a):
        older, before, row = before, row, [i + 1]
        for j, y in enumerate(b):
            row.append(min(before[j + 1] + 1, row[j] + 1, before[j] + (x != y)))
            if i and j and x == b[j - 1] and y == a[i - 1]:
                row[-1] = min(row[-1], older[j - 1] + 1)
    return row[-1]


class SimgitError(Exception):
    """Base of every error that simgit raises on purpose.

    Its message may quote a stranger's text, so it is made ``visible``; attributes are as given.
    """

    def __init__(self, message: str, **data: Any) -> None:
        message = visible(message)
        super().__init__(message)
        self.message = message
        self.__dict__.update(data)

    def __str__(self) -> str:
        """Return the bare message (a KeyError would print it in quotes)."""
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from the message, then put the attributes back."""
        return _rebuild, (type(self), self.message, self.__dict__)


def _rebuild(cls: type[SimgitError], message: str, data: dict[str, Any]) -> SimgitError:
    error = cls.__new__(cls, message)
    Exception.__init__(error, message)
    error.__dict__.update(data)
    return error


class NotFound(SimgitError, KeyError):
    """A run, state, object, file or other named thing that does not exist."""


class Missing(SimgitError, LookupError):
    """A state of a shallow history that is not here, or what follows from it: a remote has it.

    It is no ``NotFound``: whoever does without what does not exist must not do without this.
    """


class AlreadyExists(SimgitError):
    """A name or place that is already taken."""


class InvalidInput(SimgitError, ValueError):
    """A value that cannot be used or recorded; ``path`` names the place inside it."""


class Conflict(SimgitError):
    """A ref moved since it was read, or local changes (``files``) would be overwritten."""


class IntegrityError(SimgitError):
    """Stored bytes that do not match their checksum, their hash or their format."""


class FormatError(SimgitError):
    """A repository or bundle that was written by a newer version of simgit."""


class StorageError(SimgitError):
    """A failure of the storage: full, locked, read-only, or an I/O error."""


class StorageFullError(StorageError):
    """A full disk; what is stored can still be read, and gc makes room."""


class TransportError(StorageError):
    """A remote that is unreachable or refuses; ``kind`` says why.

    ``kind`` is one of ``unreachable``, ``denied``, ``no-bucket``, ``throttled``, ``clock``,
    ``unsupported`` and ``unknown`` (none of the others).
    """

    kind: str = "unknown"
    retryable: bool = False
    """True if the same call may work later, without a change of anything."""
    unknown: bool = False
    """True if a write may have been done: its answer was lost."""
    request_id: str | None = None
    """The number that the store gave the request; its operator finds the request by it."""


class Divergence(SimgitError):
    """A replay that differs from the recording; ``step`` and ``field`` say where."""


class TimedOut(SimgitError):
    """A simulation has not answered, or not ended, in the time that it was given."""


class Stopped(BaseException):
    """Somebody stops the simulation; ``except Exception`` does not catch it."""


class Untrusted(InvalidInput):
    """Code of whoever recorded a state would run, and the repository is not trusted."""


class ClusterError(SimgitError):
    """A cluster that is unreachable, failed or timed out."""


class SimgitWarning(UserWarning):
    """Base of every warning that simgit gives; its message is made ``visible``."""

    def __init__(self, message: str = "", *args: Any) -> None:
        super().__init__(visible(message), *args)


class EnvironmentChanged(SimgitWarning):
    """A package whose version is not the one that a run was recorded with."""


class Unverified(SimgitWarning):
    """A branch off a run whose environment was not verified to resume exactly."""


_collected: ContextVar[list[str] | None] = ContextVar("simgit_warnings", default=None)


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Yield a list that simgit's warnings go to in this context, instead of to Python's.

    It is for a server, whose callers do not see what is printed; ``warnings`` knows no contexts.
    """
    found: list[str] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def warn(message: str, category: type[SimgitWarning] = SimgitWarning) -> None:
    """Warn at the line of the user's that led here, however many of simgit's own are between."""
    if (collected := _collected.get()) is not None:
        collected.append(visible(message))
        return
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_own(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_own(module: object) -> bool:
    return str(module).partition(".")[0] == "simgit"
