"""Attachments: data bound to states without changing their oids."""

from __future__ import annotations

import time
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simgit.errors import InvalidInput, NotFound, shown
from simgit.objects.kinds import Binding
from simgit.objects.lazy_numpy import np
from simgit.objects.oid import Oid
from simgit.odb import trees
from simgit.refs import attachments
from simgit.storage.base import make_room

if TYPE_CHECKING:
    from simgit.datasets.series import Series
    from simgit.repository.store import Store
    from simgit.storage.base import ReadTxn

_LONGEST_TAG: Final = 1000


def _copied(data: Any) -> Any:
    """Return nested data with a writable copy of every array in it."""
    if isinstance(data, np.ndarray):
        return data.copy()
    if isinstance(data, dict):
        return {key: _copied(item) for key, item in data.items()}
    return type(data)(map(_copied, data)) if isinstance(data, (list, tuple)) else data


class Attachments:
    """Binds data to states, and reads it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._odb = store.odb

    def attach(
        self, revision: str | Oid, name: str, data: Any, path: str | PathLike[str] | None
    ) -> Oid:
        data = attachments.attachable(name, data, path)
        with self._store.read() as txn:
            state = self._store.resolve(txn, revision).oid
        blob = None
        if isinstance(data, Path):
            with data.open("rb") as file:
                blob = self._odb.put_blob(file.read, data.stat().st_size)
        with self._store.write("attach", revision, name) as txn:
            if blob is not None:
                kind, oid = "blob", blob
            else:
                base = attachments.latest(txn, name)
                kind, oid = trees.store_data(self._odb, txn, data, base)
            attachments.attach(self._odb, txn, state, name, kind, oid)
        return oid

    def all_of(self, revision: str | Oid) -> dict[str, tuple[str, Oid]]:
        with self._store.read() as txn:
            state = self._store.resolve(txn, revision).oid
            return attachments.attachments(self._odb, txn, state)

    def history(self, revision: str | Oid, name: str | None) -> list[attachments.Attached]:
        with self._store.read() as txn:
            tip = self._store.resolve(txn, revision).place
            return list(attachments.in_history(self._odb, txn, tip, name))

    def load(
        self, revision: str | Oid, name: str, writable: bool, tensors: bool, newest: bool
    ) -> Any:
        with self._store.read() as txn:
            target = self._target(txn, revision, name, newest)
            data = trees.load_data(self._odb, txn, *target)
        if tensors:
            try:
                from simgit.agents.tensors import to_tensors
            except ModuleNotFoundError as error:
                if error.name != "torch":
                    raise
                raise NotFound("tensors need torch: pip install 'simgit[torch]'") from None
            return to_tensors(data)
        return _copied(data) if writable else data

    def _target(
        self, txn: ReadTxn, revision: str | Oid, name: str, newest: bool
    ) -> attachments.Target:
        """Return kind and oid of an attachment of a state, or of the newest in its history."""
        found = self._store.resolve(txn, revision)
        try:
            return attachments.find(self._odb, txn, found.oid, name)
        except NotFound as error:
            last = next(attachments.in_history(self._odb, txn, found.place, name), None)
            if last is None:
                if not newest:
                    raise
                raise NotFound(
                    f"no state from the first one to '{found.oid.short()}' has an attachment "
                    f"'{name}'",
                    name=name,
                ) from None
            if not newest:
                raise NotFound(
                    f"{error}; the newest before it is at step {last.step}: use --newest "
                    "(newest=True)",
                    name=name,
                ) from None
            return last.kind, last.oid

    # --- series ---

    def series(self, revision: str | Oid) -> dict[str, Series]:
        from simgit.datasets.series import series_of

        with self._store.read() as txn:
            return series_of(self._odb, txn, self._store.resolve(txn, revision).place)

    def add_series(self, revision: str | Oid, points: Mapping[str, Any]) -> Oid:
        from simgit.datasets.series import append, as_series

        for tag in points:
            if not isinstance(tag, str) or not tag or len(tag) > _LONGEST_TAG:
                raise InvalidInput(f"a tag must be a text, got {shown(tag)}")
        now = time.time()
        more = {tag: as_series(tag, given, now) for tag, given in points.items()}
        with self._store.write("add-series", revision) as txn:
            return append(self._odb, txn, self._store.resolve(txn, revision).oid, more)

    def detach(self, revision: str | Oid, name: str) -> Oid:
        def detach() -> Oid:
            with self._store.write("detach", revision, name) as txn:
                state = self._store.resolve(txn, revision).oid
                return attachments.detach(self._odb, txn, state, name)[1]

        return make_room(self._store.storage, detach)

    def reattach(self, binding: Oid) -> Oid:
        with self._odb.write() as txn:
            found = self._odb.object(txn, binding)
            if not isinstance(found, Binding):
                raise InvalidInput(f"object '{binding.short()}' is not a binding", oid=binding)
            attachments.attach(
                self._odb, txn, found.state, found.name, found.target_kind, found.target
            )
        return found.state
