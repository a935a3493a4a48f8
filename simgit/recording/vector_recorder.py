"""The recorder of many runs at once, for batches of parallel environments."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from os import PathLike
from typing import Any

import numpy as np

from simgit.errors import InvalidInput, shown
from simgit.objects.coerce import coerce, coerce_key
from simgit.objects.columns import ABSENT, Column, Columns, DenseColumn
from simgit.objects.schema import exact_cast
from simgit.objects.simplify import Simplifier
from simgit.odb.database import ObjectDatabase
from simgit.recording.flush import FlushPolicy, RecorderBase, RunWriter, Work
from simgit.recording.lane_rows import EMPTY, NONE, RESETS, WITHOUT, LaneColumns, Outcomes, Row
from simgit.recording.recorder import RunRecorder


class _Member(RunRecorder):
    """The buffer of one lane, filled state by state and flushed together with all others."""

    def __init__(
        self, group: LaneRecorder, number: int, lane: RunWriter, policy: FlushPolicy
    ) -> None:
        super().__init__(group._odb, lane, policy, False)
        self.number = number
        self._group: LaneRecorder = weakref.proxy(group)  # no cycle: it is stored when dropped
        self._lock = group._lock  # the group takes the buffers of all members

    def _start_flush(self) -> None:
        self._group._start_flush()

    @property
    def pending(self) -> int:
        """The number of buffered states, here and in the rows of the group."""
        return len(self._observations) + self._group._waiting_of(self.number)

    def take_rows(self, columns: Columns, count: int) -> Work:
        """Return states of the group's rows as if they had been here, where no others are."""
        self._has_states = True
        self._bytes = 0
        return Work(self._lanes[0], columns, self._take_attached(count), self._take_notes())

    def note_states(self, has_states: bool) -> None:
        """Note whether states of this lane were flushed in batches."""
        self._has_states = self._has_states or has_states


class LaneRecorder(RecorderBase):
    """A writer of many runs at once, from batches of parallel environments or state by state."""

    def __init__(
        self, odb: ObjectDatabase, lanes: list[RunWriter], policy: FlushPolicy, background: bool
    ) -> None:
        super().__init__(odb, lanes, policy, background)
        self._batches: list[dict[str, Any]] = []
        self._states = 0
        self._bytes = 0
        share = replace(
            policy,
            every=max(policy.every // len(lanes), 1),
            bytes=policy.bytes // len(lanes),
        )
        self._members = [_Member(self, i, lane, share) for i, lane in enumerate(lanes)]
        self._rows: list[Row] = []
        """States of all lanes, some of them in a lane's own buffer too; see ``_append_rows``."""
        self._spread_to = [0] * len(lanes)
        """Where in the rows those of each lane begin that are not in its own buffer."""
        self._form: tuple[Any, ...] | None = None
        self._left = 0
        """The number of rows before one must look whether it is time to flush."""
        self.simplifier = Simplifier()
        """Takes the values that have no encoding; see ``RunRecorder``."""

    def __enter__(self) -> LaneRecorder:
        return self

    @property
    def runs(self) -> list[str]:
        """The names of the runs that are written, in the order of the lanes."""
        return [lane.name for lane in self._lanes]

    @property
    def _flushes_episodes(self) -> bool:
        """True if the end of an episode is stored at once."""
        return self._policy.episodes

    def append(self, lane: int, *fields: Any, **more: Any) -> None:
        """Buffer one state of one lane; the other arguments are those of ``Recorder.append``.

        All lanes are flushed when one of them has its share of states or bytes.
        """
        self._check_open()
        if self._batches:
            self._start_flush()  # the states of a lane stay in order
        member = self._member(lane)
        if self._rows:
            with self._lock:
                self._spread(member.number, len(self._rows))
        self._form, self._left = None, 0  # they may change
        member.simplifier = self.simplifier
        member.append(*fields, **more)

    def _append_rows(
        self,
        observations: np.ndarray[Any, Any],
        actions: Sequence[Any],
        outcomes: Outcomes,
        infos: Mapping[int, dict[Any, Any]] | None = None,
        resets: Mapping[int, Any] = NONE,
        without: Sequence[int] = (),
        then: tuple[np.ndarray[Any, Any], Mapping[int, dict[Any, Any]]] | None = None,
    ) -> bool:
        """Buffer one state of each lane but some, whose values are in the form that is kept.

        Nothing of it is checked, and only the observations are copied: it is what ``append`` does
        with the plain values of most steps, for all lanes together. Nothing is flushed: see
        ``_flush_if_full``.

        Args:
            observations: shape (lanes, …), at least two dimensions.
            actions: coerced values of the caller's own, one for each lane; an array has the same
                dtype and shape each time.
            outcomes: of the lanes.
            infos: coerced values of the caller's own by lane, None if all are empty.
            resets: the marks of the lanes whose state is a reset's: what the arguments have as
                their actions and outcomes does not matter.
            without: the lanes that have no state.
            then: observations and infos of the states of resets that follow in the lanes of the
                infos; without seeds and options.

        Returns:
            False, and nothing is buffered, where a lane's newest observations have another form.
        """
        if self._closed or self._parent is not None:
            self._check_open()
        form = observations.dtype, observations.shape
        if form != self._form:
            each_form = form[0], form[1][1:]
            if any(  # a dtype of float64 equals None
                each._dtype is None or (each._dtype, each._shape) != each_form
                for each in self._members
            ):
                return False
            self._form = form
        row = (observations.tobytes(), actions, *outcomes, infos, resets, without)
        self._left -= 1
        if then is None:
            self._rows.append(row)
            return True
        begun, begun_infos = then
        others = tuple(i for i in range(len(self._members)) if i not in begun_infos)
        marks = dict.fromkeys(begun_infos, EMPTY)
        second = (begun.tobytes(), actions, *outcomes, begun_infos, marks, others)
        self._left -= 1
        self._rows.extend((row, second))  # at once: Ctrl-C comes between any two
        return True

    def _spread(self, lane: int, end: int) -> None:
        """Move the states of a lane from the rows up to one to its own buffer; the lock is held."""
        rows = [e for e in self._rows[self._spread_to[lane] : end] if lane not in e[WITHOUT]]
        if not rows:
            self._spread_to[lane] = end
            return
        raws, actions, rewards, terminated, truncated, infos, *_ = zip(*rows, strict=True)
        size = len(raws[0]) // len(self._members)
        first, last = lane * size, lane * size + size
        parts: list[list[Any]] = [
            [each[first:last] for each in raws],
            [each[lane] for each in actions],
            self._of_lane(lane, rewards, "f8"),
            self._of_lane(lane, terminated, "?"),
            self._of_lane(lane, truncated, "?"),
            [EMPTY if each is None else each[lane] or EMPTY for each in infos],
        ]
        member, done = self._members[lane], 0
        lists, row = member._lists(), member.appended
        marks = {}
        for i, found in enumerate(rows):
            if lane in found[RESETS]:
                for part in parts[1:5]:
                    part[i] = None
                marks[row + i] = found[RESETS][lane]
        try:
            self._spread_to[lane] = end
            if marks:
                member._rare.setdefault("reset", {}).update(marks)
            for each, part in zip(lists, parts, strict=True):
                each.extend(part)
                done += 1
        except BaseException:  # Ctrl-C comes between any two of them: the others follow
            if self._spread_to[lane] == end:
                if marks:
                    member._rare.setdefault("reset", {}).update(marks)
                lengths = [*map(len, lists)]
                none = done == 0 and len({*lengths}) == 1
                for each, part, length in zip(lists, parts, lengths, strict=True):
                    if none or length < max(lengths):
                        each.extend(part)
            raise
        member._bytes += size * len(rows)

    def _of_lane(self, lane: int, raws: Sequence[bytes], dtype: str) -> list[Any]:
        """Return the values of a lane in rows of values of all lanes."""
        rows = np.frombuffer(b"".join(raws), dtype).reshape(len(raws), len(self._members))
        return rows[:, lane].tolist()  # type: ignore[no-any-return]

    def _waiting_of(self, lane: int) -> int:
        """Return the number of a lane's states that are in the rows, and not in its own buffer."""
        with self._lock:
            start = self._spread_to[lane]
            return sum(lane not in each[WITHOUT] for each in islice(self._rows, start, None))

    def _has_own(self, member: _Member) -> bool:
        """Return True if a lane has states in its own buffer."""
        return bool(member._observations or self._spread_to[member.number])

    def _flush_if_full(self, at_once: bool = False) -> None:
        """Flush if a lane has its share of states or bytes, or in any case.

        Raises:
            Conflict, StorageError: see ``Recorder.flush``; the states are kept.
        """
        if at_once:
            self._start_flush()
        if self._left > 0:
            return
        with self._lock:
            self._left = self._rows_left()
        if self._left <= 0:
            self._start_flush()

    def _rows_left(self) -> int:
        """Return how many rows fit before a lane has its share; the lock is held."""
        size = len(self._rows[-1][0]) // len(self._members) if self._rows else 1
        found = 1 << 30
        for member, start in zip(self._members, self._spread_to, strict=True):
            rows = len(self._rows) - start
            states = member._every - rows - len(member._observations)
            left = (member._most - member._bytes) // max(size, 1) + 1 - rows
            found = min(found, states, left)
        return found

    def attach(
        self, lane: int, name: str, data: Any = ABSENT, *, path: str | PathLike[str] | None = None
    ) -> None:
        """Bind data to the newest state of a lane; see ``Recorder.attach``."""
        self._check_open()
        if self._batches:
            self._start_flush()
        self._left = 0  # data counts too
        self._member(lane).attach(name, data, path=path)

    def note(self, lane: int, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata of a lane's run; see ``RunRecorder.note``."""
        self._check_open()
        self._member(lane).note(metadata)

    def _member(self, lane: int) -> _Member:
        """Return the buffer of a lane, without its states in the rows.

        Raises:
            InvalidInput: there is no such lane.
        """
        try:
            return self._members[range(len(self._members))[operator.index(lane)]]
        except (TypeError, IndexError):
            most = len(self._members) - 1
            raise InvalidInput(
                f"lane must be 0 to {most}, got {shown(lane)}", path="lane"
            ) from None

    def append_batch(
        self,
        observation: Any = None,
        action: Any = None,
        reward: Any = None,
        terminated: Any = None,
        truncated: Any = None,
        info: Any = None,
        *,
        reset: Any = None,
    ) -> None:
        """Buffer T states of each lane. What is passed is copied.

        Args:
            observation: an array of shape (lanes, T, …), or a dict of such arrays.
            action: an array of shape (lanes, T, …).
            reward: (lanes, T), real numbers.
            terminated: (lanes, T), bool.
            truncated: (lanes, T), bool.
            info: a dict of arrays of shape (lanes, T, …); an empty dict is recorded as such.
            reset: (lanes, T), bool: True for a reset's state. Such a state has no action, reward
                or flags, whatever the other arrays hold there.

        Raises:
            InvalidInput: shapes do not agree, or a dtype cannot be recorded; nothing was buffered.
        """
        self._check_open()
        if self._rows or any(member.pending for member in self._members):
            self._start_flush()
        given = {
            "observation": observation, "action": action, "reward": reward,
            "terminated": terminated, "truncated": truncated, "info": info, "reset": reset,
        }  # fmt: skip
        if info is not None and not isinstance(info, dict):
            raise InvalidInput(f"info must be a dict, got {shown(info)}", path="info")
        batch = {
            name: _lane_arrays(value, name) for name, value in given.items() if value is not None
        }
        steps = self._check_shapes(batch)
        if not steps:
            return
        with self._lock:
            self._batches.append(batch)
            self._states += steps * len(self._lanes)
        if self._states >= self._policy.every or self._bytes > self._policy.bytes:
            self._start_flush()

    def _check_shapes(self, batch: dict[str, Any]) -> int:
        shapes = set()
        for name, value in batch.items():
            for array in _leaves(value):
                if array.ndim < 2 or array.shape[0] != len(self._lanes):
                    raise InvalidInput(
                        f"{name} must have shape ({len(self._lanes)}, T, …), got {array.shape}",
                        path=name,
                    )
                shapes.add(array.shape[1])
                self._bytes += array.nbytes
        if len(shapes) != 1:
            raise InvalidInput(f"arrays must have equally many steps, got {sorted(shapes)}")
        return int(shapes.pop())

    def _take(self) -> list[Work]:
        with self._lock:
            return self._take_all()

    def _take_all(self) -> list[Work]:
        batches, self._batches, self._states, self._bytes = self._batches, [], 0, 0
        work = []
        for alike in _alike(batches):
            joined = {name: _join([b[name] for b in alike]) for name in alike[0]}
            for number, lane in enumerate(self._lanes):
                work.append(Work(lane, _lane_columns(joined, number)))
        end = len(self._rows)  # more may come meanwhile: this can be the thread of the clock
        whole = self._whole(end)
        for number in range(len(self._members)):
            if number not in whole:
                self._spread(number, end)
        del self._rows[:end]
        self._spread_to = [0] * len(self._members)
        self._left = 0
        for number, member in enumerate(self._members):
            columns, count = whole.get(number, ({}, 0))
            work += [member.take_rows(columns, count)] if count else member._take()
            member.note_states(bool(batches))
        return work

    def _whole(self, end: int) -> dict[int, tuple[Columns, int]]:
        """Return the columns, and their length, of the lanes that have states in the rows only.

        Args:
            end: the number of the rows.
        """
        lanes = [each.number for each in self._members if not self._has_own(each)]
        if not end or not lanes:
            return {}
        first = self._members[lanes[0]]
        assert first._dtype is not None, "rows are of the form of all lanes"
        rows = LaneColumns(self._rows[:end], first._dtype, first._shape, len(self._members))
        return {lane: rows.of(lane) for lane in lanes}


def _lane_arrays(value: Any, name: str) -> Any:
    """Return a copy of arrays, or of a dict of arrays."""
    if isinstance(value, dict):
        return {
            coerce_key(key, name): _lane_arrays(item, f"{name}.{key}")
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise InvalidInput(f"{name} must be an array: {error}", path=name) from None
    array = coerce(value, name)
    if not isinstance(array, np.ndarray):
        kind = type(value).__name__
        raise InvalidInput(f"{name} must be an array, got a value of type '{kind}'", path=name)
    if name == "reward":
        exact = None if array.dtype.kind not in "iuf" else exact_cast(array, np.dtype("<f8"))
        if exact is None:
            raise InvalidInput("reward must fit float64 exactly; convert it first", path=name)
        return exact
    if name in ("terminated", "truncated", "reset") and array.dtype != np.bool_:
        raise InvalidInput(f"{name} must be an array of bool, got dtype {array.dtype}", path=name)
    return array


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [value]


def _form(value: Any) -> Any:
    """Return the dtypes and shapes that must agree for batches to be joined."""
    if isinstance(value, dict):
        return {name: _form(item) for name, item in value.items()}
    return value.dtype, value.shape[2:]


def _alike(batches: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Group consecutive batches of the same fields, dtypes and shapes."""
    groups: list[list[dict[str, Any]]] = []
    for batch in batches:
        if groups and _form(groups[-1][0]) == _form(batch):
            groups[-1].append(batch)
        else:
            groups.append([batch])
    return groups


def _join(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {name: _join([value[name] for value in values]) for name in values[0]}
    return values[0] if len(values) == 1 else np.concatenate(values, axis=1)


def _lane_columns(joined: dict[str, Any], number: int) -> Columns:
    """Return the columns of one lane."""
    reset = joined["reset"][number] if "reset" in joined else None
    stepped = None if reset is None or not reset.any() else np.flatnonzero(~reset)
    columns: dict[str, Column] = {}
    for name, value in joined.items():
        if name == "reset":
            if reset is not None and stepped is not None:
                columns["reset"] = [{} if mark else ABSENT for mark in reset.tolist()]
            continue
        only = stepped if name in ("action", "reward", "terminated", "truncated") else None
        if isinstance(value, dict) or value.dtype.kind in "SU":
            steps = next(int(leaf.shape[1]) for each in joined.values() for leaf in _leaves(each))
            columns[name] = _value_column(value, number, steps)
            if only is not None and reset is not None:
                pairs = zip(columns[name], reset.tolist(), strict=True)  # type: ignore[arg-type]
                columns[name] = [ABSENT if mark else each for each, mark in pairs]
        else:
            columns[name] = DenseColumn(value[number], only)
    return columns


def _value_column(value: Any, number: int, steps: int) -> list[Any]:
    """Return a column of one value a state: dicts, strings, NumPy scalars or arrays."""
    if not isinstance(value, dict):
        each = value[number]
        # a single string is Python's own, as it is where states are appended one by one
        return each.tolist() if each.ndim == 1 and each.dtype.kind in "SU" else list(each)
    if not value:
        return [{} for _ in range(steps)]
    columns = {key: _value_column(item, number, steps) for key, item in value.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
