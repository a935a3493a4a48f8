"""The clock of a simulator: the number ``time`` in a state's info, and the state at a time.

A state has no field of its own for it: ``append(…, time=12.5)`` stores ``info.time``, a finite
integer or float as it was given. What else has a number there, as some environments do, has a
clock too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from simgit.errors import InvalidInput, NotFound, shown
from simgit.objects.lazy_numpy import np
from simgit.objects.rows import Rows, column, presence, unpack_row
from simgit.odb import ancestry
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.storage.base import ReadTxn

if TYPE_CHECKING:
    import numpy.typing as npt

TIME: Final = "time"
"""The key of a state's info for the simulator's clock."""


def clock_of(info: Any) -> float | None:
    """Return the clock in a state's info, None without one."""
    found = info.get(TIME) if isinstance(info, Mapping) else None
    if isinstance(found, (np.integer, np.floating, np.ndarray)) and found.ndim == 0:
        found = found.item()
    if type(found) is not int and (type(found) is not float or math.isnan(found)):
        return None
    return found


def with_time(info: Any, time: Any) -> dict[Any, Any]:
    """Return an info with a simulator's time in it.

    Raises:
        InvalidInput: the time is not a finite number, or the info has another one.
    """
    if type(time) is float and info is None and math.isfinite(time):
        return {TIME: time}
    number = time.item() if isinstance(time, (np.generic, np.ndarray)) and time.size == 1 else time
    is_long = type(number) is int and not -(1 << 63) <= number < 1 << 63
    if type(number) not in (int, float) or is_long or not math.isfinite(number):
        raise InvalidInput(f"time must be a finite number, got {shown(time)}", path="time")
    if info is not None and not isinstance(info, Mapping):
        raise InvalidInput(f"info must be a mapping, got {shown(info)}", path="info")
    if info is not None and TIME in info:
        raise InvalidInput("info has a 'time' already: pass one of them", path="time")
    return {**(info or {}), TIME: number}


def clocks(rows: Rows) -> list[float | None]:
    """Return the clock of each row, None where there is none."""
    found = _numbers(rows)
    if found is None:
        if not _is_of_any_form(rows):
            return [None] * rows.count
        return [clock_of(unpack_row(rows, i).get("info")) for i in range(rows.count)]
    values, here = found
    return [v if there else None for v, there in zip(values.tolist(), here.tolist(), strict=True)]


def _numbers(rows: Rows) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None:
    """Return the clocks as a column and a mask of those that are there; None if it has none."""
    index = rows.schema.index.get(("info", TIME))
    if index is None or rows.schema.fields[index][1].variable:
        return None
    kind = rows.schema.fields[index][1]
    dtype = kind.storage_dtype
    if dtype is None or kind.shape or np.dtype(dtype).kind not in "iuf":
        return np.zeros(rows.count), np.zeros(rows.count, bool)
    values = column(rows, index)
    return values, presence(rows, index) & (values == values)  # NaN is no time


def _is_of_any_form(rows: Rows) -> bool:
    """Return True if infos, or their clocks, are values of any form."""
    places = (("info",), ("info", TIME))
    found = [rows.schema.index[place] for place in places if place in rows.schema.index]
    return any(rows.schema.fields[index][1].variable for index in found)


def last_until(odb: ObjectDatabase, txn: ReadTxn, tip: Location, time: float) -> Location:
    """Return the location of the last state of a history whose clock is at or before a time.

    Clocks begin anew with episodes, so the states are read from the newest on.

    Raises:
        NotFound: no state has a clock, or all are later.
    """
    earliest: float | None = None
    for line_range in ancestry.line_ranges(txn, tip):
        for part in ancestry.newest_blocks(odb, txn, line_range):
            _, rows = next(odb.states.rows(txn, part.line, part.start, part.stop, False))
            if (known := _numbers(rows)) is not None:
                values, here = known
            elif _is_of_any_form(rows):
                _, rows = next(odb.states.rows(txn, part.line, part.start, part.stop))
                found = clocks(rows)
                here = np.array([each is not None for each in found])
                values = np.array([0 if each is None else each for each in found], object)
            else:
                continue
            if (before := np.flatnonzero(here & _until(values, time))).size:
                return Location(part.line, part.start + int(before[-1]))
            if here.any():
                least = min(values[here].tolist())
                earliest = least if earliest is None else min(earliest, least)
    if earliest is None:
        raise NotFound("no state has a clock; record one with time=")
    raise NotFound(f"no state at or before time {time}; the earliest is at {earliest}")


def _until(values: npt.NDArray[Any], time: float) -> npt.NDArray[np.bool_]:
    """Return a mask of the clocks at or before a time: neither is rounded to the other's type."""
    if values.dtype.kind in "iu" and not math.isinf(time):
        found: npt.NDArray[np.bool_] = values <= math.floor(time)
        return found
    if values.dtype.kind == "f" and type(time) is float:
        return values.astype(np.float64) <= time
    return np.array([each <= time for each in values.tolist()], bool)
