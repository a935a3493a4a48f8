"""``simgit gc`` and ``fsck``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import plural, progress, size, when
from simgit.cli.params import DURATION
from simgit.errors import InvalidInput

if TYPE_CHECKING:
    from simgit.maintenance.gc.run import GcReport
    from simgit.maintenance.gc.sweep import Removed
    from simgit.maintenance.gc.unreachable import Lost
    from simgit.repository import Repository


@command(
    "gc",
    example="""\
simgit gc --dry-run
simgit gc --list-unreachable
simgit gc --grace 3d --keep 'agent: last 5, best 3 by return; video: last 1'""",
    at_op=False,
)
@click.option("--grace", type=DURATION, help="How long what nothing leads to stays (14d).")
@click.option("--expire", type=DURATION, help="How long reflogs and operations stay (90d).")
@click.option("--keep", metavar="RULES", help="Thin out attachments: 'agent: last 5, every 100'.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@click.option("--list-unreachable", is_flag=True, help="List what can still be brought back.")
@click.option("--restore", metavar="OID", help="Bind a lost attachment again.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
def gc(
    app: App,
    grace: float | None,
    expire: float | None,
    keep: str | None,
    dry_run: bool,
    list_unreachable: bool,
    restore: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Remove what nothing leads to any more, join small pieces and give back the space.

    What refs, reflogs and the operation log lead to stays. Everything else is removed when it has
    been unreachable for a time: till then a lost state comes back by 'simgit branch NAME OID', a
    lost attachment by 'simgit gc --restore OID'. No oid changes.

    On a full disk it works with what is kept in reserve; delete what is not needed before.
    """
    one_of(dry_run=dry_run, list_unreachable=list_unreachable, restore=restore)
    with app.repository() as repo:
        if restore is not None:
            _restore(app, repo, restore, as_json)
            return
        if list_unreachable:
            _print_lost(app, repo.unreachable(grace=grace), as_json)
        elif dry_run:
            _print_removed(app, repo.gc_preview(grace=grace, expire=expire, keep=keep), as_json)
        else:
            with progress("gc", not quiet) as tell:
                report = repo.gc(tell, grace=grace, expire=expire, keep=keep)
            if as_json or not quiet:
                _print_report(app, report, as_json)


def _restore(app: App, repo: Repository, digits: str, as_json: bool) -> None:
    kind, oid = repo.find_object(digits)
    if kind == "state":
        raise InvalidInput(f"'{digits}' is a state: 'simgit branch NAME {digits}' brings it back")
    state = repo.reattach(oid)
    with app.output() as out:
        if as_json:
            out.json({"binding": oid, "state": state})
        else:
            out.line(f"bound to {out.paint(state.short(repo.abbreviation), 'oid')} again")


def _print_report(app: App, report: GcReport, as_json: bool) -> None:
    with app.output() as out:
        if as_json:
            out.json(asdict(report) | {"removed": _as_record(report.removed)})
            return
        if report.removed.is_something:
            out.line(f"removed {_counted(report.removed)}")
        out.line(f"{report.segments_before} → {report.segments_after} segments")
        out.line(f"{size(report.size_before)} → {size(report.size_after)} on disk")
        if report.held_open:
            out.line("the space is given back when nobody else has the repository open")


def _print_removed(app: App, removed: Removed, as_json: bool) -> None:
    with app.output() as out:
        if as_json:
            out.json(_as_record(removed))
        elif removed.is_something:
            out.line(f"would remove {_counted(removed)}")
        else:
            out.line("nothing would go")


def _as_record(removed: Removed) -> dict[str, Any]:
    counts = {"objects": dict(removed.objects), "tables": dict(removed.tables)}
    return {**vars(removed), **counts, "bytes": removed.bytes}  # asdict counts a Counter's pairs


def _counted(removed: Removed) -> str:
    """Return what was removed, in words."""
    counts = {
        "attachment by rule": removed.thinned, "state": removed.states,
        "attachment": removed.attachments, "array": removed.arrays,
        "object": sum(removed.objects.values()), "chunk": removed.chunks,
    }  # fmt: skip
    parts = [plural(count, thing) for thing, count in counts.items() if count]
    if removed.thinned:
        parts[0] = f"{plural(removed.thinned, 'attachment')} by rule"
    if removed.log_entries:
        entries = "entry" if removed.log_entries == 1 else "entries"
        parts.append(f"{removed.log_entries} {entries} of reflogs")
    more = f" ({size(removed.thinned_bytes)} more in time)" if removed.thinned else ""
    return f"{', '.join(parts)}: {size(removed.bytes)}{more}"


def _print_lost(app: App, lost: list[Lost], as_json: bool) -> None:
    with app.output(page=True) as out:
        if as_json:
            for each in lost:
                out.json(asdict(each))
            return
        out.table([
            ((each.oid.hex()[:16], "oid"), each.kind, _about(each),
             f"until {when(each.until)[:16]}") for each in lost
        ])  # fmt: skip
        if not lost:
            out.line("nothing is lost")


def _about(lost: Lost) -> str:
    if lost.kind == "state":
        return f"{plural(lost.states, 'state')}, up to step {lost.step}"
    if lost.state is not None:
        return f"'{lost.name}' of {lost.state.short()}"
    return ""
