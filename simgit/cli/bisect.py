"""``simgit bisect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from simgit.cli.app import App, answer_no, command
from simgit.cli.diff import write_changes
from simgit.cli.output import Output
from simgit.cli.params import REVISION
from simgit.errors import plural

if TYPE_CHECKING:
    from simgit.history.bisect import FirstDifference

_CAUSES: Final = {
    "environment": "the runs are of different environments",
    "reset": "the resets had other seeds or options",
    "action": "the actions differ",
    "settings": "the same action had another outcome, under other settings",
    "outcome": "the same action had another outcome: nondeterminism",
}


@command("bisect", example="simgit bisect main again")
@click.argument("a", type=REVISION)
@click.argument("b", type=REVISION)
def bisect(app: App, a: str, b: str, as_json: bool) -> None:
    """Find the first state in which two runs differ, and the cause.

    Compares a few oids, however long the runs are. Exits with 0 if one run continues the other,
    with 1 if they diverge.
    """
    with app.repository() as repo, app.output(page=True) as out:
        found = repo.bisect(a, b)
        if as_json:
            out.json(found.to_json())
        else:
            _write(out, a, b, found)
    if found.step is not None:
        answer_no()


def _write(out: Output, a: str, b: str, found: FirstDifference) -> None:
    oids = plural(found.compared, "oid")
    if found.step is None:
        out.line(f"no state of '{a}' and '{b}' differs ({oids} compared)")
        return
    out.line(f"first difference: step {found.step} ({oids} compared)")
    out.line(_CAUSES[found.cause or "outcome"])
    write_changes(out, found.changes)
    if found.settings:
        out.line("the runs' settings differ:")
        write_changes(out, found.settings)
