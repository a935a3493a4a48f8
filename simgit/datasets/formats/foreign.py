"""States of other programs' tables: which column is which field, and which row is a reset.

Two alignments are common. In one a row is a state, as here: the action led to it. In the other a
row is a transition: its action was chosen from its observation, and the observation that followed
is in the next row, or in a column of its own. A row with a column of next observations is a
transition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from simgit.datasets.formats.mapping import flag
from simgit.errors import InvalidInput, near_or_known, shown
from simgit.objects.columns import FIELDS

EPISODE: Final = "episode"
NEXT: Final = "next_observation"
_OWN: Final = (*FIELDS, "run", "step", EPISODE, "episode_step", NEXT, "first", "last")


@dataclass(frozen=True)
class FieldNames:
    """The names of columns by the names of fields, of one preset.

    Attributes:
        name: of the preset.
        columns: the usual names of each field's column, the one that is written first.
        is_transition: True if a row's action was chosen from its observation.
    """

    name: str
    columns: Mapping[str, Sequence[str]]
    is_transition: bool = False

    def outside(self, field: str) -> str:
        """Return the name of a field's column; a nested field keeps its path."""
        top, dot, rest = field.partition(".")
        return self.columns.get(top, (top,))[0] + dot + rest

    def find(self, field: str, present: Sequence[str]) -> str | None:
        """Return the column of a field, None if there is none."""
        for each in self.columns.get(field, (field,)):
            if each in present:
                return each
        return None


_PLAIN: Final = {name: (name,) for name in _OWN}
_RLLIB: Final = _PLAIN | {
    "rewards": ("reward_vector",),
    "observation": ("obs",), "action": ("actions",), "reward": ("rewards",),
    "terminated": ("terminateds",), "truncated": ("truncateds",), "info": ("infos",),
    NEXT: ("new_obs",), EPISODE: ("eps_id",), "episode_step": ("t",),
}  # fmt: skip
_RLDS: Final = _PLAIN | {
    "observation": ("observation",), "terminated": ("is_terminal",), "first": ("is_first",),
    "last": ("is_last",),
}  # fmt: skip
_LEROBOT: Final = _PLAIN | {
    "observation": ("observation.state", "observation.image"), "reward": ("next.reward",),
    "terminated": ("next.done",), EPISODE: ("episode_index",), "episode_step": ("frame_index",),
    "step": ("index",),
}  # fmt: skip
_AUTO: Final[dict[str, Sequence[str]]] = {
    "rewards": ("reward_vector",),
    "observation": ("observation", "observations", "obs", "state"),
    "action": ("action", "actions"),
    "reward": ("reward", "rewards", "next.reward"),
    "terminated": ("terminated", "terminateds", "terminations", "terminal", "terminals", "done",
                   "dones", "is_terminal", "next.done"),
    "truncated": ("truncated", "truncateds", "truncations", "timeout", "timeouts"),
    "info": ("info", "infos"),
    NEXT: ("next_observation", "next_observations", "new_obs", "next_obs"),
    EPISODE: ("episode", "eps_id", "episode_index", "episode_id"),
    "episode_step": ("episode_step", "t", "frame_index"),
    "first": ("is_first",),
    "last": ("is_last",),
}  # fmt: skip
PRESETS: Final = {
    "plain": FieldNames("plain", _PLAIN),
    "rllib": FieldNames("rllib", _RLLIB, True),
    "rlds": FieldNames("rlds", _RLDS, True),
    "lerobot": FieldNames("lerobot", _LEROBOT, True),
    "auto": FieldNames("auto", _PLAIN | _AUTO),
}

_BOOLEANS: Final = frozenset(("terminated", "truncated", "first", "last"))


def field_names(preset: str) -> FieldNames:
    """Return the names of columns of a preset.

    Raises:
        InvalidInput: there is no such preset.
    """
    if preset not in PRESETS:
        raise InvalidInput(
            f"unknown names '{preset}' of columns{near_or_known(preset, PRESETS)}", name=preset
        )
    return PRESETS[preset]


def source_states(
    rows: Iterable[Mapping[str, Any]], names: FieldNames, notes: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield the states of a table's rows, given as dicts of what is not null.

    A state holds the action that led to it. Rows of transitions become a state each, and a reset
    before the first of an episode, with its observation.

    Args:
        rows: in order.
        names: of the columns.
        notes: what was guessed is added, a line each.
    """
    translated = (_fields(row, names) for row in rows)
    first = next(translated, None)
    if first is None:
        return
    chained = _chain(first, translated)
    if names.is_transition or NEXT in first:
        yield from _of_transitions(chained, notes)
    else:
        yield from _of_states(chained, notes)


def _chain(first: dict[str, Any], rest: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield first
    yield from rest


def _fields(row: Mapping[str, Any], names: FieldNames) -> dict[str, Any]:
    """Return a row by the names of fields; what belongs to no field is put into info."""
    found: dict[str, Any] = {}
    info: dict[str, Any] = {}
    known = {each: field for field, columns in names.columns.items() for each in columns}
    for name, value in row.items():
        field = known.get(name)
        if field in _BOOLEANS:
            value = _boolean(name, value)
            if value is None:
                continue
        if field is not None:
            found.setdefault(field, value)
            continue
        top, dot, rest = name.partition(".")
        field = known.get(top)
        if dot and field in ("observation", "action", "info", "reset", NEXT):
            above = found.setdefault(field, {})
            if isinstance(above, dict):
                _nest(above, rest.split("."), value)
                continue
        info[name] = value
    if info:
        own = found.get("info")
        found["info"] = {**own, **info} if isinstance(own, dict) else info
    return found


def _boolean(name: str, value: Any) -> bool | None:
    """Return a flag as True or False, also one that was written as text; None if it has none.

    Raises:
        InvalidInput: it is neither.
    """
    try:
        return flag(value)
    except ValueError as error:
        raise InvalidInput(f"'{name}' cannot be {shown(value)}: {error}", path=name) from None


def _nest(above: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = above.setdefault(part, {})
        if not isinstance(inner, dict):
            return
        above = inner
    above[path[-1]] = value


def _state(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: row[name] for name in FIELDS if name in row}
    for name in ("terminated", "truncated"):
        if name in found and not isinstance(found[name], bool):
            found[name] = bool(found[name])
    if "reward" in found:
        found["reward"] = _reward(found["reward"])
    if "info" in found and not isinstance(found["info"], dict):
        found["info"] = {"info": found["info"]}
    return found


def _reward(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _of_states(rows: Iterator[dict[str, Any]], notes: list[str]) -> Iterator[dict[str, Any]]:
    episode: Any = None
    ended = True
    guessed = False
    for row in rows:
        state = _state(row)
        begins = row[EPISODE] != episode if EPISODE in row else ended
        if "reset" not in state and begins:
            state["reset"] = True
            guessed = True
        episode = row.get(EPISODE)
        ended = bool(state.get("terminated") or state.get("truncated"))
        yield state
    if guessed:
        notes.append("rows that begin an episode are taken for resets; a row's action led to it")


def _of_transitions(rows: Iterator[dict[str, Any]], notes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield states of transitions: each row's action and reward belong to the state after it."""
    notes.append("a row is taken for a transition: its action was chosen from its observation")
    held: dict[str, Any] | None = None  # a row whose next observation is in the row that follows
    episode: Any = None
    ended = True
    for row in rows:
        begins = bool(row.get("first")) or ended
        if EPISODE in row and row[EPISODE] != episode:
            begins = True
        if held is not None:
            yield _after(held, None if begins else row.get("observation"), notes)
            held = None
        if begins:
            yield {"observation": row.get("observation"), "reset": True}
        episode = row.get(EPISODE)
        ended = bool(row.get("terminated") or row.get("truncated") or row.get("last"))
        if NEXT in row:
            yield _after(row, row[NEXT], notes)
        elif "action" in row or "reward" in row:
            held = row
    if held is not None:
        yield _after(held, None, notes)


def _after(row: Mapping[str, Any], observation: Any, notes: list[str]) -> dict[str, Any]:
    state = _state(row)
    state.pop("observation", None)
    if observation is not None:
        state["observation"] = observation
    else:
        note = "the last state of an episode has no observation, where its table has none"
        if note not in notes:
            notes.append(note)
    return state
