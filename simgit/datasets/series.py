"""Series: numbers that were logged beside a run, as attachments of its states.

The attachment ``series`` of a state is a dict of tag to a dict of three arrays of one length:
``step`` (int64), ``time`` (float64, seconds since 1970 in UTC, NaN if not known) and ``value``
(float32 or float64). It has what was logged since the attachment before, so that the series of a
run is what the attachments in its history have, one after the other. A branch therefore begins
with the series of its parent up to the branch point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from simgit.errors import IntegrityError, InvalidInput, NotFound, near_or_known, plural, shown
from simgit.objects.oid import Oid
from simgit.odb import trees
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.refs import attachments
from simgit.storage.base import ReadTxn, WriteTxn

NAME: Final = "series"
"""The name of the attachment."""
Floats = npt.NDArray[np.float64] | npt.NDArray[np.float32]


class Series(NamedTuple):
    """The points of one tag, in the order in which they were logged; arrays of shape (n,)."""

    step: npt.NDArray[np.int64]
    time: npt.NDArray[np.float64]
    value: Floats


class SeriesPart(NamedTuple):
    """The series that one attachment has, and the step of its state."""

    at: int
    series: Mapping[str, Series]


def as_series(tag: str, given: Any, now: float) -> Series:
    """Return points given as ``Series``, or as (steps, values) or (steps, values, times).

    Raises:
        InvalidInput: they are something else, or not equally many.
    """
    step: Any
    if isinstance(given, Series):
        parts: list[Any] = [given.step, given.value, given.time]
    else:
        parts = list(given) if isinstance(given, (tuple, list)) else []
    if len(parts) not in (2, 3):
        raise InvalidInput(
            f"series '{tag}' must be (steps, values) or (steps, values, times), got {shown(given)}"
        )
    step, value, time = (*parts, None)[:3]
    steps, values = _numbers(tag, "steps", step, "iu"), _numbers(tag, "values", value, "fiub")
    times = np.full(len(steps), now) if time is None else _numbers(tag, "times", time, "fiu")
    if not len(steps) == len(values) == len(times):
        raise InvalidInput(
            f"series '{tag}' must have as many steps as values and times, got {len(steps)}, "
            f"{len(values)} and {len(times)}"
        )
    narrow = values.dtype in (np.float32, np.float16)
    made: Floats = values.astype(np.float32) if narrow else values.astype(np.float64)
    return Series(steps.astype(np.int64), times.astype(np.float64), made)


def _numbers(tag: str, what: str, given: Any, kinds: str) -> npt.NDArray[Any]:
    try:
        found = np.atleast_1d(np.asarray(given))
    except (ValueError, TypeError, OverflowError):
        found = np.zeros(0, object)
    if kinds == "iu" and not found.size and found.dtype.kind == "f":
        found = found.astype(np.int64)
    if found.ndim != 1 or found.dtype.kind not in kinds:
        what_kind = "integers" if kinds == "iu" else "numbers"
        raise InvalidInput(f"series '{tag}': {what} must be {what_kind}, got {shown(given)}")
    if found.dtype.kind == "u" and found.size and found.max() >= 1 << 63:
        raise InvalidInput(f"series '{tag}': {what} must be less than 2**63")
    return found


def joined(parts: Sequence[Series]) -> Series:
    """Return points one after the other; float64 if some are."""
    return Series(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def append(odb: ObjectDatabase, txn: WriteTxn, state: Oid, more: Mapping[str, Series]) -> Oid:
    """Add points to the series of a state; return the oid of the attachment's data."""
    there = attachments.attachments(odb, txn, state).get(NAME)
    parts = dict(checked(trees.load_data(odb, txn, *there), state)) if there else {}
    for tag, series in more.items():
        parts[tag] = joined([parts[tag], series]) if tag in parts else series
    data = {tag: dict(series._asdict()) for tag, series in parts.items()}
    kind, oid = trees.store_data(odb, txn, data, attachments.latest(txn, NAME))
    attachments.attach(odb, txn, state, NAME, kind, oid)
    return oid


def parts_of(odb: ObjectDatabase, txn: ReadTxn, tip: Location) -> Iterator[SeriesPart]:
    """Yield the series in a history, attachment by attachment, the oldest first.

    Raises:
        IntegrityError: an attachment of this name is something else.
    """
    for each in reversed([*attachments.in_history(odb, txn, tip, NAME)]):
        data = trees.load_data(odb, txn, each.kind, each.oid)
        yield SeriesPart(each.step, checked(data, each.state))


def series_of(odb: ObjectDatabase, txn: ReadTxn, tip: Location) -> dict[str, Series]:
    """Return the series of a history by tag."""
    found: dict[str, list[Series]] = {}
    for part in parts_of(odb, txn, tip):
        for tag, series in part.series.items():
            found.setdefault(tag, []).append(series)
    return {tag: joined(parts) for tag, parts in found.items()}


def cut(odb: ObjectDatabase, txn: WriteTxn, tip: Location, step: int) -> int:
    """Remove the points at a step or later from the series of a history; return how many.

    Raises:
        IntegrityError: an attachment of this name is something else.
    """
    count = 0
    for each in list(attachments.in_history(odb, txn, tip, NAME)):
        parts = checked(trees.load_data(odb, txn, each.kind, each.oid), each.state)
        less = sum(int(np.sum(found.step >= step)) for found in parts.values())
        if less:
            data = {
                tag: {name: array[found.step < step] for name, array in found._asdict().items()}
                for tag, found in parts.items()
                if (found.step < step).any()
            }
            attachments.attach(odb, txn, each.state, NAME, *trees.store_data(odb, txn, data))
        count += less
    return count


def discarded(count: int, step: int) -> str:
    """Return the note for points that a restart discarded."""
    verb = "is" if count == 1 else "are"
    return (
        f"restart at step {step}: {plural(count, 'earlier point')} from there on {verb} discarded"
    )


def checked(data: Any, state: Oid) -> dict[str, Series]:
    """Return the series in an attachment's data.

    Raises:
        IntegrityError: it is something else.
    """
    found = {}
    for tag, parts in data.items() if isinstance(data, dict) else [(None, {})]:
        names = parts.keys() if isinstance(parts, dict) else ()
        if not isinstance(tag, str) or set(names) != set(Series._fields):
            raise _malformed(state)
        series = Series(**parts)
        shapes = {getattr(array, "shape", None) for array in series}
        kinds = [getattr(array, "dtype", None) for array in series]
        sizes = len(shapes) == 1 and len(next(iter(shapes)) or ()) == 1
        if not sizes or kinds[:2] != [np.dtype("i8"), np.dtype("f8")] or kinds[2] not in _VALUES:
            raise _malformed(state)
        found[tag] = series
    return found


_VALUES: Final = (np.dtype("f4"), np.dtype("f8"))


def _malformed(state: Oid) -> IntegrityError:
    return IntegrityError(f"attachment '{NAME}' of state '{state.short()}' is not a series")


def no_such_tag(run: str, tag: str, known: Sequence[str]) -> NotFound:
    """Return the error for a tag that a run does not have."""
    near = near_or_known(tag, known) if known else "; it has no series"
    return NotFound(f"'{run}' has no series '{tag}'{near}", name=tag)
