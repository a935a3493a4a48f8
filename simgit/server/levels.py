"""Levels: the newest value of each thing that viewers are told of, and the event that tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from simgit.refs.names import RUNS
from simgit.repository.jsonable import json_text

_KINDS: Final = {
    RUNS: "run", "live/": "phase", "progress/": "progress", "question/": "question",
    "line/": "line", "job/": "job",
}  # fmt: skip
"""What the names of levels begin with, to the kinds of their events; others are of refs."""
_GONE: Final[Mapping[str, Mapping[str, Any]]] = {
    "run": {"oid": None}, "ref": {"oid": None}, "phase": {"phase": None},
    "progress": {"done": None, "total": None, "stage": None, "left": None},
    "question": {"questions": [], "answered": None}, "line": {"execution": None, "end": 0},
    "job": {"phase": None},
}  # fmt: skip
"""The members of an event that tells that a thing is gone."""


class Level(NamedTuple):
    """The value of a thing: what is compared with the one before, its JSON, and its event."""

    stored: Any
    text: str
    event: bytes


def encoded(kind: str, text: str, number: int | None = None) -> bytes:
    """Return an event as it is sent; ``number`` is its id."""
    id_ = "" if number is None else f"id: {number}\n"
    return f"event: {kind}\n{id_}data: {text}\n\n".encode()


def level(name: str, stored: Any, record: Mapping[str, Any]) -> Level:
    """Return the level of a name."""
    text = json_text(record)
    return Level(stored, text, encoded(kind_of(name)[0], text))


def kind_of(name: str) -> tuple[str, str]:
    """Return the kind of a level's event, and the run, ref or job that it is about."""
    for start, kind in _KINDS.items():
        if name.startswith(start):
            return kind, name.removeprefix(start)
    return "ref", name


def gone(name: str) -> bytes:
    """Return the event that tells that what a level is about is there no more."""
    kind, what = kind_of(name)
    subject: dict[str, Any] = {"ref": what} if kind == "ref" else {"run": what}
    if kind == "job":
        subject = {"job": int(what)}
    return encoded(kind, json_text({**subject, **_GONE[kind]}))
