"""Reading: queries in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simgit.errors import NotFound
from simgit.refs.saved_queries import delete_query, save_query, saved_queries

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
        found: Relation = _session().query(self._store, text, params, self._states.trajectory)
        return found

    def saved(self) -> dict[str, str]:
        with self._store.read() as txn:
            return saved_queries(txn)

    def save(self, name: str, text: str) -> None:
        _session().check(text)
        with self._store.write("save-query", name) as txn:
            save_query(txn, name, text)

    def delete(self, name: str) -> str:
        with self._store.write("delete-query", name) as txn:
            return delete_query(txn, name)


def _session() -> Any:
    try:
        from simgit.datasets.sql import session
    except ModuleNotFoundError as error:
        if error.name not in ("duckdb", "pyarrow"):
            raise
        raise NotFound(f"a query needs {error.name}: pip install 'simgit[sql]'") from None
    return session
