"""Matching the rows of a replay buffer with recorded transitions, and comparing them bit by bit.

The newest transitions are expected in the newest rows; rows that are not what is expected there are
looked for by their content.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from simgit.integrations.rings import Ring
from simgit.integrations.transitions import (
    CHUNK,
    ZERO,
    AnyArray,
    Ints,
    RecordedTransitions,
    differing,
    predicted,
    roles,
    row_keys,
)

_SAMPLE: Final = 256
_WIDE: Final = ("observation", "next_observation", "action", "one_hot_action", "reward")
"""The beginnings of the roles that tell most transitions apart."""
_OFFSETS: Final = 4
"""How many recorded steps may not have reached the buffer yet, beside none."""
_NAMES: Final = (
    ("obs", "observation"), ("state", "observation"), ("act", "action"), ("rew", "reward"),
    ("timeout", "timeout"), ("terminat", "terminated"), ("trunc", "truncated"), ("done", "done"),
)  # fmt: skip


@dataclass
class RowMatches:
    """Matches of a buffer's rows with transitions; row ``lane * slots + slot`` is that of a slot.

    Attributes:
        roles: the role of each column.
        history, step: for each row the history and step of its transition, -1 without one.
        stray: for each column the rows that differ from what is recorded.
        blocks: the hash of each block of slots when it was compared.
    """

    roles: dict[str, str]
    history: Ints
    step: Ints
    stray: dict[str, npt.NDArray[np.bool_]]
    blocks: dict[int, bytes] = field(default_factory=dict)


def no_transitions(rows: int) -> tuple[Ints, Ints]:
    return np.full(rows, -1, np.int64), np.full(rows, -1, np.int64)


def matched(ring: Ring, histories: Sequence[RecordedTransitions], known: RowMatches) -> RowMatches:
    """Return what is known of all rows, after those that changed were compared again."""
    blocks = {number: block_hash(ring, number) for number in ring.blocks()}
    changed = [number for number, each in blocks.items() if known.blocks.get(number) != each]
    rows = ring.rows_in(changed)
    known.stray = {name: known.stray.get(name, np.ones(ring.rows, bool)) for name in ring.columns}
    late = 0
    if known.blocks:
        _compare(ring, histories, known, rows)
    else:
        known.roles, late = _infer(ring, histories, rows)
    new = rows[_unmatched(known, rows)]  # since the last time
    known.history[new], known.step[new] = _by_age(ring, histories, new, late)
    _compare(ring, histories, known, new)
    lost = rows[_unmatched(known, rows)]
    _look_up(ring, histories, known, lost, _WIDE)
    is_better = _improve(ring, histories, known, rows)
    if is_better:
        rows = ring.rows_in(list(blocks))
        _compare(ring, histories, known, rows)
    if is_better or len(lost):  # by all that is known of the columns now
        stray = np.logical_or.reduce([mask[rows] for mask in known.stray.values()])
        _look_up(ring, histories, known, rows[stray], "")
    lost = rows[_unmatched(known, rows)]
    known.history[lost] = known.step[lost] = -1
    _compare(ring, histories, known, lost)
    known.blocks = blocks
    return known


def _by_age(
    ring: Ring, histories: Sequence[RecordedTransitions], rows: Ints, late: int
) -> tuple[Ints, Ints]:
    """Return history and step of rows if the newest transitions are in the newest rows, in order.

    Args:
        ring: the buffer.
        histories: the histories; without a row for each, they take turns.
        rows: the rows.
        late: the newest recorded steps that are not in the buffer.
    """
    lane, slot = np.divmod(rows, ring.slots)
    age = (ring.position - 1 - slot) % ring.slots
    if ring.lanes == len(histories):
        of = lane
    else:
        age, turn = np.divmod(age, max(1, len(histories)))
        of = len(histories) - 1 - turn
    history, step = no_transitions(len(rows))
    for number, each in enumerate(histories):
        mine = of == number
        steps = each.newest(int(age[mine].max(initial=0)) + 1 + late)
        place = len(steps) - 1 - late - age[mine]
        step[mine] = np.where(place >= 0, steps[np.maximum(place, 0)] if len(steps) else -1, -1)
        history[mine] = np.where(step[mine] >= 0, number, -1)
    return history, step


def _infer(
    ring: Ring, histories: Sequence[RecordedTransitions], rows: Ints
) -> tuple[dict[str, str], int]:
    """Return the role of each column that fits best, and how many newest steps are not there."""
    age = (ring.position - 1 - rows % ring.slots) % ring.slots
    sample = rows[np.argsort(age, kind="stable")][:_SAMPLE]
    tried: list[dict[str, tuple[str, int, str]]] = []
    wrong: list[int] = []
    while len(tried) < _OFFSETS and 0 not in wrong:
        places = _by_age(ring, histories, sample, len(tried))
        tried.append(_best_roles(ring, histories, sample, *places))
        wrong.append(sum(count for _, count, _ in tried[-1].values()))
    late = int(np.argmin(wrong))
    found = {name: role for name, (role, _, _) in tried[late].items()}
    if wrong[late] * 4 > len(sample) * len(found):  # they are in another order
        found = {name: usual for name, (_, _, usual) in tried[late].items()}
    return found, late


def _best_roles(
    ring: Ring, histories: Sequence[RecordedTransitions], rows: Ints, history: Ints, step: Ints
) -> dict[str, tuple[str, int, str]]:
    """Return for each column the role that fits best, the rows that differ, and the usual role."""
    wrong: dict[str, dict[str, int]] = {name: {} for name in ring.columns}
    seen = 0
    for part, parts in chunks(histories, rows, history, step):
        seen += len(part)
        for name, column in ring.columns.items():
            held = ring.take(column, part)
            for role in roles(parts, held, ring.bounds):
                found = predicted(role, parts, held, ring.bounds)
                count = len(part) if found is None else int(differing(held, found).sum())
                wrong[name][role] = wrong[name].get(role, 0) + count
    best: dict[str, tuple[str, int, str]] = {}
    for name, counts in wrong.items():
        usual = _usual(name, counts)
        role = min(counts, key=lambda role: (counts[role], role != usual)) if counts else usual
        best[name] = role, counts.get(role, 0) + len(rows) - seen, usual
    return best


def _usual(name: str, among: Collection[str]) -> str:
    """Return the one of some roles that a column's name suggests."""
    plain, inner = name.lower(), name.partition(".")[2]
    for word, role in _NAMES:
        if word in plain:
            following = "next_" if "next" in plain and role == "observation" else ""
            wanted = (f"{following}{role}.{inner}", f"{following}{role}", f"one_hot_{role}")
            return next((each for each in wanted if each in among), ZERO)
    return ZERO


def chunks(
    histories: Sequence[RecordedTransitions], rows: Ints, history: Ints, step: Ints
) -> Iterator[tuple[Ints, dict[str, AnyArray]]]:
    """Yield rows that have a transition, and the parts of their transitions, a chunk at a time."""
    for number, each in enumerate(histories):
        mine = np.flatnonzero((history == number) & (step > 0))
        mine = mine[np.argsort(step[mine], kind="stable")]
        cuts = np.flatnonzero(np.diff(step[mine] // CHUNK)) + 1
        for part in np.split(mine, cuts):
            if len(part):
                yield rows[part], each.read(step[part])


def _compare(
    ring: Ring, histories: Sequence[RecordedTransitions], known: RowMatches, rows: Ints
) -> None:
    """Compare rows with the transitions that they are thought to hold."""
    for mask in known.stray.values():
        mask[rows] = True
    for part, parts in chunks(histories, rows, known.history[rows], known.step[rows]):
        for name, column in ring.columns.items():
            held = ring.take(column, part)
            found = predicted(known.roles[name], parts, held, ring.bounds)
            if found is not None:
                known.stray[name][part] = differing(held, found)


def _telling(known: RowMatches) -> list[str]:
    """Return the columns that tell one transition from another."""
    found = [name for name, role in known.roles.items() if "observation" in role]
    return found or [name for name, role in known.roles.items() if role != ZERO]


def _unmatched(known: RowMatches, rows: Ints) -> npt.NDArray[np.bool_]:
    """Return a mask of the rows that hold nothing of the transition that they were compared to."""
    lost = known.step[rows] < 0
    masks = [known.stray[name][rows] for name in _telling(known)]
    return lost | np.logical_and.reduce(masks) if masks else lost


def _look_up(
    ring: Ring,
    histories: Sequence[RecordedTransitions],
    known: RowMatches,
    rows: Ints,
    wide: str | tuple[str, ...],
) -> None:
    """Look for rows among all recent transitions by their content, in columns of some roles."""
    names = [
        name for name, role in known.roles.items() if role != ZERO and role.startswith(wide)
    ]  # fmt: skip
    keys, places = [], []
    for number, each in enumerate(histories if len(rows) and names else ()):
        steps = each.newest(2 * ring.rows)
        for part in np.split(steps, range(CHUNK, len(steps), CHUNK)):
            parts = each.read(part) if len(part) else {}
            found = [
                predicted(known.roles[name], parts, ring.columns[name][:0, 0], ring.bounds)
                for name in names
                if parts
            ]
            columns = [values for values in found if values is not None]
            if columns and len(columns) == len(names):
                keys.append(row_keys(columns))
                places.append(np.stack([np.full(len(part), number), part], axis=1))
    if not keys:
        return
    recorded, where = np.concatenate(keys), np.concatenate(places)
    wanted = row_keys([ring.take(ring.columns[name], rows) for name in names])
    at = _in_sequence(recorded, wanted)
    hit = at >= 0
    known.history[rows[hit]], known.step[rows[hit]] = where[at[hit]].T
    _compare(ring, histories, known, rows[hit])


def _in_sequence(recorded: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]) -> Ints:
    """Return the place of each wanted key, -1 without one; of several the one after the last."""
    order = np.argsort(recorded, kind="stable")
    nearest = np.minimum(np.searchsorted(recorded[order], wanted), len(order) - 1)
    at = order[nearest]
    at[recorded[at] != wanted] = -1
    for i in range(1, len(at)):
        after = at[i - 1] + 1
        if 0 < after < len(recorded) and at[i] != after and recorded[after] == wanted[i]:
            at[i] = after
    return at


def _improve(
    ring: Ring, histories: Sequence[RecordedTransitions], known: RowMatches, rows: Ints
) -> bool:
    """Give a column another role where that explains all rows; return True if there is one.

    (Until an episode was truncated, nothing tells ``terminated`` from ``done``.)
    """
    rows = rows[known.step[rows] >= 0]
    poor = [name for name, mask in known.stray.items() if mask[rows].any()]
    if not poor or not len(rows):
        return False
    few = Ring(
        {name: ring.columns[name] for name in poor}, ring.count, ring.position, ring.bounds
    )  # fmt: skip
    found = _best_roles(few, histories, rows, known.history[rows], known.step[rows])
    better = {
        name: role
        for name, (role, count, _) in found.items()
        if role != known.roles[name] and count < int(known.stray[name][rows].sum())
    }
    known.roles |= better
    return bool(better)


def block_hash(ring: Ring, number: int) -> bytes:
    """Return the hash of a block of slots of all columns."""
    hasher = blake3()
    for name in sorted(ring.columns):
        hasher.update(np.ascontiguousarray(ring.block(ring.columns[name], number)).tobytes())
    return hasher.digest()
