"""Which transitions or sequences come next: drawn at random, by priority, or in epochs.

An epoch's order follows from the seed and the number of the epoch alone, so that its place is two
numbers, and it goes on exactly from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput, shown
from simgit.history.spans import Positions, StepIndex
from simgit.objects.arguments import check_argument, checked_methods
from simgit.objects.coerce import check_number

Floats = npt.NDArray[np.float64]
MOST: Final = 1 << 24
"""Items that are drawn at once; more is a mistake, and would fill the memory."""
_RUNS: Final = 16
"""Runs of consecutive numbers in a window."""
_SETTINGS: Final = ("count", "batch", "seed", "shuffle", "drop_last", "window", "ranks")
"""The settings of a sampler on which its order depends."""


def draw(index: StepIndex, count: int, random: np.random.Generator, by: str) -> Positions:
    """Return numbers of what an index has, drawn with replacement.

    Args:
        index: the transitions or sequences.
        count: how many are drawn.
        random: draws them.
        by: "uniform", or "episode" to draw an episode first, each as often, then one of it.

    Raises:
        InvalidInput: there are none.
    """
    if count and not len(index):
        raise InvalidInput("the dataset is empty: there is nothing to draw")
    if by == "uniform":
        return random.integers(0, max(1, len(index)), count)
    spans = index.spans_with_any()
    chosen = spans[random.integers(0, max(1, len(spans)), count)] if count else spans[:0]
    return index.of_spans(chosen, random.random(count))


def generator(seed: int | None) -> np.random.Generator:
    """Return a generator of a seed, or of one that the system gives.

    Raises:
        InvalidInput: the seed is negative.
    """
    if seed is not None and seed < 0:
        raise InvalidInput(f"seed must be 0 or more, got {shown(seed)}")
    return np.random.default_rng(seed)


@checked_methods
class Priorities:
    """Priorities of transitions in a tree of sums: drawing and changing one take log n.

    A number is drawn with a probability of its priority to the power of ``alpha`` in the sum.
    """

    def __init__(self, count: int, alpha: float = 0.6) -> None:
        """Give ``count`` transitions the priority 1."""
        self.alpha = check_number(alpha, "alpha", 0)
        self._count = count
        self._leaves = 1 << max(0, count - 1).bit_length()
        self._tree: Floats = np.zeros(2 * self._leaves)
        self._priorities: Floats = np.ones(count)
        self._fill()

    def _fill(self) -> None:
        self._tree[self._leaves : self._leaves + self._count] = self._priorities**self.alpha
        low = self._leaves // 2
        while low:
            self._tree[low : 2 * low] = self._tree[2 * low : 4 * low].reshape(-1, 2).sum(axis=1)
            low //= 2

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> Floats:
        """The priorities by number, for ``Repository.attach``; give them back by ``load``."""
        return self._priorities.copy()

    def load(self, values: Any) -> None:
        """Take over priorities by number.

        Raises:
            InvalidInput: they are not as many numbers of 0 or more.
        """
        given = _floats(values)
        if given.shape != (self._count,):
            raise InvalidInput(f"priorities must have shape ({self._count},), got {given.shape}")
        self._check(given)
        self._priorities = given
        self._fill()

    def _check(self, given: Floats) -> None:
        with np.errstate(over="ignore"):
            if not np.isfinite(given.max(initial=0) ** self.alpha * self._count):
                raise InvalidInput("the sum of such priorities is not finite: scale them down")

    def update(self, numbers: Any, values: Any) -> None:
        """Change the priorities of some numbers; of a number that stands twice the last one counts.

        Raises:
            InvalidInput: a number is out of range, or a priority is not a number of 0 or more.
        """
        at, given = _floats(numbers), _floats(values)
        if at.shape != given.shape or at.ndim != 1:
            raise InvalidInput("priorities and their numbers must be two lists of equal length")
        if at.size and not (at.max() < self._count and (at == np.floor(at)).all()):
            raise InvalidInput(f"a number is out of range: there are {self._count}")
        self._check(given)
        where = at.astype(np.int64)
        self._priorities[where] = given
        nodes = np.unique(where) + self._leaves
        self._tree[nodes] = self._priorities[nodes - self._leaves] ** self.alpha
        while len(nodes) and nodes[0] > 1:
            nodes = np.unique(nodes // 2)
            self._tree[nodes] = self._tree[2 * nodes] + self._tree[2 * nodes + 1]

    def draw(
        self, count: int, seed: int | np.random.Generator | None = None, beta: float = 1.0
    ) -> tuple[Positions, Floats]:
        """Return drawn numbers and their weights, by which what they were drawn too often counts.

        Args:
            count: how many are drawn.
            seed: of the random numbers, or their generator.
            beta: 1 for weights that make up for the priorities, 0 for weights of 1.

        Raises:
            InvalidInput: no number has a priority above 0.
        """
        count = check_number(count, "count", 0, most=MOST, whole=True)
        random = seed if isinstance(seed, np.random.Generator) else generator(seed)
        total = float(self._tree[1])
        if count and not total > 0:
            raise InvalidInput("no priority is above 0: there is nothing to draw")
        # one from each of equal parts of the sum, as is usual
        left = (np.arange(count) + random.random(count)) * (total / max(1, count))
        node = np.ones(count, np.int64)
        while len(node) and node[0] < self._leaves:
            node *= 2
            low = self._tree[node]
            right = (left >= low) & (self._tree[node + 1] > 0)
            left = np.where(right, left - low, left)
            node += right
        numbers = node - self._leaves
        chance = self._tree[node] / max(total, np.finfo(float).tiny)
        weights = (self._count * np.maximum(chance, np.finfo(float).tiny)) ** -float(beta)
        return numbers, weights / weights.max() if count else weights


def _floats(values: Any) -> Floats:
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"must be numbers, got {shown(values)}") from None
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise InvalidInput("must be finite numbers of 0 or more")
    return found


@checked_methods
class EpochSampler:
    """Batches of numbers, each once an epoch, in an order that can be resumed.

    Iterating yields what is left of an epoch, batch by batch, and then begins the next epoch. The
    state counts the batches that were taken; torch's DataLoader takes them ahead of what it gives
    out, which ``TorchLoader`` accounts for.
    """

    def __init__(
        self,
        count: int,
        batch: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        window: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Begin at the first batch of epoch 0.

        Args:
            count: the numbers are from 0 to below it.
            batch: numbers in a batch.
            seed: of the order.
            shuffle: False for the order of the numbers.
            drop_last: leave out a last batch that is smaller.
            window: shuffle so many numbers at a time, which are sixteen runs of consecutive ones,
                so that data larger than memory are read about once an epoch; 0 for all together.
            rank: which of several processes this is, for each of which others are meant.
            ranks: how many there are; each has equally many, so that fewer numbers than processes
                are left out of an epoch.

        Raises:
            InvalidInput: ``batch`` is less than 1, another number less than 0, or ``rank`` not
                less than ``ranks``.
        """
        self.count = check_number(count, "count", 0, whole=True)
        self.batch = check_number(batch, "batch", 1, whole=True)
        self.seed = check_number(seed, "seed", 0, whole=True)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.window = check_number(window, "window", 0, whole=True)
        self.ranks = check_number(ranks, "ranks", 1, whole=True)
        self.rank = check_number(rank, "rank", 0, most=self.ranks - 1, whole=True)
        self.epoch = 0
        self.taken = 0
        """Batches of the epoch that were taken."""

    def __len__(self) -> int:
        """Return the batches of a whole epoch."""
        own = self.count // self.ranks
        batches: int = own // self.batch if self.drop_last else -(-own // self.batch)
        return batches

    def order(self, epoch: int) -> Positions:
        """Return all numbers in the order of an epoch, those of other ranks too."""
        epoch = check_number(epoch, "epoch", 0, whole=True)
        if not self.shuffle:
            return np.arange(self.count, dtype=np.int64)
        random = np.random.default_rng([self.seed, epoch])
        if not self.window or self.window >= self.count:
            return random.permutation(self.count)
        run = max(1, self.window // _RUNS)
        starts = run * random.permutation(-(-self.count // run))
        every = (starts[:, None] + np.arange(run)).reshape(-1)
        order: Positions = every[every < self.count].astype(np.int64)
        for at in range(0, self.count, self.window):
            random.shuffle(order[at : at + self.window])
        return order

    def __iter__(self) -> Iterator[list[int]]:
        for numbers in self.batches():
            yield numbers.tolist()

    def batches(self) -> Iterator[Positions]:
        """Yield the batches that are left of the epoch, as arrays; then the next one begins."""
        epoch = self.epoch
        order = self.order(epoch)[self.rank :: self.ranks][: self.count // self.ranks]
        while self.epoch == epoch and self.taken < len(self):
            at = self.taken * self.batch
            self.taken += 1
            yield order[at : at + self.batch]
        if self.epoch == epoch:
            self.epoch, self.taken = epoch + 1, 0

    def state(self) -> dict[str, Any]:
        """Return where it is, as plain values, the same for all ranks; see also ``TorchLoader``."""
        epoch, taken = self.epoch, self.taken
        if len(self) and taken >= len(self):
            epoch, taken = epoch + 1, 0
        return {"epoch": epoch, "taken": taken} | {name: getattr(self, name) for name in _SETTINGS}

    def load(self, state: Mapping[str, Any]) -> None:
        """Resume at a state.

        Raises:
            InvalidInput: it is of another number of transitions, batch, seed or order.
        """
        mine = self.state()
        state = {"ranks": 1, **state}
        for name in _SETTINGS:
            if name not in state or state[name] != mine[name]:
                raise InvalidInput(
                    f"the state is of a sampler with another '{name}': "
                    f"{shown(state.get(name))}, not {mine[name]}"
                )
        for name in ("epoch", "taken"):
            check_argument(name, state.get(name), "int")
        self.epoch = check_number(state["epoch"], "epoch", 0, whole=True)
        self.taken = check_number(state["taken"], "taken", 0, whole=True)

    def __repr__(self) -> str:
        return f"<EpochSampler {self.count:,} in batches of {self.batch}, epoch {self.epoch}>"
