"""Summaries of a trajectory, from segment headers and schemas, without decoding columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from simgit.errors import SimgitError, visible
from simgit.history.step_range import StepRange
from simgit.objects.schema import MAP, TUPLE, Schema
from simgit.odb.location import Location
from simgit.plot import notebook

_SHOWN = 16
_FRAMES = 6


def describe(title: str, steps: StepRange) -> tuple[str, list[tuple[str, str]]]:
    """Return a line that begins with a title, and the states' fields with their types.

    Both are ``visible``.
    """
    title = visible(title)
    title += f"  steps {steps.start} to {steps.stop - 1}" if steps.count else "  empty"
    with steps.odb.read() as txn:
        schemas = steps.schemas(txn)
        if steps.count:
            title += f", {_count(steps.count, 'state')}"
            states = steps.odb.states
            ends = []
            for step in (steps.start, steps.stop - 1):
                place: Location = states.ancestor(txn, steps.place, step)
                ends.append(states.standing(txn, states.header(txn, place), step))
            (first, _, before), (last, _, after) = ends
            if first is not None and last is not None:
                title += f", {_count(last - first + 1, 'episode')}, return {after - before:.6g}"
    return title, _fields(schemas)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _fields(schemas: list[Schema]) -> list[tuple[str, str]]:
    """Return each leaf field with the types that it has."""
    found: dict[str, dict[str, None]] = {}
    for schema in schemas:
        parents = {path[:-1] for path, _ in schema.fields}
        for path, kind in schema.fields:
            inner = kind.code in (MAP, TUPLE) and schema.root is not None
            if not (inner and path in parents):
                found.setdefault(visible(".".join(path)), {})[str(kind)] = None
    rows = [(name, " or ".join(types)) for name, types in sorted(found.items())]
    if len(rows) > _SHOWN:
        rows = [*rows[: _SHOWN - 1], ("…", f"{len(rows) - _SHOWN + 1} more")]
    return rows


def to_text(title: str, steps: StepRange) -> str:
    """Return a summary for a terminal."""
    try:
        line, fields = describe(title, steps)
    except SimgitError as error:
        return f"<{visible(title)} of {_count(steps.count, 'state')}: {error}>"
    width = max((len(name) for name, _ in fields), default=0)
    return "\n".join([line, *(f"  {name:<{width}}  {kind}" for name, kind in fields)])


def to_html(title: str, steps: StepRange, state: Callable[[int], Any]) -> str:
    """Return a summary for a notebook, with some of the images if the observations are images."""
    try:
        line, fields = describe(title, steps)
        frames = "".join(_frames(steps, state))
    except SimgitError:
        return f"<pre>{notebook.escaped(to_text(title, steps))}</pre>"
    return notebook.paragraph(line) + notebook.table(fields, ("field", "type")) + frames


def _frames(steps: StepRange, state: Callable[[int], Any]) -> Iterator[str]:
    """Yield some states' images, evenly spaced; only the first one's kind is looked for."""
    count = min(_FRAMES, steps.count)
    for i in range(count):
        at = i * (steps.count - 1) // max(1, count - 1)
        found = next(notebook.images(getattr(state(at), "observation", None)), None)
        if found is None:
            return
        yield notebook.image(found[1], f"step {steps.start + at}")
