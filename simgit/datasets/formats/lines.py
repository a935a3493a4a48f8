"""Lines of JSON that other programs wrote: where each lies, and which are damaged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from simgit.errors import InvalidInput

_LONGEST: Final = 64 << 20
"""The most bytes of a line."""
_MOST: Final = 1000
"""The most lines that may be damaged."""


class JsonLine(NamedTuple):
    """A line that was decoded: its number from 1, its place in the file, and its value."""

    number: int
    start: int
    size: int
    value: Any

    @property
    def stop(self) -> int:
        """The place after its end."""
        return self.start + self.size


class LineReader:
    """The good lines of a file, one at a time.

    Attributes:
        faults: what is wrong with the others, by their numbers; filled while lines are read.
    """

    def __init__(self, path: Path, fault: Callable[[Any], str | None]) -> None:
        """Prepare to read a file.

        Args:
            path: the file.
            fault: returns why a decoded value is not one of this file, None if it is one.
        """
        self._path = path
        self._fault = fault
        self.faults: list[str] = []

    def __iter__(self) -> Iterator[JsonLine]:
        with self._path.open("rb") as opened:
            start = number = 0
            while line := opened.readline(_LONGEST):
                number += 1
                size = len(line) + (0 if line.endswith(b"\n") else _skip_rest(opened, len(line)))
                if text := line.strip():
                    value, why = _decoded(text) if size <= _LONGEST else (None, "too long")
                    why = why or self._fault(value)
                    if why is None:
                        yield JsonLine(number, start, size, value)
                    else:
                        self.faults.append(f"line {number}: {why}")
                    if len(self.faults) > _MOST:
                        raise InvalidInput(f"{self._path.name}: too many lines cannot be read, "
                                           f"as {self.faults[0]}")  # fmt: skip
                start += size


def _skip_rest(opened: BinaryIO, read: int) -> int:
    """Read on to the end of a line that is too long; return how many bytes that were."""
    more = 0
    if read == _LONGEST:
        while part := opened.readline(1 << 20):
            more += len(part)
            if part.endswith(b"\n"):
                break
    return more


def _decoded(text: bytes) -> tuple[Any, str | None]:
    try:
        return json.loads(text), None
    except UnicodeDecodeError:
        return None, "not UTF-8"
    except RecursionError:
        return None, "nested too deep"
    except json.JSONDecodeError as error:
        why = error.msg[:1].lower() + error.msg[1:].removesuffix(" at")
        return None, f"not JSON: {why} at column {error.colno}"
    except ValueError as error:
        return None, f"malformed: {error}"
