"""Routes of columns: fields of many states, as JSON, NumPy or Arrow."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from simgit.errors import InvalidInput
from simgit.history.leaf_column import LeafColumn
from simgit.history.trajectory import Trajectory
from simgit.history.where import Predicate
from simgit.objects.json_form import value_to_json
from simgit.repository.jsonable import json_text
from simgit.server.answers import CELLS, JSON, Route, accepted, by_revision
from simgit.server.problems import Refused
from simgit.server.routes.states import canonical
from simgit.server.service import Reader
from simgit.server.turns import slow
from simgit.storage.limits import check_time

router = APIRouter(route_class=Route, tags=["columns"])
LINES, NPY, NPZ = "application/x-ndjson", "application/x-npy", "application/zip"
ARROW = "application/vnd.apache.arrow.stream"
_PART = 8192
"""States that are written at a time."""


@router.get("/columns/{revisions:path}")
@slow()
def columns(
    request: Request,
    repo: Reader,
    revisions: str,
    fields: Annotated[list[str], Query(alias="field", description="Such as info.lives.")],
    where: Annotated[str | None, Query(description="Condition, as in 'log --where'.")] = None,
) -> Response:
    """Return fields of the states of a history, a range or an episode, with their steps.

    As JSON, lines of JSON, one array (npy), several (npz) or an Arrow stream, by Accept. None, or
    a mask NAME.mask, is where a state has no value.
    """
    states = repo.trajectory(revisions)
    offers = [JSON, LINES, NPY, NPZ] + ([ARROW] if _has_arrow() and where is None else [])
    media = accepted(request, offers)
    whole = canonical(repo, revisions) if "@ep" not in revisions else ""
    tag = whole or f"{states[-1].oid.hex()}-{len(states)}"

    def make() -> bytes:
        if media == ARROW:
            return _arrow(states, [*map(_path, fields)])
        found = _read(states, fields, where)
        if media == JSON:
            texts = (f"{json_text(name)}: [{_text(value)}]" for name, value in found.items())
            return f"{{{', '.join(texts)}}}".encode()
        if media == LINES:
            return "".join(_lines(found)).encode()
        return _npy(found, fields) if media == NPY else _npz(found)

    return by_revision(request, "columns", revisions, tag, make, media, has_address=bool(whole))


def _read(states: Trajectory, fields: Sequence[str], where: str | None) -> dict[str, LeafColumn]:
    """Return columns by name, the step first.

    Raises:
        Refused: they are too many numbers.
    """
    if len(states):
        newest = states[-1:].columns(*map(_path, fields))
        cells = sum(np.size(column) for column in newest) * len(states)
        if cells > CELLS:
            why = f"{cells} numbers, of which an answer has at most {CELLS}: ask for less"
            raise Refused(413, why, cells=cells, limit=CELLS)
    found: dict[str, LeafColumn] = {"step": LeafColumn(states.steps, np.zeros(len(states), bool))}
    for name, column in zip(fields, states.leaf_columns(*map(_path, fields)), strict=True):
        if not isinstance(column, LeafColumn):
            raise InvalidInput(f"'{name}' is several columns; name one of them", field=name)
        found[name] = column
    if where is None:
        return found
    chosen = np.flatnonzero(Predicate(where)(states)).tolist()
    return {
        name: column.part(
            lambda each: each[chosen] if isinstance(each, np.ndarray) else [each[i] for i in chosen]
        )
        for name, column in found.items()
    }


def _path(field: str) -> str:
    """Return ``observation[2]`` as a trajectory writes it: ``observation.2``."""
    return re.sub(r"\[(\d+)\]", r".\1", field)


def _plain(column: LeafColumn) -> list[Any]:
    """Return the values as JSON types, None where there are none."""
    if not isinstance(column.values, np.ndarray):
        return [value_to_json(each) for each in column.values]
    if column.absent.ndim > 1:
        return list(np.ma.MaskedArray(column.values, _mask(column)).tolist())
    pairs = zip(column.values.tolist(), column.absent.tolist(), strict=True)
    return [None if absent else value for value, absent in pairs]


def _parts(column: LeafColumn) -> Iterator[list[Any]]:
    """Yield the values as JSON types, some at a time: between them the work may end."""
    for start in range(0, len(column.absent), _PART):
        check_time()
        yield _plain(column.part(lambda each, at=start: each[at : at + _PART]))  # type: ignore[misc]


def _text(column: LeafColumn) -> str:
    return ", ".join(json_text(part)[1:-1] for part in _parts(column))


def _lines(found: dict[str, LeafColumn]) -> Iterator[str]:
    for parts in zip(*map(_parts, found.values()), strict=True):
        for row in zip(*parts, strict=True):
            yield json_text(dict(zip(found, row, strict=True))) + "\n"


def _mask(column: LeafColumn) -> Any:
    shape = np.shape(column.values)
    missing = len(shape) - column.absent.ndim
    return np.broadcast_to(column.absent.reshape(column.absent.shape + (1,) * missing), shape)


def _array(name: str, column: LeafColumn) -> Any:
    if not isinstance(column.values, np.ndarray) or column.values.dtype.hasobject:
        raise Refused(406, f"'{name}' is no array: ask for JSON", field=name)
    return column.values


def _npy(found: dict[str, LeafColumn], fields: Sequence[str]) -> bytes:
    if len(fields) != 1:
        raise Refused(406, f"npy has one field, got {len(fields)}: ask for application/zip")
    column = found[fields[0]]
    if column.absent.any():
        raise Refused(406, f"some states have no '{fields[0]}': ask for application/zip")
    out = io.BytesIO()
    np.save(out, _array(fields[0], column), allow_pickle=False)
    return out.getvalue()


def _npz(found: dict[str, LeafColumn]) -> bytes:
    arrays: dict[str, Any] = {}
    for name, column in found.items():
        arrays[name] = _array(name, column)
        if column.absent.any():
            arrays[f"{name}.mask"] = column.absent
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return out.getvalue()


def _has_arrow() -> bool:
    from importlib.util import find_spec

    return find_spec("pyarrow") is not None


def _arrow(states: Trajectory, fields: Sequence[str]) -> bytes:
    from simgit.datasets.arrow import stream_bytes

    return stream_bytes(states.to_arrow(fields))
