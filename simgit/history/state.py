"""A state as users see it: its position in history, and its values, read on first use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from simgit.errors import text_of, visible
from simgit.objects.arrays import as_scalar
from simgit.objects.lazy_numpy import np
from simgit.objects.oid import OID_SIZE, Oid
from simgit.objects.rows import Reference, unpack_row, unpack_rows
from simgit.objects.schema import Schema
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.storage.base import ReadTxn

ReadContext = Callable[[], AbstractContextManager[ReadTxn]]


class State:
    """One recorded moment. Immutable; large arrays are read on first use.

    Attributes:
        oid: its hash.
        parents: the oids of the states that it came from.
        origin: the oid of the spec that a root came from, else None.
        step: the first-parent distance from the root.
        run: the run that it was reached through, if any.
    """

    def __init__(
        self,
        odb: ObjectDatabase,
        place: Location,
        oid: Oid,
        parents: tuple[Oid, ...],
        origin: Oid | None,
        schema: Schema,
        values: dict[str, Any],
        run: str | None = None,
    ) -> None:
        self._odb = odb
        self.place = place
        self.oid = oid
        self.parents = parents
        self.origin = origin
        self.schema = schema
        self.run = run
        self._values = values
        self._loaded: dict[str, Any] = {}
        self._episode: tuple[int | None, int | None] | None = None

    @property
    def step(self) -> int:
        """The first-parent distance from the root."""
        return self.place.step

    @property
    def observation(self) -> Any:
        """The observation, None if none was recorded."""
        return self._get("observation")

    @property
    def action(self) -> Any:
        """The action that led here, None at a reset."""
        return self._get("action")

    @property
    def reward(self) -> float | None:
        """The reward of the action, None at a reset; an array if it is of several numbers."""
        reward: float | None = self._get("reward")
        return self._get("rewards") if reward is None else reward

    @property
    def terminated(self) -> bool | None:
        """Gymnasium's flag, None at a reset."""
        flag: bool | None = self._get("terminated")
        return flag

    @property
    def truncated(self) -> bool | None:
        """Gymnasium's flag, None at a reset."""
        flag: bool | None = self._get("truncated")
        return flag

    @property
    def info(self) -> Any:
        """The environment's info."""
        return self._get("info")

    @property
    def reset(self) -> dict[str, Any] | None:
        """The seed and options of a reset, None if this is not a reset's state."""
        reset: dict[str, Any] | None = self._get("reset")
        return reset

    @property
    def message(self) -> str | None:
        """The message of a commit, None if it has none."""
        message: str | None = self._get("message")
        return message

    @property
    def files(self) -> Oid | None:
        """The oid of the tree of attached files."""
        reference = self._values.get("files")
        return reference.oid if reference is not None else None

    @property
    def value(self) -> dict[str, Any]:
        """All fields that the state has; ``files`` as the oid of their tree."""
        hidden = ("files", "forms")
        found = {name: self._get(name) for name in self._values if name not in hidden}
        return found | ({"files": self.files} if self.files else {})

    @property
    def episode(self) -> int | None:
        """The number of its episode, from 1; None if its history is shallow, so not known."""
        return self._place_in_episode()[0]

    @property
    def episode_step(self) -> int | None:
        """Its number in its episode; 0 is the reset. None if that is before what is here."""
        return self._place_in_episode()[1]

    def _place_in_episode(self) -> tuple[int | None, int | None]:
        if self._episode is None:
            with self._odb.read() as txn:
                header = self._odb.states.header(txn, self.place)
                episode, start, _ = self._odb.states.standing(txn, header, self.step)
            self._episode = episode, None if start is None else self.step - start
        return self._episode

    def _get(self, name: str) -> Any:
        if name not in self._loaded:
            value = self._values.get(name)
            if _has_reference(value):
                with self._odb.read() as txn:
                    value = self._load(txn, (name,), value)
            if "forms" in self._values:
                from simgit.objects.forms import restored_field

                value = restored_field(name, value, self._values["forms"])
            self._loaded[name] = value
        return self._loaded[name]

    def _load(self, txn: ReadTxn, path: tuple[str, ...], value: Any) -> Any:
        if isinstance(value, Reference):
            hint = (self.place.line, self.schema.index[path], self.place.step)
            array = self._odb.array(txn, value.oid, hint)
            return as_scalar(array)
        if isinstance(value, dict):
            return {key: self._load(txn, (*path, key), item) for key, item in value.items()}
        if isinstance(value, tuple):
            return tuple(self._load(txn, (*path, str(i)), v) for i, v in enumerate(value))
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self.oid == other.oid

    def __hash__(self) -> int:
        return hash(self.oid)

    def __repr__(self) -> str:
        parts = [f"State {self.oid.short(12)}", f"step {self.step}"]
        parts += [
            f"{n} {shown(self._values[n])}" for n in ("action", "reward") if n in self._values
        ]
        parts += [flag for flag in ("terminated", "truncated") if self._values.get(flag)]
        return f"<{', '.join(parts)}>"

    def _repr_html_(self) -> str:
        from simgit.plot import notebook

        rows: list[tuple[str, object]] = [("oid", notebook.code(self.oid.hex()))]
        rows += [("step", self.step), ("run", self.run or "")]
        rows += [(name, notebook.code(shown(value))) for name, value in self._values.items()]
        pictures = notebook.images(self.observation, "observation")
        return notebook.table([*rows, *((path, notebook.image(each)) for path, each in pictures)])


def _has_reference(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_reference, value.values()))
    if isinstance(value, tuple):
        return any(map(_has_reference, value))
    return isinstance(value, Reference)


def shown(value: Any) -> str:
    """Return a value on one line and ``visible``, long arrays shortened."""
    if isinstance(value, Reference):
        return f"{value.kind} {value.oid.short(12)}"
    if isinstance(value, np.ndarray):
        text = np.array2string(value, precision=4, threshold=8).replace("\n", " ")
    else:
        text = str(value) if isinstance(value, np.generic) else text_of(value)
    return visible(text)


def load_state(
    odb: ObjectDatabase,
    txn: ReadTxn,
    place: Location,
    run: str | None = None,
    oid: bytes | None = None,
) -> State:
    """Return the state at a location, its hash recomputed (and compared with ``oid``, if given)."""
    name, head, rows = odb.states.row(txn, place, oid)
    return _made(odb, place, name, head, rows.schema, unpack_row(rows, 0), run)


def load_states(
    odb: ObjectDatabase, txn: ReadTxn, place: Location, count: int, run: str | None = None
) -> list[State]:
    """Return states of a line from a location on, ``count`` or fewer, but one at least."""
    names, rows = odb.states.group(txn, place, count)
    return [
        _made(odb, Location(place.line, place.step + i), name, head, rows.schema, values, run)
        for i, ((name, head), values) in enumerate(zip(names, unpack_rows(rows), strict=True))
    ]


def _made(
    odb: ObjectDatabase,
    place: Location,
    name: Oid,
    head: bytes,
    schema: Schema,
    values: dict[str, Any],
    run: str | None,
) -> State:
    oids = [Oid(head[i : i + OID_SIZE]) for i in range(OID_SIZE + 1, len(head), OID_SIZE)]
    origin = None if head[OID_SIZE] else oids.pop()
    return State(odb, place, name, tuple(oids), origin, schema, values, run)
