"""Datasets for torch: batches of tensors, loaded by workers, and resumed within an epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from simgit.datasets.batches import Steps, map_column
from simgit.datasets.sampling import EpochSampler
from simgit.errors import InvalidInput
from simgit.history.leaf_column import Column

_PIPED: Final = 256 << 10
"""The bytes up to which a pipe is faster than shared memory, of which a file must be made."""
_MOST: Final = 8
"""The most batches that a worker loads together."""
Tensors = Any
"""A tensor, or a list of what is no number, or a dict or tuple of these."""


class TorchBatch(dict[str, Any]):
    """Columns of a batch as tensors, which another process gets as one piece of memory."""

    def __reduce__(self) -> tuple[Any, ...]:
        found: list[torch.Tensor] = []
        frame = map_tensors(dict(self), lambda each: _note(each, found))
        sizes = [each.numel() * each.element_size() for each in found]
        # each tensor begins at a multiple of 16 bytes, so that it can be of any dtype
        starts = np.concatenate([[0], np.cumsum([-(-size // 16) * 16 for size in sizes])])
        small = bytearray(int(starts[-1])) if 0 < starts[-1] <= _PIPED else None
        packed = (
            torch.empty(int(starts[-1]), dtype=torch.uint8)
            if small is None
            else torch.frombuffer(small, dtype=torch.uint8)
        )
        for each, start, size in zip(found, starts.tolist(), sizes, strict=False):
            packed[start : start + size] = each.contiguous().reshape(-1).view(torch.uint8)
        layout = [
            (start, size, each.dtype, tuple(each.shape))
            for each, start, size in zip(found, starts.tolist(), sizes, strict=False)
        ]
        return _unpacked, (frame, packed if small is None else small, layout)


class _Place:
    """The place of a tensor in a packed batch."""

    def __init__(self, number: int) -> None:
        self.number = number


def _note(tensor: torch.Tensor, found: list[torch.Tensor]) -> _Place:
    found.append(tensor)
    return _Place(len(found) - 1)


def _unpacked(
    frame: dict[str, Any], given: torch.Tensor | bytearray, layout: Sequence[Any]
) -> TorchBatch:
    packed = (
        given if isinstance(given, torch.Tensor) else torch.frombuffer(given, dtype=torch.uint8)
    )
    tensors = [
        packed[start : start + size].view(dtype).reshape(shape)
        for start, size, dtype, shape in layout
    ]
    return TorchBatch(_put(frame, tensors))


def _put(frame: Any, tensors: Sequence[torch.Tensor]) -> Any:
    if isinstance(frame, dict):
        return {name: _put(each, tensors) for name, each in frame.items()}
    if isinstance(frame, tuple):
        return tuple(_put(each, tensors) for each in frame)
    return tensors[frame.number] if isinstance(frame, _Place) else frame


def map_tensors(column: Any, change: Any) -> Any:
    """Return nested columns with every tensor in them changed."""
    return map_column(column, lambda each: change(each) if isinstance(each, torch.Tensor) else each)


def to_tensors(column: Column) -> Tensors:
    """Return nested columns as tensors; lists stay lists.

    Raises:
        InvalidInput: a column has states without a value among integers or flags.
    """
    return map_column(column, _tensor)


def _tensor(column: Any) -> Any:
    if isinstance(column, np.ma.MaskedArray):
        if np.ma.getmaskarray(column).any():
            raise InvalidInput(
                "a column of integers or flags has states without a value, which a tensor cannot "
                "have; choose other fields, or a condition"
            )
        column = column.data
    if isinstance(column, np.generic):
        column = np.asarray(column)
    if not isinstance(column, np.ndarray) or column.dtype.kind not in "biufc":
        return column.tolist() if isinstance(column, np.ndarray) else column
    column = np.asarray(column, order="C")  # not ascontiguousarray, which adds an axis to a number
    return torch.from_numpy(column if column.flags.writeable else column.copy())


class TorchDataset(Dataset[Any]):
    """A map-style dataset over transitions or sequences, whose items are dicts of tensors.

    Observations are those that actions were chosen from (see ``Transitions``). It can be given to
    workers of any start method: each opens the repository anew, and reads the same states, even
    if runs have grown since. Give ``collate_fn=collate`` to a DataLoader, or use ``loader``: then a
    batch is taken at once and not item by item.
    """

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, number: int) -> Any:
        return to_tensors(self.steps[number])

    def __getitems__(self, numbers: Sequence[int]) -> _Items:
        """Return the items of a batch, which are taken together."""
        return _Items(self.steps.__getitems__(numbers))

    def loader(
        self,
        batch: int = 256,
        *,
        workers: int = 0,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        window: int = 0,
        rank: int = 0,
        ranks: int = 1,
        **options: Any,
    ) -> TorchLoader:
        """Return a loader of batches, whose place in an epoch can be saved.

        Args:
            batch: items in a batch.
            workers: processes that load ahead; 0 to load in this one.
            seed: of the order.
            shuffle: False for the order of the states.
            drop_last: leave out a last batch that is smaller.
            window: shuffle so many items at a time, for data larger than memory.
            rank: which of ``ranks`` processes this is (of torch.distributed), each of which has
                equally many others; give all the same seed.
            ranks: how many there are.
            options: others of torch's DataLoader, such as ``pin_memory``.

        Raises:
            InvalidInput: a number is out of range.
        """
        sampler = self.steps.sampler(
            batch, seed=seed, shuffle=shuffle, drop_last=drop_last, window=window,
            rank=rank, ranks=ranks,
        )  # fmt: skip
        return TorchLoader(self, sampler, workers, options)


class _Items(Sequence[Any]):
    """The items of a batch: one by one for torch's own collate, or as columns for ``collate``."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns["rewards"])

    def __getitem__(self, i: Any) -> Any:
        return to_tensors(
            {name: map_column(each, lambda one: one[i]) for name, each in self.columns.items()}
        )


def collate(items: Any) -> TorchBatch:
    """Return a batch as tensors with a leading axis."""
    if isinstance(items, _Items):
        return TorchBatch(to_tensors(dict(items.columns)))
    return TorchBatch(torch.utils.data.default_collate(list(items)))


class _Groups(Sampler[Any]):
    """Several batches at a time, which a worker loads together: passing on costs more than that."""

    def __init__(self, sampler: EpochSampler, most: int) -> None:
        self.sampler = sampler
        self.most = most

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.most)

    def __iter__(self) -> Iterator[Any]:
        batches = self.sampler.batches()
        while group := list(itertools.islice(batches, self.most)):
            yield np.concatenate(group)


def _cut(group: TorchBatch, start: int, stop: int) -> TorchBatch:
    """Return one batch of several, whose tensors are views."""
    return TorchBatch(
        {name: map_column(each, lambda one: one[start:stop]) for name, each in group.items()}
    )


class TorchLoader:
    """Batches of tensors, epoch by epoch; iterating gives what is left of the present epoch.

    Attributes:
        sampler: the order.
    """

    def __init__(
        self,
        dataset: TorchDataset,
        sampler: EpochSampler,
        workers: int,
        options: Mapping[str, Any],
    ) -> None:
        self.sampler = sampler
        self._epoch, self._seen = sampler.epoch, sampler.taken
        more = {"persistent_workers": workers > 0, **options}
        each = 2 * sampler.batch * dataset.steps.row_bytes  # observations are there twice
        groups = _Groups(sampler, max(1, min(_MOST, _PIPED // max(1, each))) if workers else 1)
        self._loader: DataLoader[Any] = DataLoader(
            dataset, batch_sampler=groups, num_workers=workers, collate_fn=collate, **more
        )

    def __len__(self) -> int:
        """Return the batches of a whole epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[TorchBatch]:
        place = self.state_dict()  # an epoch of which all batches were seen is over
        self._epoch, self._seen = self.sampler.epoch, self.sampler.taken = (
            place["epoch"],
            place["taken"],
        )
        size = self.sampler.batch
        for group in self._loader:
            count = len(group["rewards"])
            for at in range(0, count, size):
                self._seen += 1
                yield group if count <= size else _cut(group, at, at + size)
        self._epoch, self._seen = self._epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the place after the batches that were given out, as plain values."""
        epoch, seen = self._epoch, self._seen
        if len(self) and seen >= len(self):
            epoch, seen = epoch + 1, 0
        return {**self.sampler.state(), "epoch": epoch, "taken": seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume at a place, exactly: the next iteration gives the batches that come after it.

        Raises:
            InvalidInput: the state is of another dataset, seed or size of batches.
        """
        self.sampler.load(state)
        self._epoch, self._seen = self.sampler.epoch, self.sampler.taken
