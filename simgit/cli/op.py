"""``simgit op``, and how operations are shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.app import App, CommandGroup, command
from simgit.cli.output import Output, clean, first_line, when
from simgit.errors import plural

if TYPE_CHECKING:
    from simgit.refs.oplog.log import Fields, KeyChange, Operation
    from simgit.repository import Repository


_SHOWN: Final = 10
_PLACES: Final = {"oid", "run", "binding"}
_WORDS: Final = ("status", "parent")


@click.group("op", cls=CommandGroup)
def op() -> None:
    """List, show and restore operations.

    An operation is the changes of one command, call or recorder to runs, tags, HEAD and
    attachments. OP is its number, or @ for the newest, @~2 for two before it.
    """


@command("log", example="simgit op log -n 5")
@click.option(
    "-n", "--max-count", "limit", type=click.IntRange(0), help="Number of operations at most."
)
def op_log(app: App, limit: int | None, as_json: bool) -> None:
    """List the operations, newest first."""
    from simgit.refs.oplog.log import standing

    with app.repository() as repo, app.output(page=True) as out:
        operations = repo.operations(None if limit is None else min(limit, sys.maxsize))
        if as_json:
            for operation in operations:
                out.json(operation)
        else:
            out.table([_row(*each) for each in standing(operations)], (0,))


@command("show", example="simgit op show @~1")
@click.argument("operation", default="@", metavar="[OP]")
def op_show(app: App, operation: str, as_json: bool) -> None:
    """Show an operation (default: the newest) and the changes that it made."""
    with app.repository() as repo, app.output(page=True) as out:
        found, changes = repo.operation(operation), repo.changes(operation)
        if as_json:
            from simgit.repository.jsonable import to_jsonable

            out.json(to_jsonable(found) | {"changed": to_jsonable(changes)})
        else:
            _write(out, repo, found, changes)


@command("restore", example="simgit op restore 12")
@click.argument("operation", metavar="OP")
def op_restore(app: App, operation: str, as_json: bool) -> None:
    """Restore runs, tags, HEAD and attachments as they were after OP.

    OP 0 is the beginning. This is an operation too, which undo undoes. It is refused while a
    process records a run that it would change.
    """
    with app.repository() as repo, app.output() as out:
        changes = _done(repo, lambda: repo.restore_operation(operation))
        if as_json:
            from simgit.repository.jsonable import to_jsonable

            out.json({"restored": operation, "changed": to_jsonable(changes)})
            return
        out.line(f"restored operation {operation}" if changes else "nothing to restore")
        _write_changes(out, repo, changes)


op.add_command(op_log)
op.add_command(op_show)
op.add_command(op_restore)


def _done(repo: Repository, call: Any) -> list[KeyChange]:
    """Call a function; return the changes of its operation."""
    before = repo.operations(1)
    call()
    after = repo.operations(1)
    return repo.changes() if after != before else []


def tell(out: Output, repo: Repository, verb: str, operation: Operation, as_json: bool) -> None:
    changes = repo.changes()
    if as_json:
        from simgit.repository.jsonable import to_jsonable

        out.json({verb: to_jsonable(operation), "changed": to_jsonable(changes)})
        return
    out.line(f"{verb}: {first_line(operation.title)} (operation {operation.number})")
    _write_changes(out, repo, changes)


def _row(operation: Operation, stands: bool) -> list[Any]:
    what = first_line(operation.title)
    if operation.reverts is not None and str(operation.reverts) not in operation.arguments:
        what += f"  (operation {operation.reverts})"
    shown = what if stands else (f"{what}  (undone)", "dim")
    return [(str(operation.number), "oid"), when(operation.until), shown]


def _write(out: Output, repo: Repository, operation: Operation, changes: list[KeyChange]) -> None:
    out.line(out.paint(f"operation {operation.number}", "oid"))
    rows: list[tuple[str, str]] = [("command", first_line(operation.title))]
    rows.append(("began", when(operation.time)))
    if operation.session:
        rows.append(("until", when(operation.until)))
    rows.append(("process", f"{operation.process['pid']}"))
    if operation.reverts is not None:
        rows.append(("reverts", f"operation {operation.reverts}"))
    out.table([[(f"{name}:", "bold"), text] for name, text in rows])
    _write_changes(out, repo, changes, len(changes))


def _write_changes(
    out: Output, repo: Repository, changes: list[KeyChange], most: int = _SHOWN
) -> None:
    digits = repo.abbreviation
    for change in sorted(changes, key=lambda change: (change.key[0] != "refs", change.key))[:most]:
        out.line(f"    {_name(out, change, digits)} {clean(_what(change, digits))}")
    if len(changes) > most:
        out.line(f"    … {plural(len(changes) - most, 'change')} more")


def _name(out: Output, change: KeyChange, digits: int) -> str:
    if change.binding is not None:
        state, name = change.binding
        return f"{out.paint(state.short(digits), 'oid')} attachment {clean(name)}:"
    space = str(change.ref).partition("/")[0]
    style = {"runs": "run", "tags": "tag", "remotes": "remote"}.get(space, "head")
    return out.paint(f"{clean(str(change.ref))}:", style)


def _what(change: KeyChange, digits: int) -> str:
    """Return the change of a ref or an attachment as text."""
    old, new = change.old, change.new
    if old is None:
        return f"created at {_at(new, digits)}"
    if new is None:
        return f"removed (was {_at(old, digits)})"
    if not _PLACES.isdisjoint(new):
        return f"{_at(old, digits)} → {_at(new, digits)}"
    said = ["configuration changed"] if "record" in new else []
    said += [f"{n}: {old[n] or 'none'} → {new[n] or 'none'}" for n in new if n in _WORDS]
    return ", ".join(said)


def _at(fields: Fields | None, digits: int) -> str:
    from simgit.objects.oid import Oid

    if fields is None:
        return "nothing"
    if "run" in fields:
        return str(fields["run"])
    oid = fields.get("binding", fields.get("oid"))
    if oid is None:
        return "no states"
    step = f" step {fields['step']}" if "step" in fields else ""
    return Oid(oid).short(digits) + step
