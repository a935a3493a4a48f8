"""Datasets: the states of some runs, each once, as transitions, sequences, samples and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from simgit.datasets.batches import Batch, Sequences, Transitions, field_names
from simgit.datasets.blocks import BlockCache, RowColumns, cache_for, store_of
from simgit.datasets.choice import StateChoice, parsed
from simgit.datasets.definition import Definition, Pinned, Split, make_parts
from simgit.datasets.layout import StateLayout
from simgit.datasets.packages import needed
from simgit.datasets.transforms import (
    FITTED,
    Moments,
    Transform,
    leaves_of,
    make_transform,
    moments_of,
)
from simgit.errors import InvalidInput, warn
from simgit.history.column_reader import make_plan
from simgit.history.paths import FieldPath, as_path, path_text
from simgit.history.spans import StepIndex
from simgit.history.trajectory import Trajectory
from simgit.objects.arguments import checked_methods
from simgit.objects.coerce import check_number
from simgit.objects.oid import Oid

if TYPE_CHECKING:
    import numpy.typing as npt

USUAL = ("observation", "action", "reward", "terminated", "truncated")


_LONGEST: Final = 1 << 20
"""The most steps of a sequence."""


class DataOrigin(NamedTuple):
    """The states of a dataset, and what else it needs of the repository.

    Attributes:
        sources: the states of each source.
        config: returns the configuration of a run.
        cache: keeps blocks of columns.
        store: names the repository in the cache.
    """

    sources: tuple[Trajectory, ...]
    config: Callable[[str], Mapping[str, Any]]
    cache: BlockCache
    store: object


@checked_methods
class Dataset:
    """Recorded states to learn from: a definition, and no copy of the states.

    A history that several runs share is there once. Nothing is read before it is needed, and
    columns block by block, so that a dataset may be larger than memory.

    Alignment: a recorded state holds the action that led *to* it. In transitions and sequences
    ``observations`` are those that the action was chosen *from*. Where an episode *terminated*,
    the value of the next observation does not count (``discounts`` is 0); where it was only
    *truncated*, it does. Nothing goes from one episode into the next.
    """

    def __init__(
        self, definition: Definition, origin: DataOrigin, layout: StateLayout | None = None
    ) -> None:
        """Note what there is; ``Repository.dataset`` makes one.

        Raises:
            InvalidInput: a condition is malformed.
        """
        self.definition = definition
        self._origin = origin
        self._given = layout
        self._conditions = parsed(definition)
        self._transitions: dict[tuple[int, float], Transitions] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what another process makes it of: the same states, read from the store anew."""
        return _reopened, (self.definition, self._origin.sources, self._origin.config,
                           self._origin.cache.limit)  # fmt: skip

    # --- what there is ---

    @property
    def oid(self) -> Oid:
        """The hash of the definition; equal definitions have equal ones."""
        return self.definition.oid

    @cached_property
    def _layout(self) -> StateLayout:
        return self._given or StateLayout(self._origin.sources)

    @cached_property
    def _columns(self) -> RowColumns:
        return RowColumns(self._layout, self._origin.cache, self._origin.store)

    @cached_property
    def _choice(self) -> StateChoice:
        config = self._origin.config
        return StateChoice(self._layout, self.definition.splits, *self._conditions, config)

    @property
    def episodes(self) -> int:
        """The number of episodes; without conditions only headers are read for it."""
        return self._choice.episode_count

    @property
    def steps(self) -> int:
        """The number of states that an action led to; without conditions from headers.

        There are as many transitions, less those from a state at which an episode ended, where a
        run goes on without a reset.
        """
        return self._choice.step_count

    @property
    def states(self) -> int:
        """The number of states, those of resets among them."""
        return self._choice.state_count

    def __len__(self) -> int:
        return self.steps

    @property
    def schema(self) -> dict[str, str]:
        """The fields of the states with their types; nothing is decoded for it."""
        return self._layout.types

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The fields of batches; tables have all fields if none were chosen."""
        if self.definition.fields is not None:
            return self.definition.fields
        tops = {path[0] for schema in self._layout.schemas for path, _ in schema.fields}
        return tuple(name for name in USUAL if name in tops)

    # --- batches ---

    def _steps(self, index: StepIndex) -> tuple[Any, ...]:
        """Return what transitions or sequences are made of.

        Which columns there will be is said first: on all of them depends how much is read at once.

        Raises:
            NotFound: no state has one of the fields.
        """
        for name in self.columns:
            self._columns.plan(as_path(name))
        for name in ("reward", "terminated", "truncated"):
            self._columns.has((name,))
        return self._columns, index, self.columns, self.definition.transforms

    def transitions(self, n_step: int = 1, gamma: float = 1.0) -> Transitions:
        """Return the transitions, over one step each or up to several; indexing gives columns.

        ``observations`` are those that the actions were chosen from, ``next_observations`` those
        after the last step. The condition ``where`` is on the state that the first action led to.

        Args:
            n_step: the steps of a transition, fewer at the end of an episode.
            gamma: the factor for each later step, in ``rewards`` and ``discounts``.

        Raises:
            InvalidInput: ``n_step`` is less than 1, or ``gamma`` less than 0.
            NotFound: no state has one of the fields.
        """
        n_step = check_number(n_step, "n_step", 1, whole=True)
        gamma = check_number(gamma, "gamma", most=1)
        if (n_step, gamma) not in self._transitions:
            given = self._steps(self._choice.transitions(n_step))
            self._transitions[n_step, gamma] = Transitions(*given, n_step=n_step, gamma=gamma)
        return self._transitions[n_step, gamma]

    def sequences(
        self,
        length: int,
        stride: int | None = None,
        *,
        pad: Literal["zero", "drop"] = "drop",
        burn_in: int = 0,
    ) -> Sequences:
        """Return sequences of steps of one episode each; indexing gives columns.

        The t-th of ``observations`` is what the t-th of ``actions`` was chosen from. ``mask`` tells
        real steps, ``loss_mask`` those to learn from.

        Args:
            length: the steps of a sequence.
            stride: from the start of one to that of the next; ``length`` without it.
            pad: what becomes of a sequence that the episode's end cuts: it is filled up with zeros
                ("zero"), or left out ("drop").
            burn_in: steps before the sequence that are given too, to warm up a recurrent state.

        Raises:
            InvalidInput: a number is out of range.
            NotFound: no state has one of the fields.
        """
        length = check_number(length, "length", 1, most=_LONGEST, whole=True)
        stride = length if stride is None else check_number(stride, "stride", 1, whole=True)
        burn_in = check_number(burn_in, "burn_in", most=_LONGEST, whole=True)
        index = StepIndex.sequences(self._choice.spans, length, stride, pad == "drop")
        return Sequences(
            *self._steps(index), length=length, burn_in=burn_in, counts=self._choice.holds
        )

    def sample(
        self,
        count: int,
        seed: int | None = None,
        *,
        by: Literal["uniform", "episode", "priority"] = "uniform",
        n_step: int = 1,
        gamma: float = 1.0,
    ) -> Batch:
        """Return transitions that are drawn at random; see ``Transitions.sample``.

        ``observations`` are those that the actions were chosen from.

        Raises:
            InvalidInput: there are none; or a number is out of range.
        """
        return self.transitions(n_step, gamma).sample(count, seed, by=by)

    def to_torch(self, n_step: int = 1, gamma: float = 1.0) -> Any:
        """Return the transitions as a dataset for torch's DataLoader.

        ``observations`` are those that the actions were chosen from.

        Raises:
            NotFound: torch is not installed.
        """
        return self.transitions(n_step, gamma).to_torch()

    # --- other datasets ---

    def _with(self, definition: Definition) -> Dataset:
        return Dataset(definition, self._origin, self._layout)

    def _transformed(self, made: Transform) -> Dataset:
        return self._with(replace(self.definition, transforms=(*self.definition.transforms, made)))

    def split(
        self, parts: Mapping[str, float] | None = None, *, seed: int = 0, **shares: float
    ) -> DatasetParts:
        """Return parts of the episodes, such as ``split(train=0.8, val=0.1, test=0.1)``.

        An episode falls into a part by a hash of its first state's oid and the seed. So it stays
        there when the data grow, and episodes that begin alike (a branch's) are in one part.

        Args:
            parts: names to shares, which sum to 1; or as arguments by name.
            seed: another seed gives other parts.
            shares: the same as ``parts``.

        Raises:
            InvalidInput: the shares do not sum to 1.
        """
        found = make_parts({**(parts or {}), **shares})
        return DatasetParts(
            {name: self._with(self.definition.with_split(Split(found, int(seed), name)))
             for name, _ in found}
        )  # fmt: skip

    def map(
        self, kind: str, field: str = "observation", *, fit: str | None = None, **numbers: float
    ) -> Dataset:
        """Return the dataset with a named transform of a field, in all batches.

        It comes after those that there are: numbers are fitted to what these make of the field.

        Args:
            kind: "standardise" or "normalise" (fitted), "scale" (``factor``, ``offset``) or "clip"
                (``low``, ``high``).
            field: the field.
            fit: the part of the same split that numbers are fitted to, such as "train"; this
                dataset without it.
            numbers: those of a transform that is not fitted.

        Raises:
            InvalidInput: the transform is unknown, the numbers are not those that it needs, or the
                field has none, or values of several shapes.
            NotFound: no state has the field.
        """
        path = as_path(field)
        leaves = make_plan(self._layout.schemas, path).leaves()
        if path[0] in ("terminated", "truncated") or all(leaf.texts for leaf in leaves):
            raise InvalidInput(f"field '{field}' has no numbers")
        if not any(path in schema.index for schema in self._layout.schemas) and not any(
            as_path(name)[: len(path)] == path for name in self.columns
        ):
            raise InvalidInput(f"'{field}' is a part of a value; transform the whole field")
        stats: Mapping[str, Any] = {}
        of: list[Oid] = []
        if kind in FITTED:
            definition = self.definition if fit is None else self.definition.sibling(fit)
            of = [
                definition.oid,
                *(states[-1].oid for states in self._origin.sources if len(states)),
            ]
            moments = self._with(definition)._moments([path], definition.transforms)
            stats = {path_text(below[len(path) :]): each.result()
                     for below, each in moments.items()}  # fmt: skip
        made = make_transform(kind, field, numbers, stats, of)
        return self._transformed(made)

    def freeze(self) -> Dataset:
        """Return the dataset with its sources pinned to oids: later states are not in it."""
        pinned = tuple(
            Pinned(states[-1:].oids[0], states.start, states.name)
            for states in self._origin.sources
            if len(states)
        )
        if not pinned:
            raise InvalidInput("the dataset is empty: there is nothing to pin")
        return self._with(replace(self.definition, sources=pinned))

    # --- numbers and tables ---

    def stats(self, *fields: str) -> dict[str, dict[str, Any]]:
        """Return count, mean, standard deviation, least and greatest of fields over the states.

        They are those of the states that count, resets too, before any transform, and of the
        values that states have; arrays element by element.

        Args:
            fields: fields and what is in them; all of ``columns`` without any.

        Returns:
            For each field of numbers a dict of ``count``, ``mean``, ``std``, ``min`` and ``max``.

        Raises:
            NotFound: no state has a field.
            InvalidInput: a field has numbers of several shapes.
        """
        paths = [as_path(name) for name in field_names(fields) or self.columns]
        return {path_text(path): each.result() for path, each in self._moments(paths).items()}

    def _moments(
        self, paths: Sequence[FieldPath], transforms: Sequence[Transform] | None = None
    ) -> dict[FieldPath, Moments]:
        return moments_of(
            (
                leaf
                for path in paths
                for rows in self._chunks(self._columns.rows_at_once(path))
                for leaf in leaves_of(self._columns.take(path, rows), path)
            ),
            transforms,
        )

    def _chunks(self, size: int) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the rows of the states that count, some at a time."""
        for at in range(0, self._layout.count, size):
            stop = min(at + size, self._layout.count)
            rows = np.arange(at, stop, dtype=np.int64)
            chosen = self._choice.states
            yield rows if chosen is None else rows[chosen[at:stop]]

    def to_arrow_reader(
        self, batch: int = 65536, *, oids: Literal["none", "tips", "all"] = "none"
    ) -> Any:
        """Return a ``pyarrow.RecordBatchReader`` over the states, in bounded memory.

        A row is a state: it holds the action that led *to* its observation. ``run``, ``step``,
        ``episode`` and ``episode_step`` tell which; the state before the first one of a branch is
        in the rows of the run that it branched off. Values are those that were recorded: there is
        a warning if the dataset has transforms.

        Args:
            batch: rows in a batch, at most.
            oids: whether there is a column of the states' oids, see ``Trajectory.to_arrow``.

        Raises:
            NotFound: no state has one of the fields, or pyarrow is not installed.
        """
        batch = check_number(batch, "batch", 1, whole=True)
        arrow = needed("simgit.datasets.arrow", "to_arrow_reader()")
        if names := dict.fromkeys(path_text(each.path) for each in self.definition.transforms):
            warn(f"tables have recorded values: transforms of {', '.join(names)} are left out")
        ranges = [each.states for each in self._layout.sections] or self._origin.sources
        table = arrow.ArrowTable(ranges, self.definition.fields, oids=oids)
        return table.reader(batch, self._choice.states)

    def to_arrow(self, *, oids: Literal["none", "tips", "all"] = "none") -> Any:
        """Return the states as a ``pyarrow.Table``; see ``to_arrow_reader``.

        Raises:
            NotFound: no state has one of the fields, or pyarrow is not installed.
        """
        return self.to_arrow_reader(oids=oids).read_all()

    def to_pandas(self) -> Any:
        """Return the states as a pandas DataFrame; see ``to_arrow_reader`` for what a row is.

        Integers and flags that some states do not have are of pandas' nullable types, floats are
        NaN there; arrays, and values of no type, are objects.

        Raises:
            NotFound: no state has one of the fields, or pandas or pyarrow is not installed.
        """
        return needed("simgit.datasets.frames", "to_pandas()").to_pandas(self.to_arrow())

    def to_polars(self) -> Any:
        """Return the states as a polars DataFrame; see ``to_arrow_reader`` for what a row is.

        Arrays of one shape are of type ``Array``; values of no type are objects.

        Raises:
            NotFound: no state has one of the fields, or polars or pyarrow is not installed.
        """
        return needed("simgit.datasets.frames", "to_polars()").to_polars(self.to_arrow())

    def __repr__(self) -> str:
        names = (
            each if isinstance(each, str) else f"{each.run or 'state'}@{each.tip.short()}"
            for each in self.definition.sources
        )
        sources = ", ".join(names)
        return f"<Dataset of {sources}: {self.episodes:,} episodes, {self.steps:,} steps>"


class DatasetParts(dict[str, Dataset]):
    """The parts of a split by name."""

    def map(
        self, kind: str, field: str = "observation", *, fit: str | None = None, **numbers: float
    ) -> DatasetParts:
        """Return the parts with a transform, fitted to one of them; see ``Dataset.map``.

        Raises:
            InvalidInput: a fitted transform has no part to be fitted to.
        """
        if kind in FITTED and fit not in self:
            raise InvalidInput(f"fit must be one of the parts: {', '.join(self)}")
        part = self[fit] if fit is not None and fit in self else next(iter(self.values()))
        made = part.map(kind, field, fit=None, **numbers).definition.transforms[-1]
        return DatasetParts({name: each._transformed(made) for name, each in self.items()})


def _reopened(
    definition: Definition, sources: tuple[Trajectory, ...], config: Any, limit: int
) -> Dataset:
    return Dataset(definition, DataOrigin(sources, config, cache_for(limit), store_of(sources)))
