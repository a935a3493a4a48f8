"""How a trajectory shows itself: from segment headers and schemas, without decoding columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from simgit import notebook
from simgit.errors import SimgitError
from simgit.schema import MAP, TUPLE, Schema
from simgit.segment.header import Location

if TYPE_CHECKING:
    from simgit.trajectory import Trajectory

_SHOWN = 16
_FRAMES = 6


def describe(source: Trajectory) -> tuple[str, list[tuple[str, str]]]:
    """Return a line about a trajectory, and its fields with their types."""
    title = f"{type(source).__name__} {source.name}".rstrip()
    title += f"  steps {source.start} to {source.stop - 1}" if len(source) else "  empty"
    stretch = source._stretch
    with stretch.odb.read() as txn:
        schemas = stretch.schemas(txn)
        if len(source):
            title += f", {_count(len(source), 'state')}"
            states = stretch.odb.states
            ends = []
            for step in (source.start, source.stop - 1):
                place: Location = states.ancestor(txn, source.place, step)
                ends.append(states.standing(txn, states.header(txn, place), step))
            (first, _, before), (last, _, after) = ends
            title += f", {_count(last - first + 1, 'episode')}, return {after - before:.6g}"
    return title, _fields(schemas)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _fields(schemas: list[Schema]) -> list[tuple[str, str]]:
    """Return each leaf field with the types that it has."""
    found: dict[str, dict[str, None]] = {}
    for schema in schemas:
        for path, kind in schema.fields:
            inner = kind.code in (MAP, TUPLE) and schema.root is not None
            if not (inner and any(p[:-1] == path for p, _ in schema.fields)):
                found.setdefault(".".join(path), {})[str(kind)] = None
    rows = [(name, " or ".join(types)) for name, types in sorted(found.items())]
    if len(rows) > _SHOWN:
        rows = [*rows[: _SHOWN - 1], ("…", f"{len(rows) - _SHOWN + 1} more")]
    return rows


def to_text(source: Trajectory) -> str:
    """Return a summary for a terminal."""
    try:
        title, fields = describe(source)
    except SimgitError as error:
        return f"<{type(source).__name__} of {len(source)} states: {error}>"
    width = max((len(name) for name, _ in fields), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {kind}" for name, kind in fields)])


def to_html(source: Trajectory) -> str:
    """Return a summary for a notebook, with some of the images if the observations are images."""
    try:
        title, fields = describe(source)
        frames = "".join(_frames(source))
    except SimgitError:
        return f"<pre>{notebook.escaped(to_text(source))}</pre>"
    return notebook.paragraph(title) + notebook.table(fields, ("field", "type")) + frames


def _frames(source: Trajectory) -> Iterator[str]:
    """Yield some states' images, evenly spaced; only the first one's kind is looked for."""
    count = min(_FRAMES, len(source))
    for i in range(count):
        at = i * (len(source) - 1) // max(1, count - 1)
        found = next(notebook.images(getattr(source[at], "observation", None)), None)
        if found is None:
            return
        yield notebook.image(found[1], f"step {source.start + at}")
