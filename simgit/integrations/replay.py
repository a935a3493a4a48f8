"""Replay buffers as references to the recorded steps that they hold. See docs/torch.md.

Each row of a buffer is looked for among the transitions of the recorded runs and compared with the
one found, bit by bit. What is equal is stored as ranges of steps, what is not as bytes: a buffer
that holds something else is stored all the same, only larger. The comparison is repeated for the
rows that changed since; blocks of rows are hashed to find out which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from simgit.errors import Divergence, IntegrityError, InvalidInput, SimgitError
from simgit.integrations.matching import (
    RowMatches,
    block_hash,
    chunks,
    matched,
    no_transitions,
)
from simgit.integrations.rings import Element, Ring, holder_of
from simgit.integrations.transitions import Ints, RecordedTransitions, predicted
from simgit.objects.oid import OID_SIZE, Oid
from simgit.repository import Repository

FORM: Final = 1


class Replay:
    """A replay buffer whose rows are stored as references to recorded steps.

    It is one of Stable-Baselines3, sb3-contrib, CleanRL or TorchRL, or a deque or list of tuples,
    lists or dicts.
    """

    def __init__(self, buffer: Any, element: Element | None = None) -> None:
        """Take a buffer, which is restored in place.

        Args:
            buffer: the buffer.
            element: for a deque or list of objects of one class, such as a named tuple: called
                with the fields of an element, in order.

        Raises:
            InvalidInput: it is a buffer of an unknown kind.
        """
        self._holder = holder_of(buffer, element)
        self._known: RowMatches | None = None
        self._histories: list[RecordedTransitions] = []

    def save(self, repo: Repository, tips: Sequence[Oid]) -> dict[str, Any]:
        """Return the buffer's content as plain data, which ``load`` takes.

        The data refer to the histories of ``tips``: whoever stores them names these states in an
        entry ``@states`` beside them, so that they are kept as long as the data are.

        Args:
            repo: the repository; what is recorded must be flushed.
            tips: the newest state of each environment, in order.

        Raises:
            InvalidInput: the buffer holds something that cannot be stored.
            NotFound: no such state.
        """
        ring = self._holder.ring()
        before = self._histories if len(self._histories) == len(tips) else [None] * len(tips)
        histories = [
            RecordedTransitions(repo, Oid(tip), older)
            for tip, older in zip(tips, before, strict=True)
        ]
        self._histories = histories
        known = self._known
        if (
            known is None
            or len(known.step) != ring.rows
            or known.roles.keys() != ring.columns.keys()
        ):
            known = RowMatches({}, *no_transitions(ring.rows), {})
        known = self._known = matched(ring, histories, known)
        held = ring.held
        stored = {
            name: _strays(ring, name, mask & held) for name, mask in known.stray.items()
        }  # fmt: skip
        return {
            "form": FORM,
            "slots": ring.slots, "lanes": ring.lanes,
            "count": ring.count, "position": ring.position,
            "columns": {
                name: [known.roles[name], column.dtype.str, list(column.shape[2:])]
                for name, column in ring.columns.items()
            },
            "pieces": _pieces(ring, histories, known),
            "histories": [bytes(tip) for tip in tips],
            "bytes": {name: each for name, each in stored.items() if each is not None},
            "rest": ring.rest,
            "digest": _digest(known.blocks),
        }  # fmt: skip

    def load(self, repo: Repository, data: Mapping[str, Any]) -> None:
        """Fill the buffer with what ``save`` returned, bit by bit.

        Raises:
            InvalidInput: the buffer has another size, or other columns.
            NotFound: a recorded state is missing.
            Divergence: what is recorded is not what the buffer held.
            IntegrityError: the data are malformed.
        """
        try:
            if data["form"] != FORM:
                raise InvalidInput(f"replay buffer of unknown form {data['form']}")
            ring = self._holder.empty(data)
            _check_shape(ring, data)
            histories = [RecordedTransitions(repo, _oid(tip)) for tip in data["histories"]]
            known = RowMatches(
                {name: str(each[0]) for name, each in data["columns"].items()},
                *no_transitions(ring.rows), {},
            )  # fmt: skip
            _place(np.asarray(data["pieces"], np.int64).reshape(-1, 6), histories, known)
            known.stray = dict.fromkeys(ring.columns, known.step < 0)
            _fill(ring, histories, known)
            for name, stray in data["bytes"].items():
                _put_strays(ring, name, stray, known)
        except SimgitError:
            raise
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise IntegrityError(f"malformed replay buffer: {error!r}") from None
        known.blocks = {number: block_hash(ring, number) for number in ring.blocks()}
        if _digest(known.blocks) != data["digest"]:
            raise Divergence("the replay buffer is not what the recorded states say it was")
        self._holder.put(ring)
        self._known = known


def _oid(value: Any) -> Oid:
    if not isinstance(value, bytes) or len(value) != OID_SIZE:
        raise ValueError("a history without an oid")
    return Oid(value)


def _check_shape(ring: Ring, data: Mapping[str, Any]) -> None:
    """Check that a buffer is of the size and columns that are stored.

    Raises:
        InvalidInput: it is not.
    """
    found: dict[str, Any] = {"slots": ring.slots, "lanes": ring.lanes}
    found |= {name: [each.dtype.str, list(each.shape[2:])] for name, each in ring.columns.items()}
    stored: dict[str, Any] = {name: data[name] for name in ("slots", "lanes")}
    stored |= {name: [each[1], list(each[2])] for name, each in data["columns"].items()}
    for name in sorted(found.keys() | stored.keys()):
        if found.get(name) != stored.get(name):
            raise InvalidInput(
                f"the checkpoint's replay buffer has {name} {stored.get(name)}, this one has "
                f"{found.get(name)}",
                path=f"replay.{name}",
            )


# --- storing -------------------------------------------------------------------------------------


def _pieces(ring: Ring, histories: Sequence[RecordedTransitions], known: RowMatches) -> Ints:
    """Return the ranges of steps: (row, stride, rows, history, first step, step after the last)."""
    strides = [1] if ring.lanes == len(histories) else [1, len(histories)]
    found = [_in_pieces(ring, histories, known, stride) for stride in dict.fromkeys(strides)]
    return min(found, key=len)


def _in_pieces(
    ring: Ring, histories: Sequence[RecordedTransitions], known: RowMatches, stride: int
) -> Ints:
    rows = np.flatnonzero((known.step >= 0) & ring.held)
    if stride > 1:  # those of one turn after another
        rows = rows[np.lexsort((rows, (rows % ring.slots) % stride, rows // ring.slots))]
    if not len(rows):
        return np.zeros((0, 6), np.int64)
    history, step = known.history[rows], known.step[rows]
    follows = (np.diff(rows) == stride) & (np.diff(history) == 0)
    if ring.lanes > 1:
        follows &= np.diff(rows // ring.slots) == 0
    doubtful = np.flatnonzero(follows & (np.diff(step) != 1))  # a reset between them, or more
    for number, each in enumerate(histories):
        mine = doubtful[history[doubtful] == number]
        if len(mine):
            pair = step[mine], step[mine + 1]
            steps = each.between(int(np.min(pair)), int(np.max(pair)) + 1)
            follows[mine] = np.diff(np.searchsorted(steps, pair), axis=0)[0] == 1
    starts = np.flatnonzero(np.concatenate([[True], ~follows]))
    ends = np.append(starts[1:], len(rows)) - 1
    columns = (
        rows[starts], np.full(len(starts), stride), ends - starts + 1, history[starts],
        step[starts], step[ends] + 1,
    )  # fmt: skip
    return np.stack(columns, axis=1).astype(np.int64)


def _place(pieces: Ints, histories: Sequence[RecordedTransitions], known: RowMatches) -> None:
    """Note the transitions of stored pieces.

    Raises:
        ValueError: a piece does not fit the buffer, or its history.
    """
    for row, stride, count, history, first, stop in pieces.tolist():
        rows = row + stride * np.arange(count if 0 <= count <= len(known.step) else 0)
        steps = histories[history].between(first, stop)
        if len(steps) != count or stride < 1 or row < 0 or rows[-1] >= len(known.step):
            raise ValueError("a range of steps that does not fit")
        known.history[rows], known.step[rows] = history, steps


def _fill(ring: Ring, histories: Sequence[RecordedTransitions], known: RowMatches) -> None:
    rows = np.flatnonzero(known.step >= 0)
    for part, parts in chunks(histories, rows, known.history[rows], known.step[rows]):
        lane, slot = np.divmod(part, ring.slots)
        for name, column in ring.columns.items():
            found = predicted(known.roles[name], parts, ring.take(column, part), ring.bounds)
            if found is None:
                known.stray[name][part] = True
            else:
                column[slot, lane] = found


def _strays(ring: Ring, name: str, mask: npt.NDArray[np.bool_]) -> dict[str, Any] | None:
    """Return the rows of a column that are stored as bytes; all of them if they are many."""
    column, rows = ring.columns[name], np.flatnonzero(mask)
    if not len(rows):
        return None
    if len(rows) * 2 > int(ring.held.sum()):
        return {"values": column}
    return {"rows": rows, "values": ring.take(column, rows)}


def _put_strays(ring: Ring, name: str, stray: Mapping[str, Any], known: RowMatches) -> None:
    column, values = ring.columns[name], np.asarray(stray["values"])
    if values.dtype != column.dtype:
        raise ValueError(f"column '{name}' of another dtype")
    if "rows" not in stray:
        column[...] = values.reshape(column.shape)
        known.stray[name][:] = True
        return
    rows = np.asarray(stray["rows"], np.int64)
    lane, slot = np.divmod(rows, ring.slots)
    column[slot, lane] = values
    known.stray[name][rows] = True


def _digest(blocks: Mapping[int, bytes]) -> bytes:
    return blake3(b"".join(blocks[number] for number in sorted(blocks))).digest()
