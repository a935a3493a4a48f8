"""Answers to a shell that completes commands and options: at once, without importing click.

What else can be completed, such as names of runs, click asks the command for. The protocol is
click's: a shell gives the words in the environment and reads one completion per line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Final

from simgit.cli.commands import FLAT
from simgit.cli.option_table import OPTIONS

REQUEST: Final = "_SIMGIT_COMPLETE"
"""The environment variable by which a shell asks, with its name: ``bash_complete``."""
_WITH_VALUE: Final = ("-C", "--at-op")
"""The global options that take a value."""


def completions(environment: Mapping[str, str]) -> list[str] | None:
    """Return the lines for the shell; None if only click can answer."""
    shell = environment[REQUEST].removesuffix("_complete")
    line = environment.get("COMP_WORDS", "")
    if shell not in _LINES or any(c in line for c in "'\"\\"):
        return None
    words, typed = line.split()[1:], environment.get("COMP_CWORD", "")
    if shell != "fish":  # which gives the word itself, the others its number
        number = int(typed) - 1
        words, typed = words[:number], words[number] if number < len(words) else ""
    elif typed and words[-1:] == [typed]:
        words.pop()
    known = _known(words, typed)
    if known is None:
        return None
    return [_LINES[shell](word, text) for word, text in known.items() if word.startswith(typed)]


def _known(words: list[str], typed: str) -> dict[str, str] | None:
    """Return what may stand after some words, with its help; None if it is not in the tables."""
    path = ""
    for before, word in pairwise(["", *words]):
        if not path and before in _WITH_VALUE:
            continue
        inner = f"{path} {word}".strip()
        if inner in OPTIONS and (not path or _inner(path)):
            path = inner
        elif not path and not word.startswith("-"):
            return None
    if typed.startswith("-"):
        value_follows = words[-1:] and words[-1].startswith("-")
        return None if value_follows else OPTIONS[path]
    if words[-1:] and words[-1] in _WITH_VALUE and not path:
        return None
    return {name: text for name, (_, text) in FLAT.items()} if not path else _inner(path) or None


def _inner(path: str) -> dict[str, str]:
    """Return the words that may follow those of a group; none for a command."""
    start = f"{path} "
    return {
        name.removeprefix(start).partition(" ")[0]: "" for name in OPTIONS if name.startswith(start)
    }


def _zsh(word: str, text: str) -> str:
    return f"plain\n{word.replace(':', chr(92) + ':') if text else word}\n{text or '_'}"


_LINES: Final[dict[str, Callable[[str, str], str]]] = {
    "bash": lambda word, text: f"plain,{word}",
    "zsh": _zsh,
    "fish": lambda word, text: f"plain,{word}\t{text}" if text else f"plain,{word}",
}
