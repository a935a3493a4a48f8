"""Which states of a layout count: those of a split's part, and those that conditions choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from simgit.datasets.definition import Definition, Split
from simgit.datasets.episode_table import FIELDS, EpisodeTable
from simgit.datasets.layout import StateLayout, parts_of
from simgit.history.leaf_column import Mask
from simgit.history.spans import Spans, StepIndex
from simgit.history.where import Predicate

Conditions = tuple[Predicate | None, Predicate | None]
"""The condition on states and that on episodes."""


def parsed(definition: Definition) -> Conditions:
    """Return the conditions of a definition.

    Raises:
        InvalidInput: one is malformed.
    """
    states, episodes = definition.where, definition.episode_where
    return (
        None if states is None else Predicate(states),
        None if episodes is None else Predicate(episodes, FIELDS),
    )


class StateChoice:
    """The episodes and states of a layout that count; nothing is read before it is needed."""

    def __init__(
        self,
        layout: StateLayout,
        splits: Sequence[Split],
        where: Predicate | None,
        episode_where: Predicate | None,
        config: Callable[[str], Mapping[str, Any]],
    ) -> None:
        """Note what counts.

        Args:
            layout: the states.
            splits: the parts that episodes must fall into.
            where: a condition on states.
            episode_where: a condition on episodes.
            config: returns the configuration of a run.
        """
        self._layout = layout
        self._splits = splits
        self._where = where
        self._episode_where = episode_where
        self._config = config

    @cached_property
    def episodes(self) -> Mask | None:
        """A mask of the episodes that count; None if all do."""
        if self._episode_where is None and not self._splits:
            return None
        chosen = np.ones(len(self._layout.episodes.first), bool)
        for number, split in enumerate(self._splits):
            low, high = split.bounds()
            shares = self._layout.shares(f"{split.seed}/{number}".encode())
            chosen &= (shares >= low) & (shares < high)
        if self._episode_where is not None and len(chosen):
            chosen &= self._episode_where(EpisodeTable(self._layout, self._config))
        return chosen

    @cached_property
    def spans(self) -> Spans:
        """The positions of the episodes that count."""
        spans = self._layout.spans
        if self.episodes is None:
            return spans
        return spans.chosen(self.episodes[self._layout.episode_of_span])

    @cached_property
    def holds(self) -> Mask | None:
        """A mask of the rows whose states fulfil the condition; None without one."""
        if self._where is None:
            return None
        sections = self._layout.sections
        masks = [self._where(part) for each in sections for part in parts_of(each.states)]
        return np.concatenate(masks) if masks else np.zeros(0, bool)

    @cached_property
    def states(self) -> Mask | None:
        """A mask of the rows whose states count; None if all do."""
        if self.episodes is None:
            return self.holds
        spans = self._layout.episodes.spans
        changes = np.zeros(self._layout.count + 1, np.int64)
        first = self._layout.rows_at(spans.own[self.episodes])
        last = self._layout.rows_at(spans.stops[self.episodes] - 1)
        np.add.at(changes, first, 1)  # the states of an episode stand in successive rows
        np.add.at(changes, last + 1, -1)
        mask: Mask = np.cumsum(changes[:-1]) > 0
        return mask if self.holds is None else mask & self.holds

    def transitions(self, n_step: int) -> StepIndex:
        """Return the transitions that count, over up to ``n_step`` steps."""
        index = StepIndex.transitions(self.spans, n_step)
        if self.holds is not None and len(index):
            before, _ = index.at(np.arange(len(index)))
            index.keep(self.holds[self._layout.rows_at(before + 1)])
        return index

    @property
    def episode_count(self) -> int:
        """The number of episodes; from headers if all count."""
        return self._layout.episode_count if self.episodes is None else int(self.episodes.sum())

    @property
    def step_count(self) -> int:
        """The number of states that an action led to; from headers if all count."""
        if self.states is None:
            return self._layout.step_count
        spans = self._layout.episodes.spans
        first = self._layout.rows_at(spans.own[spans.own == spans.starts])
        return int(self.states.sum()) - int(self.states[first].sum())

    @property
    def state_count(self) -> int:
        """The number of states."""
        return self._layout.count if self.states is None else int(self.states.sum())
