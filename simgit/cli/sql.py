"""``simgit sql``."""

from __future__ import annotations

import re
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import Output, clean, number, raw_bytes, say, when
from simgit.cli.params import Choice
from simgit.errors import InvalidInput, plural

if TYPE_CHECKING:
    from simgit.datasets.sql.relation import Relation
    from simgit.repository import Repository

FORMATS = ("table", "csv", "json", "parquet")
_ENDINGS: Final = {
    ".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet",
}  # fmt: skip
_ROWS: Final = 1000
"""The most rows of a table, unless all are asked for."""
_NAME: Final = re.compile(r"[\w.-]+")
"""A query has at least a space."""


@command(
    "sql",
    example="""\
simgit sql "select episode, sum(reward) from main group by episode"
simgit sql "select run, max(return) from episodes group by run"
simgit sql 'select reward from "main@100..main"' -o rewards.parquet
simgit sql --save best "select run, max(return) from episodes group by run"
simgit sql best""",
)
@click.argument("query", required=False, metavar="[QUERY]")
@click.option("--format", "form", type=Choice(FORMATS), help="Form of the result (default table).")
@click.option("-o", "--output", metavar="FILE", help="File to write: .csv, .json or .parquet.")
@click.option("-f", "--force", is_flag=True, help="Replace an existing file.")
@click.option("-n", "--limit", type=click.IntRange(0), metavar="N", help="Show at most N rows.")
@click.option("--save", metavar="NAME", help="Name under which to keep QUERY in the repository.")
@click.option("-l", "--list", "listing", is_flag=True, help="List the saved queries.")
@click.option("-d", "--delete", metavar="NAME", help="Saved query to delete.")
def sql(
    app: App,
    query: str | None,
    form: str | None,
    output: str | None,
    force: bool,
    limit: int | None,
    save: str | None,
    listing: bool,
    delete: str | None,
    as_json: bool,
) -> None:
    """Query what is recorded in SQL, in the dialect of DuckDB.

    Nothing can be changed, and no file is read or written but by -o. Tables are runs, tags,
    episodes, states, attachments, series, reflog and operations, and any run or revision by its
    name in double quotes: "main@100..main". QUERY is one SELECT, the name of a saved query, or -,
    standard input. A table shows 1000 rows, unless -n says otherwise; the other forms have all.

    The states of a branch begin with those of its parent: "where own" leaves them out.
    """
    one_of(save=save, list=listing, delete=delete)
    if (query is None) != (listing or delete is not None):
        raise click.UsageError("give a QUERY, or --list or --delete by itself")
    with app.repository() as repo:
        if listing or delete is not None or save is not None:
            _manage(app, repo, query, save, delete, as_json)
            return
        assert query is not None
        form = _form(form, output, as_json)
        found = repo.sql(_text(repo, query))
        found = found if limit is None else found.limit(limit)
        if output is not None:
            _write(app, found, form, output, force, as_json)
        elif form == "parquet":
            raise click.UsageError("a Parquet file needs -o FILE")
        elif form == "csv":
            from simgit.datasets.sql.rows import csv_lines

            raw_bytes(line.encode() for line in csv_lines(found))
        else:
            with app.output(page=True) as out:
                _show(out, found, form, None if limit is not None else _ROWS)


def _text(repo: Repository, query: str) -> str:
    """Return a query that was given, is saved, or comes from standard input."""
    if query == "-":
        return sys.stdin.read()
    if not _NAME.fullmatch(query):
        return query
    known = repo.saved_queries()
    if query not in known:
        from simgit.refs.saved_queries import unknown

        raise unknown(query, known)
    return known[query]


def _manage(
    app: App,
    repo: Repository,
    query: str | None,
    save: str | None,
    delete: str | None,
    as_json: bool,
) -> None:
    with app.output() as out:
        if save is not None:
            assert query is not None
            repo.save_query(save, _text(repo, query))
        elif delete is not None:
            was = repo.delete_query(delete)
            out.json({"deleted": delete, "query": was}) if as_json else out.line(
                f"deleted query {delete}"
            )
        elif as_json:
            for name, text in repo.saved_queries().items():
                out.json({"name": name, "query": text})
        else:
            saved = repo.saved_queries().items()
            out.table([[(name, "bold"), " ".join(text.split())] for name, text in saved], fit=True)


def _form(form: str | None, output: str | None, as_json: bool) -> str:
    if output is None:
        if as_json and form not in (None, "json"):
            raise click.UsageError(f"--json and --format {form} cannot be used together")
        return "json" if as_json else form or "table"
    found = form or _ENDINGS.get(Path(output).suffix.lower())
    if found in (None, "table"):
        raise InvalidInput(
            f"cannot write '{output}': name it .csv, .json or .parquet, or give --format"
        )
    assert found is not None
    return found


def _write(
    app: App,
    found: Relation,
    form: str,
    output: str,
    force: bool,
    as_json: bool,
) -> None:
    from simgit.datasets.formats.target import new_place, size_of
    from simgit.datasets.sql.rows import write_file

    path = app.path(output)
    with new_place(path, force) as place:
        count = write_file(found, form, place)
    with app.output() as out:
        if as_json:
            out.json({"file": output, "rows": count, "bytes": size_of(path)})
        else:
            out.line(f"wrote {plural(count, 'row')} into {output}")


def _show(out: Output, found: Relation, form: str, most: int | None) -> None:
    """Print a result as JSON, or as a table of so many rows at most."""
    from simgit.datasets.sql.rows import plain_rows, records

    if form == "json":
        for record in records(found):
            out.json(record)
        return
    rows = plain_rows(found)
    cells = [[_cell(value) for value in row] for row in islice(rows, most)]
    right = [i for i, kind in enumerate(found.types) if _is_number(kind)]
    head: list[Any] = [(name, "bold") for name in found.columns]
    out.table([head, *cells], right, turn=True)
    if next(rows, None) is not None:
        say(f"only the first {most} rows are shown: -n N shows more, --format csv all")


def _is_number(kind: str) -> bool:
    return kind.startswith("DECIMAL") or kind.endswith(("INT", "INTEGER", "DOUBLE", "FLOAT"))


def _cell(value: Any) -> str:
    from simgit.datasets.sql.rows import cell_text

    if value is None:
        return "-"
    if type(value) is float:
        return number(value)
    if type(value).__name__ == "datetime64":
        return when(int(value.astype("int64")))
    return clean(cell_text(value))
