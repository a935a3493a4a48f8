"""Printing: colour, pager, tables, JSON, progress.

The border to the terminal: every command prints through ``Output``, ``say`` or ``raw_bytes``, which
show as escapes what a terminal would obey (``errors.visible``), our own colours apart.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
import time
import unicodedata
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TextIO

from simgit.errors import plural, visible, visible_lines

if TYPE_CHECKING:
    import subprocess

    from rich.progress import Progress as Bars

STYLES: Final = {
    "oid": "33", "head": "1;36", "run": "1;32", "tag": "1;33", "remote": "1;31",
    "good": "32", "bad": "31",
    "bold": "1", "dim": "2", "warn": "33", "old": "31", "new": "32", "hunk": "36",
}  # fmt: skip
STATUS_STYLES: Final = {
    "active": "good", "completed": "", "paused": "warn", "failed": "bad", "crashed": "bad",
}  # fmt: skip
_QUIET: Final = ("", "cat")
_ASCII: Final = str.maketrans("▁▂▃▄▅▆▇█┤│─├└●○–≤≥", ".:-=+*%#||-|`*o-<>") | {
    0x2192: "->",
    0x2026: "...",
}
"""The signs of charts and trees where the encoding has none of them."""


def use_color() -> bool:
    """Return whether stdout is a terminal with colour and NO_COLOR is not set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return sys.stdout.isatty()


class Output:
    """Prints lines, tables and JSON to a stream."""

    def __init__(self, stream: TextIO, color: bool) -> None:
        self._stream = stream
        self.is_unicode = str(getattr(stream, "encoding", None) or "utf").lower().startswith("utf")
        self.color = color
        self._mark = f"\x1b{os.urandom(8).hex()}"  # no stored text can guess it

    def line(self, text: str = "") -> None:
        """Print a line."""
        self.lines([text])

    def lines(self, texts: Iterable[str]) -> None:
        """Print lines at once."""
        # nearly all are plain, and this is quick
        found = [
            text if text.isascii() and text.isprintable() else self._shown(text) for text in texts
        ]
        self._write("".join([text + "\n" for text in found]))

    def _shown(self, text: str) -> str:
        """Return a text as this stream shows it."""
        found = self._colored(text) if self.color else visible(text)
        return found if self.is_unicode else found.translate(_ASCII)

    def _write(self, text: str) -> None:
        """Write a text: a bar of ``progress`` would stand in its line, and is drawn below it."""
        with without_progress() if _shown else nullcontext():
            self._stream.write(text)

    def _colored(self, text: str) -> str:
        """Return a text ``visible``, in the styles of ``paint``."""
        parts = re.split(rf"{self._mark}(\[[\d;]*m)", text)
        return "".join([f"\x1b{p}" if i % 2 else visible(p) for i, p in enumerate(parts)])

    def paint(self, text: str, style: str) -> str:
        """Return a text in a style, if colour is shown: with marks of which ``line`` makes it."""
        code = STYLES.get(style)
        return f"{self._mark}[{code}m{text}{self._mark}[m" if self.color and code else text

    def json(self, record: Any) -> None:
        """Print one JSON document on a line, in the form of docs/json.md."""
        from simgit.repository.jsonable import json_text, to_jsonable

        self._write(json_text(to_jsonable(record), ascii=not self.is_unicode) + "\n")

    def table(
        self,
        rows: Iterable[Sequence[Any]],
        right: Sequence[int] = (),
        fit: bool = False,
        turn: bool = False,
    ) -> None:
        """Print rows as aligned columns; a cell is a text or a (text, style).

        With ``fit`` the last column is cut where a terminal ends. With ``turn`` the first row has
        the names of the columns, and rows that are too wide for a terminal are printed one below
        the other, with a name and a value a line.
        """
        cells = [
            [(visible(c[0]), c[1]) if isinstance(c, tuple) else (visible(c), "") for c in row]
            for row in rows
        ]
        if not cells:
            return
        widths = [max(width(row[i][0]) for row in cells) for i in range(len(cells[0]))]
        if turn and sys.stdout.isatty() and sum(widths) + 2 * len(widths) - 2 > columns():
            for number, row in enumerate(cells[1:], 1):
                self.line(self.paint(f"row {number}", "dim"))
                self.table([(name, value) for name, value in zip(cells[0], row, strict=True)])
            return
        if fit and sys.stdout.isatty():
            room = max(1, columns() - sum(widths[:-1]) - 2 * len(widths[:-1]))
            cells = [[*row[:-1], (_cut(row[-1][0], room), row[-1][1])] for row in cells]
        lines = []
        for row in cells:
            parts = []
            for i, (text, style) in enumerate(row):
                pad = " " * (widths[i] - width(text))
                painted = self.paint(text, style)
                parts.append(pad + painted if i in right else painted + pad)
            lines.append("  ".join(parts).rstrip())
        self.lines(lines)


def say(text: str) -> None:
    """Print a remark, warning or error on stderr; what follows a newline is another line."""
    print(clean(text), file=sys.stderr)


def raw_bytes(pieces: Iterable[bytes]) -> None:
    """Write stored bytes to stdout: as they are, but at a terminal as text that is ``visible``."""
    if not sys.stdout.isatty():
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return
    decode = getincrementaldecoder("utf-8")("backslashreplace").decode
    for piece in pieces:
        sys.stdout.write(clean(decode(piece)))
    sys.stdout.write(clean(decode(b"", final=True)))


def _cut(text: str, room: int) -> str:
    return text if width(text) <= room else text[: room - 1] + "…" if room > 0 else ""


class Pager:
    """Stdout, or the user's pager where stdout is a terminal, as in git."""

    def __init__(self, wanted: bool) -> None:
        command = os.environ.get("SIMGIT_PAGER", os.environ.get("PAGER", "less -FRX"))
        self.command = command if wanted and sys.stdout.isatty() and _exists(command) else ""
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> TextIO:
        if self.command in _QUIET:
            return sys.stdout
        import subprocess

        sys.stdout.flush()
        env = {"LESS": "FRX", "LV": "-c", **os.environ}
        self.process = subprocess.Popen(self.command, shell=True, stdin=subprocess.PIPE, env=env)
        assert self.process.stdin is not None
        self.stream = io.TextIOWrapper(self.process.stdin, encoding="utf-8", errors="replace")
        return self.stream

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if self.process is None:
            return False
        left = self._close() or (kind is not None and issubclass(kind, BrokenPipeError))
        while True:
            try:
                self.process.wait()
                return left  # leaving the pager early is no error
            except KeyboardInterrupt:
                continue  # the pager deals with it

    def _close(self) -> bool:
        """Close the pager's input; return whether it had left before."""
        try:
            self.stream.close()
        except BrokenPipeError:
            return True
        return False


def _exists(command: str) -> bool:
    """Return whether the program of a shell command exists."""
    from shutil import which

    words = command.split()
    return bool(words) and ("=" in words[0] or which(words[0]) is not None)


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def columns() -> int:
    """Return how many columns the terminal has, 80 without one."""
    from shutil import get_terminal_size

    return get_terminal_size((80, 24)).columns


def shortened(text: str, most: int) -> str:
    """Return a text cut in its middle if it has more than so many letters."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def clean(text: str) -> str:
    """Return a text of one or several lines as a terminal may show it."""
    return visible_lines(text)


def first_line(text: str) -> str:
    """Return the first line of a message, ``visible``."""
    return visible(text.partition("\n")[0])


def number(value: float | None) -> str:
    """Return a number with at most six digits and no ``.0``."""
    if value is None:
        return "-"
    return f"{value:.6g}" if abs(value) < 1e15 else f"{value:g}"


def counted(value: int | None) -> str:
    """Return a whole number, or ``?`` where a shallow history does not tell it."""
    return "?" if value is None else str(value)


def counted_sum(value: float, count: int | None) -> str:
    """Return a sum, or ``?`` where a shallow history does not tell how many were added."""
    return "?" if count is None else number(value)


def when(nanoseconds: int | None) -> str:
    """Return a time in nanoseconds since 1970 as local time."""
    if nanoseconds is None:
        return "-"
    from datetime import datetime

    try:
        moment = datetime.fromtimestamp(nanoseconds // 10**9).astimezone()
    except (OverflowError, ValueError, OSError):  # a clock that was far off
        return f"{nanoseconds} ns"
    return moment.strftime("%Y-%m-%d %H:%M:%S %z")


def size(count: float) -> str:
    """Return a number of bytes with a unit."""
    if count < 0:
        return f"-{size(-count)}"
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return plural(round(count), "byte") if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


Progress = Callable[[int, int | None], None]
TOLD: Final = "SIMGIT_PROGRESS"
"""The environment variable that names the file in which a job tells its progress."""
_TOLD_SECONDS: Final = 0.1
_shown: list[Bars] = []


@contextmanager
def progress(title: str, wanted: bool = True) -> Iterator[Progress]:
    """Yield a function that shows the progress of long work, if stderr is a terminal.

    A job of a server tells it in a file instead.
    """
    if (told := os.environ.get(TOLD)) is not None:
        yield _teller(told, title)
        return
    if not wanted or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    here = sys.stdout.isatty()  # elsewhere, what a program prints belongs there and not to stderr
    bars = Bars(*columns, console=Console(stderr=True), transient=True, redirect_stdout=here)
    task = bars.add_task(title, total=None)
    try:
        with _whole():
            _shown.append(bars)
            bars.start()
        yield lambda done, total: bars.update(task, completed=done, total=total)
    finally:
        with _whole():
            if bars in _shown:
                _shown.remove(bars)
            bars.stop()


def _teller(path: str, title: str) -> Progress:
    """Return what writes progress into a file, a few times a second: done, total, title."""
    written = 0.0

    def tell(done: int, total: int | None) -> None:
        nonlocal written
        now = time.monotonic()
        if now - written < _TOLD_SECONDS and done != total:
            return
        written = now
        with suppress(OSError):  # the work goes on
            file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.write(
                    file, f"{done} {'-' if total is None else total} {title}".ljust(80).encode()
                )
            finally:
                os.close(file)

    return tell


@contextmanager
def without_progress() -> Iterator[None]:
    """Hide the bars of ``progress`` while the block prints or asks a question."""
    try:
        with _whole():
            for bars in _shown:
                bars.stop()
        yield
    finally:
        with _whole():
            for bars in _shown:
                bars.start()


@contextmanager
def _whole() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: bars that are half begun cannot be ended."""
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before is not signal.default_int_handler:  # it raises nothing here
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
