"""Transitions and sequences of a dataset: indexed by number, given as columns.

Alignment: ``observations`` are those that the ``actions`` were chosen from. Recorded states hold
the action that led *to* them, so these two come from successive states; ``next_observations``,
``terminations`` and ``truncations`` are of the state after. The value of the next observation
counts unless the episode *terminated*: truncation does not mask it (see ``discounts``).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from simgit.datasets.blocks import RowColumns
from simgit.datasets.packages import needed
from simgit.datasets.sampling import MOST, EpochSampler, Priorities, draw, generator
from simgit.datasets.transforms import Transform, changed
from simgit.errors import InvalidInput, shown
from simgit.history.column_reader import Leaves
from simgit.history.leaf_column import UNFILLED, Column, Mask
from simgit.history.paths import FieldPath, as_path, path_text
from simgit.history.spans import Positions, StepIndex, discounts, summed_rewards
from simgit.history.windows import map_leaves
from simgit.objects.arguments import checked_methods
from simgit.objects.coerce import check_number

_FLAGS: Final = ("terminated", "truncated")
Batch = dict[str, Column]


@checked_methods
class Steps:
    """Transitions or sequences by number, and their columns."""

    def __init__(
        self,
        columns: RowColumns,
        index: StepIndex,
        fields: Sequence[str],
        transforms: Sequence[Transform],
    ) -> None:
        """Note what there is; nothing is read.

        Args:
            columns: the fields of the states.
            index: which there are.
            fields: the fields that batches have, beside reward and flags.
            transforms: what is done to them.
        """
        self._columns = columns
        self.index = index
        self.fields = tuple(fields)
        self._transforms = list(transforms)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Any) -> Batch:
        """Return the columns of some of them: by number, slice, array of numbers, or mask."""
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            number = operator.index(key)
            if not -len(self) <= number < len(self):
                raise IndexError(f"number {number} is out of range: there are {len(self)}")
            batch = self.batch(np.array([number % len(self)]))
            return {name: map_column(column, lambda one: one[0]) for name, column in batch.items()}
        return self.batch(self.numbers(key))

    def numbers(self, key: Any) -> Positions:
        """Return the numbers that a slice, an array or a list of numbers, or a mask means.

        Raises:
            InvalidInput: it is something else.
            IndexError: there is none of a number.
        """
        if isinstance(key, slice):
            try:
                return np.arange(len(self), dtype=np.int64)[key]
            except TypeError:
                raise InvalidInput(f"cannot slice by {shown(key)}") from None
        try:
            found = np.asarray(key)
        except (TypeError, ValueError):
            found = np.empty(0, object)
        if found.dtype == bool and found.shape == (len(self),):
            return np.flatnonzero(found).astype(np.int64)
        if not found.size and found.dtype.kind == "f":
            found = found.astype(np.int64)
        if found.dtype.kind not in "iu" or found.ndim != 1:
            raise InvalidInput(f"an index must be numbers, a slice or a mask, got {shown(key)}")
        count = len(self)
        if found.size and not (-count <= int(found.min()) and int(found.max()) < count):
            raise IndexError(f"a number is out of range: there are {count}")
        return np.where(found < 0, found + count, found).astype(np.int64)

    def __getitems__(self, numbers: Sequence[int]) -> Batch:
        """Return the columns of some of them (what torch asks a dataset for)."""
        return self.batch(self.numbers(numbers))

    def batch(self, numbers: Positions) -> Batch:
        """Return the columns of those with some numbers, which are not checked."""
        raise NotImplementedError

    def sample(
        self,
        count: int,
        seed: int | None = None,
        *,
        by: Literal["uniform", "episode", "priority"] = "uniform",
        beta: float = 1.0,
    ) -> Batch:
        """Return the columns of some that are drawn at random, with replacement.

        Args:
            count: how many.
            seed: of the random numbers; None for other ones each time.
            by: each equally often ("uniform"), each episode equally often ("episode"), or after
                ``priorities``; then there are also ``numbers``, whose priorities can be changed,
                and ``weights``.
            beta: how far the weights make up for the priorities.

        Raises:
            InvalidInput: there are none; or a number is out of range.
        """
        count = check_number(count, "count", 0, most=MOST, whole=True)
        random = generator(seed)
        if by == "priority":
            numbers, weights = self.priorities.draw(count, random, beta)
            return self.batch(numbers) | {"numbers": numbers, "weights": weights}
        return self.batch(draw(self.index, count, random, by))

    @property
    def row_bytes(self) -> int:
        """About how many bytes the fields of one state take."""
        return self._columns.row_bytes

    @cached_property
    def priorities(self) -> Priorities:
        """The priorities by which ``sample(by="priority")`` draws; all are equal at first."""
        return Priorities(len(self))

    def sampler(
        self,
        batch: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        window: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> EpochSampler:
        """Return a sampler of batches of numbers, each once an epoch, whose place can be saved.

        Args:
            batch: numbers in a batch.
            seed: of the order.
            shuffle: False for the order of the states.
            drop_last: leave out a last batch that is smaller.
            window: shuffle so many numbers at a time, for data larger than memory.
            rank: which of ``ranks`` processes this is, each of which has equally many others.
            ranks: how many there are.

        Raises:
            InvalidInput: a number is out of range.
        """
        return EpochSampler(len(self), batch, seed, shuffle, drop_last, window, rank, ranks)

    def to_torch(self) -> Any:
        """Return a dataset for torch's DataLoader, of tensors; see ``simgit.datasets.torch``.

        Raises:
            NotFound: torch is not installed.
        """
        return needed("simgit.datasets.torch", "to_torch()").TorchDataset(self)

    def _field(self, path: FieldPath, positions: Positions, fill: Any = UNFILLED) -> Column:
        rows = self._columns.layout.rows_at(positions)
        found: Leaves = self._columns.take(path, rows)
        column = map_leaves(found, lambda leaf: leaf.filled(fill))
        return changed(column, path, self._transforms) if self._transforms else column

    def _rewards(self, positions: Positions) -> npt.NDArray[np.float64]:
        if not self._columns.has(("reward",)):
            return np.zeros(positions.shape)
        found: npt.NDArray[np.float64] = self._field(("reward",), positions, 0.0)
        return found

    def _flag(self, name: str, positions: Positions) -> Mask:
        if not self._columns.has((name,)):
            return np.zeros(positions.shape, bool)
        found: Mask = self._field((name,), positions, False)
        return found

    def _fields(self, before: Positions, first: Positions, last: Positions) -> Batch:
        """Return the fields, beside reward and flags: observations, and what is in them, of the
        states before and of the last ones, others of the states that the first actions led to.
        """
        found: Batch = {}
        for name in self.fields:
            path = as_path(name)
            if path[0] == "observation":
                names = name.replace("observation", "observations", 1)
                found[names] = self._field(path, before)
                found[f"next_{names}"] = self._field(path, last)
            elif name not in ("reward", *_FLAGS):
                named = name.replace("action", "actions", 1) if path[0] == "action" else name
                found[named] = self._field(path, first)
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self):,}: {', '.join(self.fields)}>"


class Transitions(Steps):
    """The transitions of a dataset, over one or several steps each.

    A batch has ``observations`` (that the action was chosen from), ``actions``, ``rewards`` (summed
    and discounted over the steps), ``next_observations`` (after the last step), ``terminations``,
    ``truncations`` and ``discounts`` (what the value of the next observation counts: 0 where the
    episode terminated, but not where it was truncated). Other fields are those of the state that
    the first action led to. Nothing goes from one episode into the next.
    """

    def __init__(self, *arguments: Any, n_step: int = 1, gamma: float = 1.0) -> None:
        super().__init__(*arguments)
        self.n_step = n_step
        self.gamma = gamma

    def batch(self, numbers: Positions) -> Batch:
        """Return the columns of those with some numbers, which are not checked."""
        before, last = self.index.at(numbers)
        found = self._fields(before, before + 1, last)
        found["rewards"] = summed_rewards(self._rewards, before, last, self.gamma)
        found["terminations"] = self._flag("terminated", last)
        found["truncations"] = self._flag("truncated", last)
        found["discounts"] = discounts(last - before, found["terminations"], self.gamma)
        return found


class Sequences(Steps):
    """Sequences of steps of one episode each, for recurrent and sequence models.

    Columns have shape (batch, burn_in + length, …). The t-th entry of ``observations`` is what the
    t-th of ``actions`` was chosen from; ``rewards``, ``next_observations``, ``terminations`` and
    ``truncations`` are what the action led to. ``mask`` is True for real steps; the rest is zeros
    (None in lists). ``loss_mask`` is True for the steps to learn from: real, after the burn-in, and
    such that the dataset's condition holds. ``firsts`` marks an episode's first step.
    """

    def __init__(
        self, *arguments: Any, length: int, burn_in: int = 0, counts: Mask | None = None
    ) -> None:
        super().__init__(*arguments)
        self.length = length
        self.burn_in = burn_in
        self._counts = counts

    def batch(self, numbers: Positions) -> Batch:
        """Return the columns of those with some numbers, which are not checked."""
        start, end = self.index.at(numbers)
        first = self.index.span_starts(numbers)
        at = start[:, None] + np.arange(-self.burn_in, self.length)
        mask = (at >= first[:, None]) & (at < end[:, None])
        before = np.clip(at, first[:, None], end[:, None] - 1)
        after = before + 1
        found = self._fields(before, after, after)
        found["rewards"] = self._rewards(after)
        found["terminations"] = self._flag("terminated", after)
        found["truncations"] = self._flag("truncated", after)
        if not mask.all():
            found = {name: map_column(each, _padding(mask)) for name, each in found.items()}
        learn = mask.copy()
        learn[:, : self.burn_in] = False
        if self._counts is not None:
            learn &= self._counts[self._columns.layout.rows_at(after)]
        found |= {"mask": mask, "loss_mask": learn, "firsts": mask & (at == first[:, None])}
        return found


def map_column(column: Column, change: Callable[[Any], Any]) -> Column:
    """Return a nested column with every array and list in it changed."""
    if isinstance(column, dict):
        return {name: map_column(below, change) for name, below in column.items()}
    if isinstance(column, tuple):
        return tuple(map_column(below, change) for below in column)
    return change(column)


def _padding(mask: Mask) -> Callable[[Any], Any]:
    """Return a function that puts zeros (or None) where a mask is False."""

    def pad(column: Any) -> Any:
        if isinstance(column, np.ma.MaskedArray):
            data = np.where(_wide(mask, column), column.data, np.zeros((), column.dtype))
            return np.ma.MaskedArray(data, column.mask & _wide(mask, column))
        if isinstance(column, np.ndarray):
            return np.where(_wide(mask, column), column, np.zeros((), column.dtype))
        return [
            [value if real else None for value, real in zip(row, reals, strict=True)]
            for row, reals in zip(column, mask.tolist(), strict=True)
        ]

    return pad


def _wide(mask: Mask, column: npt.NDArray[Any]) -> Mask:
    return mask.reshape(mask.shape + (1,) * (column.ndim - mask.ndim))


def field_names(fields: Sequence[str]) -> tuple[str, ...]:
    """Return fields as they are written in a definition, each once.

    Raises:
        InvalidInput: one is no path.
    """
    return tuple(dict.fromkeys(path_text(as_path(name)) for name in fields))
