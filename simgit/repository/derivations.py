"""Artefacts that are computed from states: kept beside them, with what they were made from.

The data is an attachment NAME of the newest state that it was computed from, and NAME.source is
another: a map with ``revision`` (as it was given), ``function``, ``settings``, ``data`` (the data's
oid in hex: what is attached by hand later was not computed), and ``uses``: for each further source
a map with ``oid`` (of a state or a binding, in hex), and the ``revision`` and ``name`` by which it
is found now. A run's metadata may have ``made_from``: labels to such oids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from simgit.errors import InvalidInput, NotFound, shown
from simgit.objects.codec import encode_value
from simgit.objects.coerce import coerce
from simgit.objects.kinds import Binding
from simgit.objects.oid import Oid
from simgit.refs import attachments
from simgit.repository.attachments import Attachments
from simgit.repository.runs import RunEditor, RunsView
from simgit.repository.states import States

if TYPE_CHECKING:
    from simgit.history.trajectory import Trajectory
    from simgit.repository.store import Store

SOURCE: Final = ".source"
MADE_FROM: Final = "made_from"


@dataclass(frozen=True)
class Derived:
    """An artefact that was computed from states.

    Attributes:
        name: the name of the attachment.
        revision: the states, as they were named.
        state: the newest of them, which has the attachment.
        oid: the oid of the binding: it stands for the data, the state and the name.
        data: the data.
        function: the function that computed it, as "module:name".
        settings: its settings.
        uses: the oids of the further sources, by label.
        stale: the labels of the sources that are others now; "state" for the states.
        is_new: True if it was computed by this call.
    """

    name: str
    revision: str | Oid
    state: Oid
    oid: Oid
    data: Any = field(repr=False)
    function: str
    settings: Mapping[str, Any]
    uses: Mapping[str, Oid]
    stale: tuple[str, ...]
    is_new: bool = False


class Derivations:
    """Computes artefacts, finds them again, and says what they were made from."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._attachments = Attachments(store)
        self._states = States(store)
        self._runs = RunsView(store)

    def derived(
        self,
        revision: str | Oid,
        name: str,
        compute: Callable[[Trajectory], Any] | None,
        uses: Mapping[str, Any],
        settings: Mapping[str, Any],
        force: bool,
    ) -> Derived:
        if compute is None:
            newest = next(iter(self._attachments.history(revision, name)), None)
            if newest is None:
                raise NotFound(f"no state up to '{revision}' has an attachment '{name}'", name=name)
            return self._load(newest.state, name, revision, False)
        state = self._resolve(revision)
        record = {
            "revision": str(revision),
            "function": _function_name(compute),
            "settings": coerce(dict(settings), "settings"),
            "uses": {label: self._use(each) for label, each in uses.items()},
        }
        packed = encode_value(record, "derived")
        bound = self._attachments.all_of(state)
        is_new = force or not _is_known_by_name(compute) or name not in bound
        is_new = is_new or self._packed(state, name, bound[name][1]) != packed
        if is_new:
            data = compute(self._states.trajectory(state))
            with self._store.write("derive", revision, name):
                record["data"] = self._attachments.attach(state, name, data, None).hex()
                self._attachments.attach(state, name + SOURCE, record, None)
        return self._load(state, name, revision, is_new)

    def sources(self, what: str | Oid) -> dict[str, Oid]:
        if isinstance(what, Oid):
            with self._store.read() as txn:
                odb = self._store.odb
                found = odb.object(txn, what) if odb.exists(txn, what) else None
            if isinstance(found, Binding):
                uses = _uses(self._record(found.state, found.name, found.target))
                return {"state": found.state, **{label: oid for label, (oid, *_) in uses.items()}}
        state = self._resolve(what)
        is_run = isinstance(what, str) and what in self._runs
        for run in [str(what)] if is_run else RunEditor(self._store).containing(state):
            made_from = self._runs[run].metadata.get(MADE_FROM)
            if isinstance(made_from, Mapping):
                return {str(label): Oid.from_hex(str(each)) for label, each in made_from.items()}
        return {}

    def _load(self, state: Oid, name: str, revision: str | Oid, is_new: bool) -> Derived:
        record = self._record(state, name, self._attachments.all_of(state)[name][1])
        uses = _uses(record)
        now = {label: self._now(*where) for label, (_, *where) in uses.items()}
        stale = [label for label, (oid, *_) in uses.items() if now[label] not in (None, oid)]
        stale = ["state"] * (self._resolve(revision) != state) + stale
        settings = record.get("settings")
        return Derived(
            name, revision, state, self._binding(state, name),
            self._attachments.load(state, name, False, False, False), str(record.get("function")),
            settings if isinstance(settings, dict) else {},
            {label: oid for label, (oid, *_) in uses.items()}, tuple(stale), is_new,
        )  # fmt: skip

    def _use(self, given: Any) -> dict[str, Any]:
        """Return a source as it is noted: its oid, and how it is found again."""
        if isinstance(given, Derived):
            where = None if isinstance(given.revision, Oid) else given.revision
            return {"oid": given.oid.hex(), "revision": where, "name": given.name}
        if isinstance(given, Oid):
            return {"oid": given.hex(), "revision": None, "name": None}
        if isinstance(given, str):
            return {"oid": self._resolve(given).hex(), "revision": given, "name": None}
        raise InvalidInput(
            f"a source must be a revision, an oid or a Derived, got {shown(given)}", path="uses"
        )

    def _now(self, revision: str | None, name: str | None) -> Oid | None:
        """Return the oid that a source has now, None if it is not found by a name."""
        if revision is None:
            return None
        try:
            if name is None:
                return self._resolve(revision)
            newest = next(iter(self._attachments.history(revision, name)), None)
            return None if newest is None else self._binding(newest.state, name)
        except (NotFound, InvalidInput):
            return None

    def _resolve(self, revision: str | Oid) -> Oid:
        with self._store.read() as txn:
            return self._store.resolve(txn, revision).oid

    def _binding(self, state: Oid, name: str) -> Oid:
        with self._store.read() as txn:
            return attachments.binding(txn, state, name)

    def _packed(self, state: Oid, name: str, data: Oid) -> bytes | None:
        try:
            record = self._record(state, name, data)
        except (NotFound, InvalidInput):
            return None
        return encode_value({key: each for key, each in record.items() if key != "data"})

    def _record(self, state: Oid, name: str, data: Oid) -> dict[str, Any]:
        """Return what the data of an attachment was made from; it may be a stranger's text.

        Raises:
            NotFound: that is not known.
            InvalidInput: it is malformed.
        """
        record: Any = {"uses": {}, "data": None}
        if name + SOURCE in self._attachments.all_of(state):
            record = self._attachments.load(state, name + SOURCE, False, False, False)
        if not isinstance(record, dict) or not isinstance(record.get("uses"), dict):
            raise InvalidInput(
                f"malformed attachment '{name}{SOURCE}' of '{state.short()}'", name=name
            )
        if record.get("data", data.hex()) != data.hex():
            raise NotFound(
                f"the sources of attachment '{name}' of '{state.short()}' are not known: it was "
                "not made by Repository.derived, or made anew since",
                name=name,
            )
        return record


def _uses(record: Mapping[str, Any]) -> dict[str, tuple[Oid, str | None, str | None]]:
    found = {}
    for label, each in record["uses"].items():
        if not isinstance(each, dict):
            raise InvalidInput(f"malformed source {shown(label)} of an attachment")
        revision, name = (
            part if isinstance(part, str) else None
            for part in (each.get("revision"), each.get("name"))
        )
        found[str(label)] = (Oid.from_hex(str(each.get("oid"))), revision, name)
    return found


def _function_name(compute: Callable[..., Any]) -> str:
    while isinstance(compute, partial):
        compute = compute.func
    kind = compute if hasattr(compute, "__qualname__") else type(compute)
    return f"{kind.__module__}:{kind.__qualname__}"


def _is_known_by_name(compute: Callable[..., Any]) -> bool:
    """Return True unless two functions of the same name may compute different things.

    (Closures, lambdas, methods and arguments of a ``partial`` have values that no name tells.)
    """
    while isinstance(compute, partial) and not compute.args and not compute.keywords:
        compute = compute.func
    name = getattr(compute, "__qualname__", "<")
    return "<" not in name and isinstance(
        getattr(compute, "__self__", None), (type(None), ModuleType)
    )
