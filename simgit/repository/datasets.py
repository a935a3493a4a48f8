"""Datasets of recorded states: opened by revisions, saved under names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from simgit.datasets.blocks import cache_for, store_of
from simgit.datasets.dataset import DataOrigin, Dataset
from simgit.datasets.definition import Definition, Pinned
from simgit.errors import IntegrityError, InvalidInput, NotFound, shown
from simgit.objects.coerce import check_number
from simgit.objects.oid import Oid
from simgit.odb import trees
from simgit.refs import attachments
from simgit.refs.names import expanded, is_pattern
from simgit.refs.records import TagRef
from simgit.refs.run_config import first_own_step
from simgit.repository.states import States

if TYPE_CHECKING:
    from simgit.history.trajectory import Trajectory
    from simgit.repository.store import Store

PREFIX: Final = "datasets/"
"""The beginning of the tags of saved datasets."""
_ATTACHED: Final = "dataset."
"""The beginning of the names of the attachments that hold their definitions."""


def _config(store: Store, run: str) -> Mapping[str, Any]:
    """Return a run's configuration, {} if there is no such run (any more)."""
    with store.read() as txn:
        if not run or not store.refs.has_run(txn, run):
            return {}
        return store.runs.config(store.refs.run(txn, run).record)


class Datasets:
    """Opens, saves and lists datasets."""

    def __init__(self, store: Store, states: States) -> None:
        self._store = store
        self._states = states

    def open(self, definition: Definition, memory: int) -> Dataset:
        memory = check_number(memory, "memory", 1, whole=True)
        sources = [each for source in definition.sources for each in self._source(source)]
        # of runs that share a history, it is there with the one that recorded it
        sources.sort(key=self._own)
        cache = cache_for(memory)
        origin = DataOrigin(tuple(sources), partial(_config, self._store), cache, store_of(sources))
        return Dataset(definition, origin)

    def _own(self, states: Trajectory) -> int:
        """Return the first step that the run of a source does not have from another one."""
        with self._store.read() as txn:
            if not states.name or not self._store.refs.has_run(txn, states.name):
                return 0
            record = self._store.refs.run(txn, states.name).record
            return first_own_step(self._store.odb, txn, record)

    def _source(self, source: str | Pinned) -> Sequence[Trajectory]:
        if isinstance(source, Pinned):
            with self._store.read() as txn:
                place = self._store.odb.locate(txn, source.tip)
            return [self._states.ending_at(place, source.run or None, source.start)]
        if not is_pattern(source):
            return [self._states.trajectory(source)]
        with self._store.read() as txn:
            runs = {name: ref for name, ref in self._store.refs.runs(txn) if ref.oid is not None}
        return [self._states.trajectory(name) for name in expanded([source], runs)]

    def save(self, name: str, data: Dataset, force: bool) -> Oid:
        if not isinstance(data, Dataset):
            raise InvalidInput(f"data must be a dataset, got {shown(data)}")
        sources = data._origin.sources
        tips = list(dict.fromkeys(states[-1:].oids[0] for states in sources if len(states)))
        if not tips:
            raise InvalidInput("the dataset is empty: there is no state to save it with")
        value = data.definition.value()
        if data.definition.is_pinned:
            value[trees.STATES] = [bytes(tip) for tip in tips]  # which keeps them
        with self._store.write("save-dataset", name) as txn:
            self._store.refs.create_tag(txn, PREFIX + name, TagRef(tips[0], None), force)
            kind, oid = trees.store_data(self._store.odb, txn, value)
            attachments.attach(self._store.odb, txn, tips[0], _ATTACHED + name, kind, oid)
        return data.oid

    def load(self, name: str, memory: int) -> Dataset:
        with self._store.read() as txn:
            tags = {tag: ref.oid for tag, ref in self._store.refs.tags(txn)}
            if PREFIX + name not in tags:
                raise NotFound(f"dataset '{name}' not found", name=name)
            target = attachments.find(self._store.odb, txn, tags[PREFIX + name], _ATTACHED + name)
            value = trees.load_data(self._store.odb, txn, *target)
        if not isinstance(value, dict):
            raise IntegrityError(f"dataset '{name}' is malformed")
        return self.open(Definition.from_value(value), memory)

    def all(self) -> list[str]:
        with self._store.read() as txn:
            tags = {tag: ref.oid for tag, ref in self._store.refs.tags(txn)}
            return [
                name
                for tag, state in tags.items()
                if (name := tag.removeprefix(PREFIX)) != tag
                and attachments.is_bound(txn, state, _ATTACHED + name)
            ]
