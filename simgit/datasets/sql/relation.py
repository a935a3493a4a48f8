"""The result of a query."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, TypeVar

import duckdb
import pyarrow as pa

from simgit.datasets.sql.pushdown import Failures, quoted
from simgit.errors import InvalidInput, visible

T = TypeVar("T")
ROWS: Final = 65536
_NO_ARROW: Final = frozenset({"uhugeint", "bit", "time with time zone", "bignum", "variant"})
"""The types that Arrow does not have, or not whole: their values become texts."""
_KIND: Final = re.compile(r"^(?:[A-Z][\w ]*?(?:Error|Exception): )+")
_PLACE: Final = re.compile(r"^LINE (\d+): ")


class Relation:
    """The rows of a query, which is carried out when they are asked for.

    Attributes:
        columns: the names of the columns.
        types: their types, as DuckDB names them.
    """

    def __init__(self, connection: Any, relation: Any, failures: Failures) -> None:
        self._connection = connection  # closed when nobody has it any more
        self._relation = relation
        self._failures = failures
        self.columns: list[str] = list(relation.columns)
        self.types: list[str] = [str(kind) for kind in relation.types]

    def arrow(self) -> pa.Table:
        """Return all rows as an Arrow table; values of a type that Arrow lacks are texts.

        Raises:
            InvalidInput: a value does not fit its type, for instance in a cast.
            IntegrityError: stored bytes are damaged.
        """
        return self._done(self._with_texts().to_arrow_table)

    def reader(self, rows: int = ROWS, texts: Collection[str] = ()) -> pa.RecordBatchReader:
        """Return a reader of the rows, in batches of so many; it takes the memory of a few.

        Args:
            rows: rows in a batch.
            texts: types of DuckDB that become texts.

        Raises:
            InvalidInput: see ``arrow``.
        """
        return self._done(lambda: self._with_texts(texts).to_arrow_reader(rows))

    def _with_texts(self, texts: Collection[str] = ()) -> Any:
        """Return DuckDB's relation with values of some types, nested or not, as texts."""
        kinds = [_as_text(kind, _NO_ARROW | set(texts)) for kind in self._relation.types]
        if not any(kinds):
            return self._relation
        columns = (
            f"cast(#{i} as {kind}) as {quoted(name)}" if kind else f"#{i} as {quoted(name)}"
            for i, (name, kind) in enumerate(zip(self.columns, kinds, strict=True), 1)
        )
        return self._relation.project(", ".join(columns))

    def batches(self, rows: int = ROWS, texts: Collection[str] = ()) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches, one without rows if there are none; see ``reader``.

        Raises:
            InvalidInput, IntegrityError: see ``arrow``.
        """
        reader = self.reader(rows, texts)
        batch = None
        while True:
            try:
                batch = self._done(reader.read_next_batch)
            except StopIteration:
                break
            yield batch
        if batch is None:
            yield pa.RecordBatch.from_pylist([], schema=reader.schema)

    def limit(self, count: int) -> Relation:
        """Return the first rows of the result, so many at most."""
        return Relation(self._connection, self._relation.limit(count), self._failures)

    def df(self) -> Any:
        """Return all rows as a pandas DataFrame; 128-bit integers, as of sums, become floats.

        Raises:
            InvalidInput, IntegrityError: see ``arrow``.
        """
        return self._done(self._with_texts().df)

    def pl(self) -> Any:
        """Return all rows as a polars DataFrame.

        Raises:
            InvalidInput, IntegrityError: see ``arrow``.
        """
        return self._done(self._with_texts().pl)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows as tuples of Python values.

        Raises:
            InvalidInput, IntegrityError: see ``arrow``.
        """
        found: list[tuple[Any, ...]] = self._done(self._relation.fetchall)
        return found

    def _done(self, work: Callable[[], T]) -> T:
        try:
            return _interruptible(self._connection, work)
        except (duckdb.Error, pa.ArrowException, RuntimeError, OSError) as error:
            if (first := self._failures.first) is not None:
                raise first from None
            raise refused(error) from None

    def __repr__(self) -> str:
        named = ", ".join(f"{n} {t}" for n, t in zip(self.columns, self.types, strict=True))
        return visible(f"<Relation {named}>")


def _as_text(kind: Any, texts: Collection[str]) -> str | None:
    """Return what a type becomes if some types in it become texts, None if it has none of them."""
    if kind.id in texts:
        return "varchar"
    if kind.id not in ("list", "array", "struct", "map"):
        return None
    below = [(name, each, _as_text(each, texts)) for name, each in kind.children if name != "size"]
    if not any(text for *_, text in below):
        return None
    if not all(name for name, *_ in below):
        return "varchar"  # a type with such a name cannot be written
    kinds = [text or str(each) for _, each, text in below]
    if kind.id == "struct":
        named = zip((quoted(name) for name, *_ in below), kinds, strict=True)
        return f"struct({', '.join(map(' '.join, named))})"
    if kind.id == "map":
        return f"map({', '.join(kinds)})"
    size = dict(kind.children).get("size", "") if kind.id == "array" else ""
    return f"{kinds[0]}[{size}]"


def _interruptible(connection: Any, work: Callable[[], T]) -> T:
    """Do work in DuckDB so that Ctrl-C ends it, which it looks at only between queries."""
    if threading.current_thread() is not threading.main_thread():
        return work()
    done: list[T] = []
    failed: list[BaseException] = []
    ended = threading.Event()  # a join that Ctrl-C interrupts takes the thread for ended

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="simgit-sql", daemon=True).start()
    try:
        while not ended.wait(0.2):  # a signal may have come to another thread, and wake nobody here
            pass
    except BaseException:  # Ctrl-C, whatever the program makes of it
        while not ended.is_set():  # it may come just before the query begins
            connection.interrupt()
            ended.wait(0.1)
        raise
    if failed:
        raise failed[0]
    return done[0]


def refused(error: Exception) -> InvalidInput:
    """Return the error for a query that DuckDB refuses: its message on one line."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip(" ^")]
    parts = [_KIND.sub("", line) for line in lines if not _PLACE.match(line)]
    text = " ".join(
        part.rstrip("!.") + (";" if i < len(parts) - 1 else "") for i, part in enumerate(parts)
    )
    return InvalidInput(f"query refused: {text[:1].lower()}{text[1:]}")
