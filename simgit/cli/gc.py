"""``simgit gc``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import progress, size, when
from simgit.cli.params import DURATION, REMOTE
from simgit.errors import InvalidInput, plural

if TYPE_CHECKING:
    from simgit.maintenance.gc.run import GcReport
    from simgit.maintenance.gc.sweep import Removed
    from simgit.maintenance.gc.unreachable import UnreachableObject
    from simgit.repository import Repository


@command(
    "gc",
    example="""\
simgit gc --dry-run
simgit gc --list-unreachable
simgit gc --remote origin
simgit gc --grace 3d --keep 'agent: last 5, best 3 by return; video: last 1'""",
    at_op=False,
)
@click.option("--grace", type=DURATION, help="How long unreachable objects are kept (default 14d).")
@click.option(
    "--expire", type=DURATION, help="How long reflogs and operations are kept (default 90d)."
)
@click.option(
    "--keep", metavar="RULES", help="Retention rules of attachments: 'agent: last 5, every 100'."
)
@click.option("--aggressive", is_flag=True, help="Join large pieces too, however long it takes.")
@click.option(
    "-n", "--dry-run", is_flag=True, help="Show what would be removed, and remove nothing."
)
@click.option(
    "--list-unreachable",
    is_flag=True,
    help="List unreachable objects, which can still be restored.",
)
@click.option("--restore", metavar="OID", help="Restore an unreachable attachment.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@click.option("--remote", type=REMOTE, metavar="NAME", help="Collect in this remote, not here.")
def gc(
    app: App,
    grace: float | None,
    expire: float | None,
    keep: str | None,
    aggressive: bool,
    dry_run: bool,
    list_unreachable: bool,
    restore: str | None,
    quiet: bool,
    remote: str | None,
    as_json: bool,
) -> None:
    """Remove unreachable objects, compact the store and free the space.

    Reachable is what refs, reflogs and the operation log name, with its history. An unreachable
    object is kept for the time of --grace: until then 'simgit branch NAME OID' restores a state,
    'simgit gc --restore OID' an attachment. No oid changes.

    On a full disk, delete runs first: gc has a reserve of space to work with.

    With --remote, unreachable packs of the remote are marked, and deleted by a gc after
    the grace period; small packs are joined.
    """
    if remote is not None:
        one_of(remote=remote, list_unreachable=list_unreachable, restore=restore)
        one_of(remote=remote, keep=keep, aggressive=aggressive)
        one_of(remote=remote, expire=expire is not None)
        from simgit.cli.remote_upkeep import collect

        collect(app, remote, grace, dry_run, quiet, as_json)
        return
    one_of(dry_run=dry_run, list_unreachable=list_unreachable, restore=restore)
    with app.repository() as repo:
        if restore is not None:
            _restore(app, repo, restore, as_json)
            return
        if list_unreachable:
            _print_unreachable(app, repo.unreachable(grace=grace), as_json)
        elif dry_run:
            removed = repo.gc_preview(grace=grace, expire=expire, keep=keep)
            _print_removed(app, removed, "" if as_json else _kept(repo, expire), as_json)
        else:
            with progress("gc", not quiet) as tell:
                report = repo.gc(tell, grace=grace, expire=expire, keep=keep, aggressive=aggressive)
            if as_json or not quiet:
                _print_report(app, repo, report, "" if as_json else _kept(repo, expire), as_json)


def _restore(app: App, repo: Repository, digits: str, as_json: bool) -> None:
    kind, oid = repo.find_object(digits)
    if kind == "state":
        raise InvalidInput(f"'{digits}' is a state; 'simgit branch NAME {digits}' restores it")
    state = repo.reattach(oid)
    with app.output() as out:
        if as_json:
            out.json({"binding": oid, "state": state})
        else:
            out.line(
                f"restored the attachment of {out.paint(state.short(repo.abbreviation), 'oid')}"
            )


def _kept(repo: Repository, expire: float | None) -> str:
    """Return how many runs that are no longer there their reflogs keep, and until when, or ''."""
    from simgit.refs.names import RUNS
    from simgit.refs.reflog_expiry import logged_refs
    from simgit.refs.settings import GC_REFLOG

    with repo.odb.read() as txn:
        logged = [ref.decode() for ref in logged_refs(txn) if ref.startswith(RUNS.encode())]
    deleted = [ref for ref in logged if ref.removeprefix(RUNS) not in repo.runs]
    if not deleted:
        return ""
    days = repo.settings()[GC_REFLOG] if expire is None else expire
    until = max(repo.reflog(ref)[0].time for ref in deleted) + round(days * 24 * 3600) * 10**9
    one = len(deleted) == 1
    return (
        f"; {plural(len(deleted), 'deleted or undone run')} {'is' if one else 'are'} kept by "
        f"{'its reflog' if one else 'their reflogs'} until {when(until)[:10]} "
        f"(--expire now drops {'it' if one else 'them'})"
    )


def _print_report(app: App, repo: Repository, report: GcReport, kept: str, as_json: bool) -> None:
    with app.output() as out:
        if as_json:
            removed = {"removed": _as_record(report.removed), "kept": asdict(repo.kept())}
            out.json(asdict(report) | removed)
            return
        if report.removed.is_something:
            out.line(f"removed {_counted(report.removed)}")
        else:
            out.line(f"nothing to remove{kept}")
        is_smaller = report.size_after < report.size_before
        compacted = "compacted: " if is_smaller else ""
        if report.segments_after < report.segments_before:
            before = plural(report.segments_before, "segment")
            compacted = f"compacted {before} into {report.segments_after}: "
        was = f"{size(report.size_before)} → " if is_smaller else ""
        out.line(f"{compacted}{was}{size(report.size_after)} on disk")
        if line := kept_line(repo):
            out.line(line)
        if report.held_open:
            out.line("the space is freed by a gc while no other process has the repository open")


def kept_line(repo: Repository) -> str:
    """Return how many states no ref leads to, what keeps them, and how to drop them, or ''."""
    found = repo.kept()
    logs = {"reflogs": found.reflogs, "the operation log": found.operations}
    parts = [f"{plural(count, 'state')} by {what}" for what, count in logs.items() if count]
    said = [f"{' and '.join(parts)} ('--expire now' drops them)"] if parts else []
    if found.grace:
        said.append(
            f"{plural(found.grace, 'state')} by the grace period ('--grace now' drops them)"
        )
    return f"kept though no run or tag leads there: {', '.join(said)}" if said else ""


def _print_removed(app: App, removed: Removed, kept: str, as_json: bool) -> None:
    with app.output() as out:
        if as_json:
            out.json(_as_record(removed))
        elif removed.is_something:
            out.line(f"would remove {_counted(removed)}")
        else:
            out.line(f"nothing to remove{kept}")


def _as_record(removed: Removed) -> dict[str, Any]:
    counts = {"objects": dict(removed.objects), "tables": dict(removed.tables)}
    return {**vars(removed), **counts, "bytes": removed.bytes}  # asdict counts a Counter's pairs


def _counted(removed: Removed) -> str:
    """Return the numbers of removed things as text."""
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
    more = (
        f" ({size(removed.thinned_bytes)} more after the grace period)" if removed.thinned else ""
    )
    return f"{', '.join(parts)}: {size(removed.bytes)}{more}"


def _print_unreachable(app: App, found: list[UnreachableObject], as_json: bool) -> None:
    with app.output(page=True) as out:
        if as_json:
            for each in found:
                out.json(asdict(each))
            return
        out.table([
            ((each.oid.hex()[:16], "oid"), each.kind, _about(each),
             f"until {when(each.until)[:16]}") for each in found
        ])  # fmt: skip
        if not found:
            out.line("no unreachable objects")


def _about(lost: UnreachableObject) -> str:
    if lost.kind == "state":
        return f"{plural(lost.states, 'state')}, up to step {lost.step}"
    if lost.state is not None:
        return f"'{lost.name}' of {lost.state.short()}"
    return ""
