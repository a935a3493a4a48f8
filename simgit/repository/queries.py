"""Reading: queries in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simgit.errors import NotFound

if TYPE_CHECKING:
    from simgit.datasets.sql.relation import Relation
    from simgit.repository.states import States
    from simgit.repository.store import Store


class Queries:
    """Answers queries over all that is recorded."""

    def __init__(self, store: Store, states: States) -> None:
        self._store = store
        self._states = states

    def sql(self, text: str, params: Sequence[Any] | Mapping[str, Any] | None) -> Relation:
        try:
            from simgit.datasets.sql.session import query
        except ModuleNotFoundError as error:
            if error.name not in ("duckdb", "pyarrow"):
                raise
            raise NotFound(f"a query needs {error.name}: pip install 'simgit[sql]'") from None
        return query(self._store, text, params, self._states.trajectory)
