"""States of other programs' tables: which column is which field, and which row is a reset.

Two alignments are common. ``led``: a row is a state, as here, whose action led to its observation.
``taken``: a row is a transition, whose action was taken in its observation; what followed is in the
next row, or in a column of next observations. Where neither the names of columns nor a first row
without an action tell them apart, the table is refused until the alignment is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice
from typing import Any, Final

import numpy as np

from simgit.datasets.formats.base import Source, SourceRun, state_columns
from simgit.datasets.formats.mapping import flag
from simgit.errors import InvalidInput, near_or_known, shown
from simgit.history.diff.bits import difference
from simgit.objects.columns import FIELDS
from simgit.refs.names import usable_name

EPISODE: Final = "episode"
NEXT: Final = "next_observation"
STEP: Final = "episode_step"
_PLACES: Final = ("run", "step", "files")
"""Columns of simgit's tables that are no field of a state when they are read."""
_PEEK: Final = 100
"""The rows that are looked at before the alignment is decided."""
_MAIN: Final = ("observation", "action", "reward")


@dataclass(frozen=True)
class FieldNames:
    """The names of columns by the names of fields, of one preset.

    Attributes:
        name: of the preset.
        columns: the usual names of each field's column, the one that is taken first.
        alignment: ``led`` or ``taken``, None if the table has to tell.
    """

    name: str
    columns: Mapping[str, Sequence[str]]
    alignment: str | None = None

    def find(self, field: str, present: Sequence[str]) -> str | None:
        """Return the column of a field, None if there is none."""
        for each in self.columns.get(field, (field,)):
            if each in present:
                return each
        return None


_PLAIN: Final = {name: (name,) for name in (*FIELDS, *_PLACES, EPISODE, STEP, NEXT)}
_RLLIB: Final = _PLAIN | {
    "rewards": ("reward_vector",),
    "observation": ("obs",), "action": ("actions",), "reward": ("rewards",),
    "terminated": ("terminateds",), "truncated": ("truncateds",), "info": ("infos",),
    NEXT: ("new_obs",), EPISODE: ("eps_id",), STEP: ("t",),
}  # fmt: skip
_RLDS: Final = _PLAIN | {"terminated": ("is_terminal",)}
_LEROBOT: Final = _PLAIN | {
    "observation": ("observation.state", "observation.image"), "reward": ("next.reward",),
    "terminated": ("next.done",), EPISODE: ("episode_index",), STEP: ("frame_index",),
    "step": ("index",),
}  # fmt: skip
_AUTO: Final[dict[str, Sequence[str]]] = {
    "rewards": ("reward_vector",),
    "observation": ("observation", "observations", "obs", "state"),
    "action": ("action", "actions"),
    "reward": ("reward", "rewards", "next.reward"),
    "terminated": ("terminated", "terminateds", "terminations", "terminal", "terminals", "done",
                   "dones", "next.done"),
    "truncated": ("truncated", "truncateds", "truncations", "timeout", "timeouts"),
    "info": ("info", "infos"),
    NEXT: ("next_observation", "next_observations", "new_obs", "next_obs"),
    EPISODE: ("episode", "eps_id", "episode_index", "episode_id"),
    STEP: ("episode_step", "t", "frame_index"),
}  # fmt: skip
PRESETS: Final = {
    "plain": FieldNames("plain", _PLAIN),
    "rllib": FieldNames("rllib", _RLLIB, "taken"),
    "rlds": FieldNames("rlds", _RLDS, "taken"),
    "lerobot": FieldNames("lerobot", _LEROBOT, "taken"),
    "auto": FieldNames("auto", _PLAIN | _AUTO),
}
OWN: Final = replace(PRESETS["plain"], name="own", alignment="led")
"""The names of tables that simgit wrote, whose places are counted anew."""
_MARKS: Final = {"is_first": "first", "is_last": "last", "is_terminal": "terminal"}
"""RLDS's flags, which belong to the observation of their own row in either alignment."""
_TRANSITIONS: Final = frozenset((
    "observations", "actions", "rewards", "terminals", "timeouts", "terminations", "truncations",
    "terminateds", "truncateds", "dones", "infos", "eps_id", "frame_index", "next.reward",
    "next.done", *_MARKS, *_AUTO[NEXT],
))  # fmt: skip
"""Names of columns that are usual in tables of transitions only."""
_ENDS: Final = frozenset(("done", "dones", "next.done"))
"""Flags of an episode that ended in either way."""
_BOOLEANS: Final = frozenset(("terminated", "truncated", "done", *_MARKS.values()))
_DEEP: Final = ("observation", "action", "info", "reset", NEXT)
_ACTED: Final = ("action", "reward", "rewards")
_OUTCOME: Final = (*_ACTED, "terminated", "truncated")


def field_names(preset: str, alignment: str | None = None) -> FieldNames:
    """Return the names of columns of a preset, with an alignment if one is given.

    Raises:
        InvalidInput: there is no such preset or alignment.
    """
    if preset not in PRESETS:
        raise InvalidInput(
            f"unknown names '{preset}' of columns{near_or_known(preset, PRESETS)}", name=preset
        )
    if alignment not in (None, "led", "taken"):
        raise InvalidInput(f"alignment must be 'led' or 'taken', got '{alignment}'")
    found = PRESETS[preset]
    return found if alignment is None else replace(found, alignment=alignment)


def given_names(source: Source) -> FieldNames:
    """Return the names that a source's options ask for, else those that are usual."""
    return field_names(source.options.get("names", "auto"), source.options.get("alignment"))


def source_runs(
    rows: Iterable[dict[str, Any]], source: Source, names: FieldNames, notes: list[str]
) -> Iterator[SourceRun]:
    """Yield the runs of a table, as its column ``run`` changes; see ``source_states``."""
    default = usable_name(source.path.stem)
    singly = chain.from_iterable(map(_unbatched, rows))
    for name, found in groupby(singly, lambda row: str(row.pop("run", default))):
        run = SourceRun(usable_name(name))
        run.blocks = state_columns(source_states(found, names, notes))
        yield run


def _unbatched(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a row: RLlib writes batches, of which each column is a list."""
    if row.get("type") != "SampleBatch":
        yield row
        return
    columns = {name: each for name, each in row.items() if name != "type"}
    if any(not isinstance(each, list) for each in columns.values()):
        raise InvalidInput("a batch of RLlib has packed columns: write it with compress_columns=[]")
    if len(set(map(len, columns.values()))) > 1:
        raise InvalidInput("a batch of RLlib has columns of several lengths")
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


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

    Raises:
        InvalidInput: nothing tells the alignment, or a flag is neither true nor false.
    """
    rows = iter(rows)
    head = list(islice(rows, _PEEK))
    if not head:
        return
    continues = names is OWN
    if {"step", EPISODE, STEP} <= head[0].keys() and names.alignment != "taken":
        names = OWN
    columns = _Columns(names, notes)
    if not any(columns.field(name) in _MAIN for row in head for name in row):
        notes.append(
            "no column has the name of an observation, action or reward: all are in info; "
            "--map FILE says which they are"
        )
    alignment = names.alignment or _alignment(head, columns, notes)
    columns.alignment = alignment or "led"
    found = map(columns.fields, chain(head, rows))
    if alignment == "taken":
        yield from _of_transitions(found, notes)
    else:
        checked = found if alignment else _without_outcome(found)
        yield from _of_states(checked, notes, continues)


def _alignment(head: Sequence[Mapping[str, Any]], columns: _Columns, notes: list[str]) -> str:
    """Return what the first rows tell; nothing if it makes no difference to them.

    Raises:
        InvalidInput: they do not tell.
    """
    present = dict.fromkeys(name for row in head for name in row)
    tops = dict.fromkeys(part for name in present for part in (name, name.partition(".")[0]))
    if "reward" in tops:  # then "rewards" may be simgit's own, of several objectives
        tops.pop("rewards", None)
    acts = [any(columns.field(name) in _ACTED for name in row) for row in head]
    is_led = "reset" in tops or (not acts[0] and any(acts))
    named = next((name for name in tops if name in _TRANSITIONS), None)
    if is_led is (named is not None):
        if any(columns.field(name) in _OUTCOME for name in present):
            raise _undecided()
        return ""
    notes.append(
        "a row is taken for a state: its action led to its observation (-o alignment=taken if it "
        "was taken there)"
        if is_led
        else f"a row is taken for a transition, as column '{named}' suggests: its action was taken "
        "in its observation (-o alignment=led if it led to it)"
    )
    return "led" if is_led else "taken"


def _undecided() -> InvalidInput:
    return InvalidInput(
        "nothing tells whether the action of a row led to its observation, or was taken there; "
        "give -o alignment=led or -o alignment=taken"
    )


def _without_outcome(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        if any(name in row for name in _OUTCOME):
            raise _undecided()
        yield row


class _Columns:
    """The fields of rows by the columns that have them; what belongs to no field is in the info.

    Attributes:
        alignment: next observations are a field in ``taken`` only.
    """

    alignment = "taken"

    def __init__(self, names: FieldNames, notes: list[str]) -> None:
        self._notes = notes
        self._is_own = names is OWN
        unknown = {*_PLACES} if self._is_own else {*_PLACES, "forms"}
        self._names = {field: names.columns[field] for field in names.columns.keys() - unknown}
        self._known = {each: field for field, columns in self._names.items() for each in columns}
        self._known |= _MARKS
        self._plans: dict[tuple[str, ...], list[tuple[str, str | None, list[str]]]] = {}

    def field(self, column: str) -> str | None:
        """Return the field that a column is, or is a part of."""
        top, dot, _ = column.partition(".")
        within = self._known.get(top) if dot else None
        return self._known.get(column) or (within if within in _DEEP else None)

    def _plan(self, present: tuple[str, ...]) -> list[tuple[str, str | None, list[str]]]:
        """Return the field of each column, and the path in it; of two for one field the usual."""
        chosen: dict[str, str] = {each: field for each, field in _MARKS.items() if each in present}
        for field, columns in self._names.items():
            if field != NEXT or self.alignment == "taken":
                first = next((e for e in columns if e in present and e not in chosen), None)
                chosen |= {} if first is None else {first: field}
        whole = set(chosen.values())
        chosen |= {name: "done" for name, field in chosen.items() if name in _ENDS}
        plan: list[tuple[str, str | None, list[str]]] = []
        for name in present:
            if name in chosen:
                plan.append((name, chosen[name], []))
                continue
            top, dot, rest = name.partition(".")
            above = self._known.get(top) if dot else None
            is_deep = above in _DEEP and above not in whole
            if is_deep and (above != NEXT or self.alignment == "taken"):
                plan.append((name, above, rest.split(".")))
            elif name != "run" and not (self._is_own and name in _PLACES):
                plan.append((name, None, []))
        return plan

    def fields(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row by the names of fields.

        Raises:
            InvalidInput: a flag is neither true nor false.
        """
        present = tuple(row)
        if present not in self._plans:
            if len(self._plans) > _PEEK:  # of rows that all differ
                self._plans.clear()
            self._plans[present] = self._plan(present)
        found: dict[str, Any] = {}
        info: dict[str, Any] = {}
        for name, field, path in self._plans[present]:
            value = row[name]
            if field is None or (path and not _nest(found.setdefault(field, {}), path, value)):
                info[name] = value
            elif not path:
                if field in _BOOLEANS or (field == "reset" and not isinstance(value, dict)):
                    value = _boolean(name, value)
                if value is not None:
                    found[field] = value
                if field in (EPISODE, STEP) and not self._is_own:
                    info[name] = value
        if "done" in found:
            is_done, is_cut = found.pop("done"), found.get("truncated", False)
            found["terminated"] = is_done and not is_cut
            if is_done and is_cut:
                _tally(self._notes, "rows done and truncated are marked truncated only, since "
                                    "whether they terminated too was not recorded")  # fmt: skip
        if info:
            found["info"] = _joined(found.get("info", {}), info)
        return found


def _boolean(name: str, value: Any) -> bool | None:
    """Return a flag as True or False, also one that was written as text; None if it has none.

    Raises:
        InvalidInput: it is neither.
    """
    try:
        return flag(value.item() if isinstance(value, np.ndarray) and value.size == 1 else value)
    except ValueError as error:
        raise InvalidInput(f"'{name}' cannot be {shown(value)}: {error}", path=name) from None


def _nest(above: dict[str, Any], path: list[str], value: Any) -> bool:
    """Put a value into nested dicts; return False if there is one in its place or on the way."""
    for part in path[:-1]:
        inner = above.setdefault(part, {})
        if not isinstance(inner, dict):
            return False
        above = inner
    return above.setdefault(path[-1], value) is value


def _joined(info: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return an info with more entries; those that it has already get another name."""
    own = info if isinstance(info, dict) else {"info": info}
    return {**own, **{f"{name}_" if name in own else name: each for name, each in more.items()}}


def _state(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: row[name] for name in FIELDS if name in row}
    if "reward" in found:
        found["reward"] = _reward(found["reward"])
    if "info" in found and not isinstance(found["info"], dict):
        found["info"] = {"info": found["info"]}
    return found


def _reward(value: Any) -> Any:
    try:
        return float(value.item() if isinstance(value, np.ndarray) else value)
    except (TypeError, ValueError, OverflowError):
        return value


def _marks(row: Mapping[str, Any]) -> dict[str, bool]:
    """Return the flags of the observation of a row that has RLDS's."""
    if "last" not in row and "terminal" not in row:
        return {}
    terminated = row.get("terminal", False)
    return {"terminated": terminated, "truncated": row.get("last", False) and not terminated}


def _of_states(
    rows: Iterable[dict[str, Any]], notes: list[str], continues: bool
) -> Iterator[dict[str, Any]]:
    episode: Any = None
    step: Any = None
    ended = True
    guessed = False
    for row in rows:
        state = _marks(row) | _state(row)
        begins = _differ(row[EPISODE], episode) if EPISODE in row else row.get("first", ended)
        begins = begins or _goes_back(step, row, notes)
        if continues and STEP in row:  # an episode may have begun in states before these
            begins = row[STEP] == 0
        if "reset" not in state and begins:
            state["reset"] = True
            guessed = True
        episode, step = row.get(EPISODE), row.get(STEP)
        ended = bool(state.get("terminated") or state.get("truncated"))
        yield state
    if guessed:
        notes.append("rows that begin an episode are taken for resets")


def _of_transitions(rows: Iterable[dict[str, Any]], notes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield states of transitions: each row's action and reward belong to the state after it.

    A row that closes an episode has only an observation; an action in it was never taken.
    """
    held: Mapping[str, Any] | None = None  # a row whose next observation is in the row that follows
    after: Any = None  # the next observation of the row before
    episode: Any = None
    step: Any = None
    ended = True
    for row in rows:
        observation = row.get("observation")
        acts = any(name in row for name in _OUTCOME)
        reset = row.get("reset", False)
        begins = row.get("first") or reset is not False
        begins = begins or (EPISODE in row and _differ(row[EPISODE], episode))
        begins = begins or (ended and (acts or held is None)) or _goes_back(step, row, notes)
        if not begins and after is not None and _differ(after, observation):
            begins = True
            _tally(notes, "rows that do not begin with the next observation of the row before "
                          "begin an episode")  # fmt: skip
        closes = NEXT not in row and bool(row.get("last") or row.get("terminal"))
        closes = closes or (ended and not begins)
        state: Any = {"observation": observation, "reset": True}
        if reset:
            state["reset"] = reset
        if held or (held is not None and not begins):
            moved = _after(held, None if begins else observation, notes)
            if begins:
                yield moved
            else:
                state = moved
        elif not begins:
            state = None
        if state is not None:
            state |= {} if NEXT in row or "reset" in state else _marks(row)
            yield _closed(state, row, notes) if closes or not acts else state
        episode, step, after = row.get(EPISODE), row.get(STEP), row.get(NEXT)
        held = None if closes or NEXT in row else row if acts else {}
        ended = closes or any(row.get(name) for name in ("terminated", "truncated", "last"))
        if NEXT in row:
            yield _marks(row) | _after(row, after, notes)
    if held:
        yield _after(held, None, notes)


def _goes_back(step: Any, row: Mapping[str, Any], notes: list[str]) -> bool:
    """Return True if the number of a row in its episode is less than that of the row before."""
    both = step, row.get(STEP)
    if not all(isinstance(each, (int, float, np.integer, np.floating)) for each in both):
        return False
    if both[1] < step:
        _tally(notes, "rows whose step number goes back begin an episode")
    return bool(both[1] < step)


def _differ(one: Any, other: Any) -> bool:
    return difference("", one, other, lambda _: False) is not None


def _after(row: Mapping[str, Any], observation: Any, notes: list[str]) -> dict[str, Any]:
    state = _state(row)
    state.pop("observation", None)
    state.pop("reset", None)  # of the row's own observation
    if observation is not None:
        state["observation"] = observation
    else:
        note = "the last state of an episode has no observation, where its table has none"
        if note not in notes:
            notes.append(note)
    return state


def _closed(state: dict[str, Any], row: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return the state of a row from which no action was taken, with all else that the row has."""
    state |= {name: row[name] for name in ("terminated", "truncated") if name in row}
    unused = {name: row[name] for name in (*_ACTED, "info") if not _is_blank(row.get(name))}
    if unused.keys() & _ACTED:
        _tally(notes, "actions and rewards in the last row of an episode were not taken, and are "
                      "in info.row")  # fmt: skip
    if unused:
        state["info"] = _joined(state.get("info", {}), {"row": unused})
    return state


def _is_blank(value: Any) -> bool:
    """Return True for None, and for zeros only."""
    if isinstance(value, dict):
        return all(map(_is_blank, value.values()))
    try:
        return value is None or not np.any(np.asarray(value, float))
    except (TypeError, ValueError):
        return False


def _tally(notes: list[str], text: str) -> None:
    """Count a case in the one note about all of them."""
    for i, note in enumerate(notes):
        if note.startswith(text):
            notes[i] = f"{text}: {int(note.rpartition(' ')[2]) + 1}"
            return
    notes.append(f"{text}: 1")
