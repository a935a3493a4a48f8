"""Episodes as the formats of learners have them: T + 1 observations, and T of everything else.

The observation of row t is the one that action t was chosen from, and row t + 1 has the one that it
led to. What these formats have no place for (infos, seeds, messages) is the *rest*, which simgit
writes beside them, so that the same states can be made again.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np

from simgit.datasets.formats.manifest import (
    MAX_MANIFEST,
    FileManifest,
    StretchClaim,
    read_manifest,
    write_manifest,
)
from simgit.datasets.formats.packing import fill_nested, finished, row_values
from simgit.datasets.formats.selection import Export, only_fields
from simgit.errors import IntegrityError, InvalidInput, NotFound, plural
from simgit.history.leaf_column import LeafColumn
from simgit.history.trajectory import Trajectory
from simgit.objects.arrays import AnyArray
from simgit.objects.columns import ABSENT, FIELDS
from simgit.objects.json_form import parse_json, value_to_json
from simgit.objects.row_encoder import RowPacker
from simgit.objects.rows import Rows
from simgit.objects.schema import Schema

REST: Final = "simgit.jsonl"
"""The file with the manifest, a line for each episode, and a line for each of its states."""
ARRAYS: Final = ("observation", "action", "reward", "terminated", "truncated")
"""The fields that the formats have a place for."""
_STATES: Final = 8192
_EMPTY: Final[dict[str, Any]] = {"info": {}}
_EMPTY_LINE: Final = '{"info": {}}'
_MAX_LINE: Final = 64 << 20


@dataclass(frozen=True)
class EpisodeArrays:
    """An episode, or the part of one that a run has of its own.

    Attributes:
        run: the run's name.
        number: of the episode in its run, counted from 1.
        step: of the first own state in the run's history.
        borrowed: True if the first observation is that of a state that is not its own: the one
            that the run was branched off at.
        observation: T + 1 observations: an array with a leading axis, a list of texts, or a dict
            or tuple of these; None if there are none.
        action: T actions, likewise.
        reward, terminated, truncated: T of each.
        absent: for each of the own states the fields of ``ARRAYS`` that it does not have.
        rest: for each of the own states its other fields.
        seed: of the reset, None if it had none.
    """

    run: str
    number: int
    step: int
    borrowed: bool
    observation: Any
    action: Any
    reward: AnyArray
    terminated: AnyArray
    truncated: AnyArray
    absent: list[list[str]]
    rest: list[dict[str, Any]]
    seed: int | None

    @property
    def states(self) -> int:
        """The number of own states."""
        return len(self.rest)


def episodes_of(export: Export) -> Iterator[EpisodeArrays]:
    """Yield the episodes of an export in order.

    Raises:
        InvalidInput: observations or actions are not of one type and shape.
    """
    if export.where is not None or export.fields is not None:
        raise InvalidInput("episodes must be whole here: export without --fields and --where")
    lacking: dict[str, int] = {}
    for states in export.ranges():
        start = 0
        while start < len(states):
            stop = _next_border(states, start, export.at_once(_STATES))
            for episode in _chunk(export, states, start, stop):
                for i, gone in enumerate(episode.absent):
                    for name in gone if i or episode.borrowed else {"observation"} & {*gone}:
                        lacking[name] = lacking.get(name, 0) + 1
                yield episode
            export.tell(stop - start, stop - start)
            start = stop
    for name in lacking.keys() & {"observation", "action", "reward"}:
        export.notes.append(f"'{name}' is absent in {plural(lacking[name], 'state')}: zeros there")


def _next_border(states: Trajectory, start: int, most: int) -> int:
    """Return the end of the last whole episode of so many states, or of a longer one."""
    if len(states) - start <= most:
        return len(states)
    after = np.flatnonzero(states.episode_starts[start + 1 :]) + start + 1
    near = after[after <= start + most]
    if len(near):
        return int(near[-1])
    return int(after[0]) if len(after) else len(states)


def _chunk(export: Export, states: Trajectory, start: int, stop: int) -> Iterator[EpisodeArrays]:
    begins = states.episode_starts[start] or states.start + start == 0
    first = states.start + start - (not begins)  # the state before may not be in the range
    part = Trajectory(export.odb, states.place, first, states.start + stop, states.name)
    columns = [_column(part, name) for name in ARRAYS]
    masks = {name: _absent(column, len(part)) for name, column in zip(ARRAYS, columns, strict=True)}
    rest = _rest(export, states, start, stop)
    numbers = [*_numbers(columns[2:], len(part))]
    ids = part.episode_ids
    starts = part.episode_starts.copy()
    starts[0] = True
    for a, b in itertools.pairwise([*np.flatnonzero(starts).tolist(), len(part)]):
        borrowed = a == 0 and not begins
        own = range(a + borrowed, b)
        if not borrowed and not all(masks[name][a] for name in ARRAYS[1:]):
            raise InvalidInput(
                f"step {part.start + a} of '{states.name}' begins an episode and has an action or "
                "reward, for which there is no place here; parquet and jsonl take all states"
            )
        observation, action = _cut(columns[0], a, b), _cut(columns[1], a + 1, b)
        reward, terminated, truncated = (each[a + 1 : b] for each in numbers)
        mine = rest[own.start - (not begins) : own.stop - (not begins)]
        seed = mine[0].get("reset", {}).get("seed")
        yield EpisodeArrays(
            states.name, int(ids[a]), part.start + own.start, borrowed,
            observation, action, reward, terminated, truncated,
            [[n for n in ARRAYS if masks[n][i]] for i in own], mine,
            int(seed) if isinstance(seed, (int, np.integer)) else None,
        )  # fmt: skip


def _column(part: Trajectory, name: str) -> Any:
    """Return a field as arrays, nested as it is; None if no state has it.

    Raises:
        InvalidInput: its values are not of one type and shape.
    """
    try:
        (found,) = part.leaf_columns(name)
    except NotFound:
        return None
    return found


def _absent(column: Any, count: int) -> AnyArray:
    if column is None:
        return np.ones(count, bool)
    if isinstance(column, LeafColumn):
        return ~column.present
    below = list(column.values()) if isinstance(column, dict) else list(column)
    masks = [_absent(each, count) for each in below]
    if not masks:
        return np.zeros(count, bool)
    if any((mask != masks[0]).any() for mask in masks):
        raise InvalidInput("an observation or action lacks an entry that others have")
    return masks[0]


def _cut(column: Any, start: int, stop: int) -> Any:
    """Return some states of a column, as arrays and lists of texts."""
    if column is None:
        return None
    if isinstance(column, dict):
        return {str(name): _cut(each, start, stop) for name, each in column.items()}
    if isinstance(column, tuple):
        return tuple(_cut(each, start, stop) for each in column)
    values = column.values
    none = column.objects is not None and any(each is None for each in column.objects[start:stop])
    if isinstance(values, np.ndarray) and not none and values.dtype.kind in "biufc":
        return values[start:stop]
    found = list(values[start:stop])
    if all(isinstance(each, str) for each in found):
        return found
    if not isinstance(values, np.ndarray) and column.absent[start:stop].all():
        return None
    raise InvalidInput(
        "observations and actions must be numbers or arrays of one type and shape, or texts; "
        "parquet and jsonl take all values"
    )


def _numbers(columns: Sequence[Any], count: int) -> Iterator[AnyArray]:
    """Yield rewards and flags, 0 and False where a state has none."""
    for column, dtype in zip(columns, (float, bool, bool), strict=True):
        if column is None:
            yield np.zeros(count, dtype)
        else:
            yield np.asarray(column.filled(dtype(0)), dtype)


def _rest(export: Export, states: Trajectory, start: int, stop: int) -> list[dict[str, Any]]:
    """Return the other fields of states."""
    found: list[dict[str, Any]] = []
    for rows in export.rows_of(states, states.start + start, states.start + stop):
        wanted = tuple(each for each in rows.schema.fields if each[0][0] not in ARRAYS)
        found += row_values(only_fields(rows, Schema(wanted)))
    return found


# --- the file of the rest ------------------------------------------------------------------------


class RestWriter:
    """The file beside a format's own: the manifest, and what the format has no place for."""

    def __init__(self, folder: Path, export: Export) -> None:
        self._out = (folder / REST).open("w", encoding="utf-8")
        self._out.write(f'{{"simgit": {write_manifest(export)}}}\n')

    def add(self, episode: EpisodeArrays, more: Mapping[str, Any] | None = None) -> None:
        """Write a line for an episode, with entries of a format, and one for each of its states."""
        head = {"episode": episode.number, "states": episode.states, "borrowed": episode.borrowed}
        lines = [json.dumps(head | dict(more or {}), allow_nan=False)]
        for value, absent in zip(episode.rest, episode.absent, strict=True):
            if value == _EMPTY and not absent:  # as most are
                lines.append(_EMPTY_LINE)
                continue
            gone = {"absent": absent} if absent else {}
            record = {name: value_to_json(item) for name, item in value.items()} | gone
            lines.append(json.dumps(record, allow_nan=False))
        self._out.write("\n".join(lines) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._out.close()


class OwnStates(NamedTuple):
    """The states of an episode in the file of the rest."""

    number: int
    states: int
    borrowed: bool
    rest: list[dict[str, Any]]
    absent: list[list[str]]
    final: Any = None


class RestReader:
    """A reader of the file of the rest."""

    def __init__(self, opened: BinaryIO) -> None:
        """Read the manifest.

        Raises:
            IntegrityError: it is malformed.
        """
        self._opened = opened
        first = self._opened.readline(MAX_MANIFEST + 1)
        if len(first) > MAX_MANIFEST or not first.startswith(b'{"simgit": '):
            raise IntegrityError(f"malformed file '{REST}': it must begin with its manifest")
        self.manifest: FileManifest = read_manifest(first.rstrip()[len(b'{"simgit": ') : -1])

    def episodes(self) -> Iterator[OwnStates]:
        """Yield the episodes in order.

        Raises:
            IntegrityError: a line is malformed or missing.
        """
        while (head := self._line()) is not None:
            count, number = head.get("states"), head.get("episode")
            if type(count) is not int or type(number) is not int or count < 1:
                raise IntegrityError(f"malformed file '{REST}': an episode has no states")
            rest: list[dict[str, Any]] = []
            absent: list[list[str]] = []
            for _ in range(count):
                line = self._line()
                if line is None:
                    raise IntegrityError(f"file '{REST}' was truncated")
                gone = line.pop("absent", [])
                if not isinstance(gone, list) or not set(map(str, gone)) <= set(ARRAYS):
                    raise IntegrityError(f"malformed file '{REST}': unknown absent fields")
                absent.append(gone)
                rest.append({k: v for k, v in line.items() if k in FIELDS and k not in ARRAYS})
            borrowed = bool(head.get("borrowed"))
            yield OwnStates(number, count, borrowed, rest, absent, head.get("final"))

    def _line(self) -> dict[str, Any] | None:
        line = self._opened.readline(_MAX_LINE + 1)
        if not line:
            return None
        try:
            if len(line) > _MAX_LINE:
                raise ValueError("too long")
            found = parse_json(line)
        except (InvalidInput, ValueError, RecursionError) as error:
            raise IntegrityError(f"malformed line of '{REST}': {error}") from None
        if not isinstance(found, dict):
            raise IntegrityError(f"malformed line of '{REST}': it must be an object")
        return found


class EpisodeRows:
    """The rows of stretches, taken from episodes one after another."""

    def __init__(self, episodes: Iterator[tuple[OwnStates, Mapping[str, Any]]]) -> None:
        """Take episodes, each with its arrays, which have one entry for each own state."""
        self._episodes = episodes
        self._held: tuple[OwnStates, Mapping[str, Any]] | None = None
        self._at = 0

    def read(self, claim: StretchClaim) -> Iterator[Rows]:
        """Yield the rows that a claim is about, the next ones."""
        left = claim.rows
        while left:
            if self._held is None:
                self._held, self._at = next(self._episodes, None), 0
                if self._held is None:
                    return
            own, arrays = self._held
            size = min(left, own.states - self._at)
            yield _packed(claim.schema, own, arrays, self._at, self._at + size)
            left, self._at = left - size, self._at + size
            if self._at == own.states:
                self._held = None

    def finish(self) -> None:
        """Raise IntegrityError if there are more episodes."""
        if self._held is not None or next(self._episodes, None) is not None:
            raise IntegrityError("the source has more states than its manifest says: it was edited")


def _packed(
    schema: Schema, own: OwnStates, arrays: Mapping[str, Any], start: int, stop: int
) -> Rows:
    packer = RowPacker(schema, stop - start)
    rest = own.rest[start:stop]
    for name, node in schema.root.children.items():
        if name not in ARRAYS:
            packer.fill((name,), node, [each.get(name, ABSENT) for each in rest])
            continue
        here = np.array([name not in gone for gone in own.absent[start:stop]], bool)
        if here.any() or node.children:
            data = arrays.get(name)
            if data is None and here.any():
                raise IntegrityError(f"the source lacks field '{name}' of a state")
            if data is not None:
                fill_nested(packer, (name,), node, _cut_arrays(data, start, stop), here)
    names = {name for each in rest for name in each} | {
        name for name in ARRAYS for gone in own.absent[start:stop] if name not in gone
    }
    if not names <= set(schema.root.children):
        raise IntegrityError("hash mismatch: a state has a field that its schema lacks")
    return finished(packer, stop - start)


def _cut_arrays(data: Any, start: int, stop: int | None) -> Any:
    if isinstance(data, dict):
        return {name: _cut_arrays(each, start, stop) for name, each in data.items()}
    if isinstance(data, tuple):
        return tuple(_cut_arrays(each, start, stop) for each in data)
    return data[start:stop]


def own_arrays(
    own: OwnStates, observation: Any, action: Any, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arrays of an episode with one entry for each own state.

    Args:
        own: the states.
        observation: T + 1 observations.
        action: T actions.
        more: T of each other field.

    Raises:
        IntegrityError: there are more or fewer than the states need.
    """
    shift = 0 if own.borrowed else 1
    found = {"observation": of_length(observation, own.states + own.borrowed)}
    if own.borrowed and observation is not None:
        found["observation"] = _cut_arrays(observation, 1, None)
    for name, data in {"action": action, **more}.items():
        if data is None:
            continue
        short = of_length(data, own.states - shift)
        found[name] = _padded(short) if shift else short
    return {name: data for name, data in found.items() if data is not None}


def of_length(data: Any, count: int) -> Any:
    """Return arrays, nested as they are, after a check of their lengths; None where there are none.

    Raises:
        IntegrityError: one has another length.
    """
    if isinstance(data, (dict, tuple)):
        for each in data.values() if isinstance(data, dict) else data:
            of_length(each, count)
    elif data is not None and not isinstance(data, list) and np.ndim(data) < 1:
        raise IntegrityError("an episode has a single value in place of an array")
    elif data is not None and len(data) != count:
        raise IntegrityError(
            f"an episode must have {count} entries here, got {len(data)}: it was edited"
        )
    return data


def _padded(data: Any) -> Any:
    """Return data with an entry before the first, for the reset, which has none."""
    if isinstance(data, dict):
        return {name: _padded(each) for name, each in data.items()}
    if isinstance(data, tuple):
        return tuple(_padded(each) for each in data)
    if isinstance(data, list):
        return ["", *data]
    return np.concatenate([np.zeros((1, *data.shape[1:]), data.dtype), data])


def at_row(data: Any, row: int) -> Any:
    """Return the value of one row of arrays, nested as they are; None where there is none."""
    if data is None:
        return None
    if isinstance(data, dict):
        return {name: at_row(each, row) for name, each in data.items()}
    if isinstance(data, tuple):
        return tuple(at_row(each, row) for each in data)
    return data[row]
