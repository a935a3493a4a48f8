"""simulator-state-db: a tree of states in four tables of SQLite or PostgreSQL.

A run of the tables becomes a run here, from the root of its states to its current one; the states
that it shares with another one are stored once, and it is branched off there. Order is that of the
parents: ``sequence_order`` has no constraint and may have gaps and doubles.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import numpy as np

from simgit.datasets.formats.base import (
    Attachment,
    Contents,
    ImportOnly,
    Source,
    SourceRun,
    state_columns,
)
from simgit.datasets.formats.state_rows import (
    flag_of,
    info_of,
    json_of,
    parents_first,
    plain_row,
    records,
    run_name,
    settings_of,
)
from simgit.datasets.formats.state_tree import MISSING, ROOT, StateTree
from simgit.datasets.formats.tables import (
    BATCH,
    Tables,
    is_postgres,
    is_sqlite,
    open_tables,
)
from simgit.datasets.formats.text_values import nanoseconds
from simgit.errors import IntegrityError, InvalidInput, SimgitError, plural
from simgit.objects.columns import Columns
from simgit.recording.stream import arrays_of
from simgit.refs.records import STATUSES

TABLES: Final = ("simulations", "states", "simulation_runs", "run_state_sequence")
_STATE: Final = (
    "observation", "action", "reward", "done", "truncated", "step_number", "info", "extra_metadata",
    "created_at",
)  # fmt: skip
_NEEDED: Final = frozenset(("id", "parent_state_id", "observation"))
_NEEDED_RUNS: Final = frozenset(("id", "name", "simulation_id"))
MAP: Final = "source-ids"
"""The attachment that has the ids of a run's own states in the tables, and their oids here."""
_PART: Final = 65536
"""The most states in one of them; the last one is the newest state's."""
_EXAMPLES: Final = 3
"""The ids that a note names at most."""


class StateDbFormat(ImportOnly):
    """The format of simulator-state-db, on SQLite and PostgreSQL."""

    name = "simulator-state-db"
    summary = "simulator-state-db's tables (SQLite, postgresql://); import only"

    def probe(self, source: Source) -> bool:
        """Return True for a URL of PostgreSQL, and a SQLite file that names the tables."""
        if is_postgres(source.text):
            return True
        if not is_sqlite(source.head()):
            return False
        tables = open_tables(str(source.path))
        try:
            return bool(tables.columns("states")) and bool(tables.columns("simulation_runs"))
        finally:
            tables.close()

    def read(self, source: Source) -> Contents:
        """Return the runs of the tables."""
        source.check_options("arrays")
        address = source.text if is_postgres(source.text) else str(source.path)
        return read_tables(open_tables(address), "arrays" in source.options)


def read_tables(tables: Tables, arrays: bool) -> Contents:
    """Return the runs of tables, each with the states that no run before it has.

    Args:
        tables: the tables; they are closed when the last state was read.
        arrays: True to make arrays of lists of numbers in observations and actions.

    Raises:
        InvalidInput: a table or column is missing.
    """
    names = tables.columns("states")
    runs = set(tables.columns("simulation_runs"))
    for table, missing in (
        ("states", _NEEDED - set(names)),
        ("simulation_runs", _NEEDED_RUNS - runs),
    ):
        if missing:
            tables.close()
            raise InvalidInput(f"table '{table}' lacks column '{min(missing)}'")
    tree = StateTree(tables.rows("SELECT id, parent_state_id FROM states"))
    simulations = {str(row["id"]): row for row in records(tables, "simulations")}
    rows = parents_first(records(tables, "simulation_runs"))
    reading = _Reading(tables, tree, [name for name in _STATE if name in names], arrays)
    plans = reading.plan(rows, simulations)
    reading.note_rest()
    contents = Contents((), sum(len(plan.own) for plan in plans), notes=reading.notes)
    contents.runs = reading.runs(plans)
    return contents


@dataclass
class _Plan:
    """A run that is to be read: the numbers of its own states, and where they continue."""

    row: Mapping[str, Any]
    simulation: Mapping[str, Any]
    name: str
    own: Any
    start: int
    """The step of the first of its own states."""
    above: int | None
    """The index of the run that it was branched off."""
    times: array[int] = field(default_factory=lambda: array("q"))


class _Reading:
    """The runs of one database, while they are planned and read."""

    def __init__(self, tables: Tables, tree: StateTree, names: list[str], arrays: bool) -> None:
        self._tables = tables
        self._tree = tree
        self._names = names
        self._arrays = arrays
        self._owner = np.full(len(tree), -1, np.int32)
        self._step = np.zeros(len(tree), np.int64)
        self._both = self._after_end = 0
        self.notes: list[str] = []

    # --- planning ---

    def plan(
        self, rows: list[dict[str, Any]], simulations: Mapping[str, Mapping[str, Any]]
    ) -> list[_Plan]:
        """Return the runs that can be read, each with the states that none before it has."""
        orphans, circles = self._tree.fates()
        for numbers, what in (
            (orphans, "without a root, as a parent is missing"),
            (circles, "in circles"),
        ):
            if len(numbers):
                self.notes.append(
                    f"{plural(len(numbers), 'state')} {what}; not imported: "
                    f"{self._examples(numbers)}"
                )
        if self._tree.doubles:
            shown = ", ".join(self._tree.doubles[:_EXAMPLES])
            self.notes.append(f"{plural(len(self._tree.doubles), 'id')} twice: {shown}")
        lost = np.zeros(len(self._tree), bool)
        lost[orphans] = lost[circles] = True
        several = len({row["simulation_id"] for row in rows}) > 1
        plans: list[_Plan] = []
        taken: set[str] = set()
        for row in rows:
            simulation = simulations.get(str(row["simulation_id"]), {})
            tip = self._tip(row, lost)
            if tip is None or lost[tip]:
                why = "it has no state" if tip is None else "its states have no root"
                self.notes.append(f"run '{row['name']}' ({row['id']}) not imported: {why}")
                continue
            name = run_name(row, simulation, several, taken)
            plans.append(self._plan_run(row, simulation, name, tip, len(plans)))
            self._check_sequence(plans)
        return plans

    def _examples(self, numbers: Any) -> str:
        more = ", …" if len(numbers) > _EXAMPLES else ""
        return ", ".join(self._tree.ids(numbers[:_EXAMPLES])) + more

    def _tip(self, row: Mapping[str, Any], lost: Any) -> int | None:
        """Return the number of a run's newest state; None if it has none."""
        if row.get("current_state_id") is not None:
            found = self._tree.number(row["current_state_id"])
            return None if found == MISSING else found
        links = self._tables.rows(
            "SELECT state_id FROM run_state_sequence WHERE run_id = ? ORDER BY sequence_order",
            (row["id"],),
        )
        known = [number for (id_,) in links if (number := self._tree.number(id_)) != MISSING]
        known = [number for number in known if not lost[number]]
        parents = {int(self._tree.parents[number]) for number in known}
        leaves = [number for number in known if number not in parents]
        if len(leaves) > 1:
            self.notes.append(
                f"run '{row['name']}' has {len(leaves)} newest states; taken: "
                f"{self._tree.id(leaves[-1])}"
            )
        root = row.get("root_state_id")
        number = leaves[-1] if leaves else self._tree.number(root)
        return None if number == MISSING else number

    def _plan_run(
        self, row: Mapping[str, Any], simulation: Mapping[str, Any], name: str, tip: int, index: int
    ) -> _Plan:
        own, at = array("q"), tip
        parents, owner = self._tree.parents, self._owner
        while at != ROOT and owner[at] < 0:
            own.append(at)
            at = int(parents[at])
        numbers = np.frombuffer(own, np.int64)[::-1]
        start = 0 if at == ROOT else int(self._step[at]) + 1
        owner[numbers] = index
        self._step[numbers] = np.arange(start, start + len(numbers))
        return _Plan(row, simulation, name, numbers, start, None if at == ROOT else int(owner[at]))

    def _check_sequence(self, plans: list[_Plan]) -> None:
        """Note if the table of sequences has other states for the last run than its parents say."""
        plan = plans[-1]
        # of each run on the way: the step up to which it is shared; the last entry is nobody's
        shared = np.full(len(plans) + 1, -1, np.int64)
        index: int | None = len(plans) - 1
        step = plan.start + len(plan.own)
        while index is not None:
            shared[index] = step
            step = plans[index].start - 1
            index = plans[index].above
        query = "SELECT state_id FROM run_state_sequence WHERE run_id = ?"
        rest = self._tables.rows(query, (plan.row["id"],))
        others = 0
        while part := [id_ for (id_,) in islice(rest, _PART)]:
            numbers = self._tree.numbers(part)
            known = numbers[numbers != MISSING]
            here = self._step[known] <= shared[self._owner[known]]
            others += len(part) - int(np.count_nonzero(here))
        if others:
            self.notes.append(
                f"run '{plan.row['name']}': {plural(others, 'state')} of its sequence are no "
                "ancestors of its newest one; order is that of the parents"
            )

    def note_rest(self) -> None:
        """Note the states that no run leads to."""
        rest = np.flatnonzero(self._owner < 0)
        lost = np.concatenate(self._tree.fates())
        rest = np.setdiff1d(rest, lost)
        if len(rest):
            self.notes.append(
                f"{plural(len(rest), 'state')} that no run leads to; not imported: "
                f"{self._examples(rest)}"
            )

    # --- reading ---

    def runs(self, plans: list[_Plan]) -> Iterator[SourceRun]:
        """Yield the runs; then close the tables."""
        try:
            for plan in plans:
                yield self._run(plan, plans)
        finally:
            self._tables.close()
        if self._both:
            self.notes.append(
                f"{plural(self._both, 'state')} done and truncated: marked truncated only, since "
                "whether they terminated too was not recorded"
            )
        if self._after_end:
            self.notes.append(
                f"{plural(self._after_end, 'state')} with an action follow the end of an episode"
            )

    def _run(self, plan: _Plan, plans: list[_Plan]) -> SourceRun:
        row, simulation = plan.row, plan.simulation
        above = None if plan.above is None else plans[plan.above]
        inherits = above is not None and above.simulation is simulation
        settings = {} if inherits else settings_of(simulation)
        overrides = row.get("config_overrides")
        if isinstance(overrides, dict) and overrides:
            settings["agent"] = {**settings.get("agent", {}), **overrides}
        status = str(row.get("status"))
        seed = simulation.get("seed")
        return SourceRun(
            plan.name,
            self._blocks(plan),
            None if above is None else (above.name, plan.start - 1),
            spec={
                "source": StateDbFormat.name,
                "environment_name": simulation.get("environment_name"),
                "environment_config": simulation.get("environment_config"),
            },
            config=settings,
            seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
            metadata={"simulation": plain_row(simulation), "run": plain_row(row)},
            status=status if status in STATUSES else "paused",
            created=nanoseconds(row.get("created_at")),
            ended=nanoseconds(row.get("completed_at")),
            of_oids=lambda oids: self._map(plan, oids),
        )

    def _map(self, plan: _Plan, oids: Any) -> Iterator[Attachment]:
        """Yield the ids that a run's own states had, with their oids and times here."""
        times = np.array(plan.times, "<M8[ns]")
        for at in range(0, len(oids), _PART):
            part = slice(at, at + _PART)
            ids = self._tree.array(plan.own[part])
            found = {"id": ids, "oid": oids[part], "created_at": times[part]}
            yield plan.start + at + len(ids) - 1, MAP, found

    def _blocks(self, plan: _Plan) -> Iterator[Columns]:
        return state_columns(self._states(plan), BATCH)

    def _states(self, plan: _Plan) -> Iterator[dict[str, Any]]:
        ended = False
        if plan.start:
            before = int(self._tree.parents[plan.own[0]]) if len(plan.own) else ROOT
            ended = before >= 0 and self._has_ended(before)
        for at in range(0, len(plan.own), BATCH):
            ids = self._tree.ids(plan.own[at : at + BATCH])
            found = self._tables.by_ids("states", self._names, ids)
            if missing := set(ids) - found.keys():
                raise IntegrityError(f"damaged database: state '{min(missing)}' has no row")
            for offset, id_ in enumerate(ids):
                row = dict(zip(self._names, found[id_], strict=True))
                try:
                    state, ended = self._state(row, plan.start + at + offset, ended)
                except (SimgitError, ValueError, TypeError, OverflowError) as error:
                    raise InvalidInput(f"state '{id_}': {error}", id=id_) from None
                plan.times.append(nanoseconds(row.get("created_at")) or 0)
                yield state

    def _has_ended(self, number: int) -> bool:
        names = [name for name in ("done", "truncated") if name in self._names]
        rows = self._tables.by_ids("states", names, self._tree.ids([number])).values()
        return any(flag_of(value) for row in rows for value in row)

    def _state(
        self, row: Mapping[str, Any], step: int, after_end: bool
    ) -> tuple[dict[str, Any], bool]:
        """Return a state's fields, and whether an episode ends with it."""
        action, reward = json_of(row.get("action")), row.get("reward")
        done, truncated = flag_of(row.get("done")), flag_of(row.get("truncated"))
        state: dict[str, Any] = {"observation": json_of(row["observation"]), "action": action}
        if self._arrays:
            state = {name: arrays_of(value) for name, value in state.items()}
        state["reward"] = None if reward is None else float(reward)
        begins = step == 0 or after_end
        if begins and action is None and reward is None:
            state["reset"] = True
        self._after_end += after_end and action is not None
        self._both += done and truncated
        if not state.get("reset") or done or truncated:
            state |= {"terminated": done and not truncated, "truncated": truncated}
        state["info"] = info_of(row, step) or None
        return state, done or truncated


FORMAT: Final = StateDbFormat()
