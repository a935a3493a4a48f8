"""How a trajectory shows itself: from segment headers and schemas, without decoding columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from simgit.errors import SimgitError
from simgit.history.step_range import StepRange
from simgit.objects.schema import MAP, TUPLE, Schema
from simgit.odb.location import Location
from simgit.plot import notebook

_SHOWN = 16
_FRAMES = 6


def describe(title: str, stretch: StepRange) -> tuple[str, list[tuple[str, str]]]:
    """Return a line about states, which begins with a title, and their fields with their types."""
    title += f"  steps {stretch.start} to {stretch.stop - 1}" if stretch.count else "  empty"
    with stretch.odb.read() as txn:
        schemas = stretch.schemas(txn)
        if stretch.count:
            title += f", {_count(stretch.count, 'state')}"
            states = stretch.odb.states
            ends = []
            for step in (stretch.start, stretch.stop - 1):
                place: Location = states.ancestor(txn, stretch.place, step)
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


def to_text(title: str, stretch: StepRange) -> str:
    """Return a summary for a terminal."""
    try:
        line, fields = describe(title, stretch)
    except SimgitError as error:
        return f"<{title} of {_count(stretch.count, 'state')}: {error}>"
    width = max((len(name) for name, _ in fields), default=0)
    return "\n".join([line, *(f"  {name:<{width}}  {kind}" for name, kind in fields)])


def to_html(title: str, stretch: StepRange, state: Callable[[int], Any]) -> str:
    """Return a summary for a notebook, with some of the images if the observations are images."""
    try:
        line, fields = describe(title, stretch)
        frames = "".join(_frames(stretch, state))
    except SimgitError:
        return f"<pre>{notebook.escaped(to_text(title, stretch))}</pre>"
    return notebook.paragraph(line) + notebook.table(fields, ("field", "type")) + frames


def _frames(stretch: StepRange, state: Callable[[int], Any]) -> Iterator[str]:
    """Yield some states' images, evenly spaced; only the first one's kind is looked for."""
    count = min(_FRAMES, stretch.count)
    for i in range(count):
        at = i * (stretch.count - 1) // max(1, count - 1)
        found = next(notebook.images(getattr(state(at), "observation", None)), None)
        if found is None:
            return
        yield notebook.image(found[1], f"step {stretch.start + at}")
