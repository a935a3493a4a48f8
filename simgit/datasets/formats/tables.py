"""Tables of foreign databases, read only: SQLite files of strangers, and PostgreSQL servers.

A file is opened such that nothing of it can run or write: read-only and immutable, no function of
its schema is trusted, no other file is attached. What it has is read in one snapshot.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from simgit.errors import IntegrityError, InvalidInput, NotFound, StorageError
from simgit.refs.oplog.journal import without_password

SQLITE_MAGIC: Final = b"SQLite format 3\0"
POSTGRES: Final = (
    "postgresql://",
    "postgres://",
    "postgresql+psycopg2://",
    "postgresql+psycopg://",
)
"""How the URLs of PostgreSQL begin; SQLAlchemy adds the name of a driver."""
BATCH: Final = 512
"""The rows that are fetched at once, by their ids or in order."""
_LARGEST: Final = 256 << 20
"""The most bytes of one value or row of a SQLite file."""
_TICK: Final = 100_000
"""SQLite's instructions between two chances for Ctrl-C."""
_ALLOWED: Final = frozenset((
    sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
))  # fmt: skip
_FORBIDDEN_FUNCTIONS: Final = frozenset(
    ("load_extension", "readfile", "writefile", "edit", "fts3_tokenizer")
)
Row = tuple[Any, ...]


class Tables(Protocol):
    """A database that is read; ``?`` in a query stands for a parameter."""

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Yield the rows of a query, a batch at a time.

        Raises:
            InvalidInput: the query is not possible in this database.
            IntegrityError: the database is damaged.
        """

    def named_rows(self, query: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a query by the names of their columns; see ``rows``."""

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns; none if there is no such table."""

    def by_ids(self, table: str, names: Sequence[str], ids: Iterable[str]) -> dict[str, Row]:
        """Return rows of a table by their column ``id``, as far as there are any."""

    def close(self) -> None:
        """Close the connection."""


def is_sqlite(head: bytes) -> bool:
    """Return True if a file that begins so is one of SQLite."""
    return head.startswith(SQLITE_MAGIC)


def is_postgres(text: str) -> bool:
    """Return True if a text is the URL of a PostgreSQL database."""
    return text.startswith(POSTGRES)


def quoted(name: str) -> str:
    """Return a name of a table or column as it stands in a query."""
    return '"' + name.replace('"', '""') + '"'


class SqliteTables:
    """The tables of a SQLite file that may come from a stranger."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            NotFound: there is no such file.
            InvalidInput: it is not one of SQLite, or its newest changes are in another file.
        """
        self._path = path
        _check_file(path)
        uri = f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1"
        try:
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        except sqlite3.Error as error:
            raise StorageError(f"cannot read '{path}': {error}", path=str(path)) from None
        self._restrict()

    @classmethod
    def over(cls, connection: sqlite3.Connection, name: str) -> SqliteTables:
        """Return the tables of an open connection, which takes no more changes."""
        made = cls.__new__(cls)
        made._path, made._connection = Path(name), connection
        made._restrict()
        return made

    def _restrict(self) -> None:
        connection = self._connection
        for pragma in ("trusted_schema=off", "query_only=on", "cell_size_check=on", "mmap_size=0"):
            connection.execute(f"PRAGMA {pragma}")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST)
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 1 << 20)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100)
        connection.setlimit(sqlite3.SQLITE_LIMIT_VDBE_OP, 100_000)
        connection.text_factory = _text
        connection.set_authorizer(_authorize)
        # gives Python the chance to see Ctrl-C in a long query
        connection.set_progress_handler(lambda: 0, _TICK)

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Yield the rows of a query; see ``Tables``."""
        for _, row in self._execute(query, parameters):
            yield row

    def named_rows(self, query: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a query by the names of their columns; see ``Tables``."""
        for description, row in self._execute(query):
            yield {each[0]: value for each, value in zip(description, row, strict=True)}

    def _execute(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, Row]]:
        try:
            cursor = self._connection.execute(query, parameters)
            while batch := cursor.fetchmany(BATCH):
                for row in batch:
                    yield cursor.description, row
        except sqlite3.Warning as error:  # several statements at once
            raise InvalidInput(f"query on '{self._path}': {error}") from None
        except sqlite3.Error as error:
            raise self._error(error) from None
        except UnicodeError:  # of an id, or in what SQLite says
            raise IntegrityError(f"damaged database '{self._path}': a name is not UTF-8") from None

    def _error(self, error: sqlite3.Error) -> Exception:
        text = str(error).partition("\n")[0]
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            return StorageError(f"reading '{self._path}' was interrupted")
        if isinstance(error, sqlite3.OperationalError) and code in (
            sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH,
        ):  # fmt: skip
            return InvalidInput(f"query on '{self._path}': {text}", path=str(self._path))
        if code == sqlite3.SQLITE_AUTH:
            return InvalidInput(f"query on '{self._path}': {text}", path=str(self._path))
        return IntegrityError(f"damaged database '{self._path}': {text}", path=str(self._path))

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns; see ``Tables``."""
        found = list(self.rows("SELECT type, sql FROM sqlite_master WHERE name = ?", (table,)))
        if not found or found[0][0] != "table" or "VIRTUAL" in str(found[0][1]).upper()[:16]:
            return []
        try:
            cursor = self._connection.execute(f"SELECT * FROM {quoted(table)} LIMIT 0")
        except sqlite3.Error as error:
            raise self._error(error) from None
        except UnicodeError:
            raise IntegrityError(f"damaged database '{self._path}': a name is not UTF-8") from None
        return [each[0] for each in cursor.description]

    def by_ids(self, table: str, names: Sequence[str], ids: Iterable[str]) -> dict[str, Row]:
        """Return rows of a table by their ids; see ``Tables``."""
        wanted = list(ids)
        marks = ", ".join("?" * len(wanted))
        columns = ", ".join(map(quoted, ("id", *names)))
        query = f"SELECT {columns} FROM {quoted(table)} WHERE id IN ({marks})"
        return {str(row[0]): row[1:] for row in self.rows(query, wanted)}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _check_file(path: Path) -> None:
    if not path.exists():
        raise NotFound(f"'{path}' not found", path=str(path))
    if not path.is_file():
        raise InvalidInput(f"'{path}' is not a regular file", path=str(path))
    with path.open("rb") as opened:
        if not is_sqlite(opened.read(16)):
            raise InvalidInput(f"'{path}' is not a SQLite file", path=str(path))
    for suffix in ("-wal", "-journal"):
        beside = path.with_name(path.name + suffix)
        # what stands there belongs to the database, and cannot be read without writing to it
        if beside.exists() and beside.stat().st_size > 0:
            raise InvalidInput(
                f"'{path}' has changes in '{beside.name}': close the program that writes it, then "
                f"sqlite3 '{path}' 'PRAGMA wal_checkpoint(TRUNCATE)'",
                path=str(path),
            )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _authorize(
    action: int, first: str | None, second: str | None, database: str | None, source: str | None
) -> int:
    if action not in _ALLOWED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and str(second).lower() in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


class PostgresTables:
    """The tables of a PostgreSQL database, in one read-only snapshot."""

    def __init__(self, url: str) -> None:
        """Connect to a server.

        Raises:
            NotFound: the driver is not installed.
            StorageError: there is no connection.
        """
        try:
            import psycopg
        except ModuleNotFoundError:
            raise NotFound("PostgreSQL needs psycopg: pip install 'simgit[postgres]'") from None
        self._driver = psycopg
        self._shown = without_password(url)
        scheme, _, rest = url.partition("://")
        try:
            self._connection = psycopg.connect(
                f"{scheme.partition('+')[0]}://{rest}",
                options="-c default_transaction_read_only=on "
                "-c default_transaction_isolation=repeatable\\ read",
            )
        except psycopg.Error as error:
            why = " ".join(str(error).split())
            raise StorageError(f"cannot read '{self._shown}': {why}", path=self._shown) from None

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Yield the rows of a query; see ``Tables``."""
        for _, row in self._execute(query, parameters):
            yield row

    def named_rows(self, query: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a query by the names of their columns; see ``Tables``."""
        for description, row in self._execute(query):
            yield {each[0]: value for each, value in zip(description, row, strict=True)}

    def _execute(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, Row]]:
        text = query.replace("%", "%%").replace("?", "%s") if parameters else query
        try:
            # a named cursor stays on the server, and sends a batch at a time
            with self._connection.cursor("simgit") as cursor:
                cursor.itersize = BATCH
                cursor.execute(text, list(parameters) or None)
                for row in cursor:
                    yield cursor.description, row
        except self._driver.Error as error:
            self._connection.rollback()
            why = str(error).partition("\n")[0]
            raise InvalidInput(f"query on '{self._shown}': {why}", path=self._shown) from None

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns; see ``Tables``."""
        query = (
            "SELECT column_name FROM information_schema.columns WHERE table_name = ? "
            "AND table_schema = ANY (current_schemas(false)) ORDER BY ordinal_position"
        )
        return [row[0] for row in self.rows(query, (table,))]

    def by_ids(self, table: str, names: Sequence[str], ids: Iterable[str]) -> dict[str, Row]:
        """Return rows of a table by their ids, all values that are not numbers as texts."""
        columns = ", ".join(f"{quoted(name)}::text" for name in names)
        query = f"SELECT id, {columns} FROM {quoted(table)} WHERE id = ANY (?)"
        return {str(row[0]): row[1:] for row in self.rows(query, (list(ids),))}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def open_tables(text: str) -> Tables:
    """Return the tables of a SQLite file, or of the PostgreSQL database of a URL.

    Raises:
        NotFound, InvalidInput, StorageError: see ``SqliteTables`` and ``PostgresTables``.
    """
    return PostgresTables(text) if is_postgres(text) else SqliteTables(Path(text))
