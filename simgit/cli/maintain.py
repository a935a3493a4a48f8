"""``simgit gc`` and ``fsck``."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, answer_no, command, one_of
from simgit.cli.output import Output, plural, progress, size, when
from simgit.cli.values import DURATION, SAMPLE
from simgit.errors import InvalidInput
from simgit.repository import Repository

if TYPE_CHECKING:
    from simgit.maintenance.fsck import FsckReport
    from simgit.maintenance.gc.run import GcReport
    from simgit.maintenance.gc.sweep import Removed
    from simgit.maintenance.gc.unreachable import UnreachableObject


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


def _print_lost(app: App, lost: list[UnreachableObject], as_json: bool) -> None:
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


def _about(lost: UnreachableObject) -> str:
    if lost.kind == "state":
        return f"{plural(lost.states, 'state')}, up to step {lost.step}"
    if lost.state is not None:
        return f"'{lost.name}' of {lost.state.short()}"
    return ""


@command(
    "fsck",
    example="""\
simgit fsck
simgit fsck --sample 1/7 --max-seconds 60
simgit fsck --repair --from ../backup""",
    at_op=False,
)
@click.option("--sample", type=SAMPLE, default="1/1", help="Check a part: 1/7, 2/7, … 7/7 are all.")
@click.option("--max-seconds", type=float, metavar="N", help="Stop after so long.")
@click.option("--repair", is_flag=True, help="Repair what can be repaired; nothing is deleted.")
@click.option("--from", "source", metavar="REPOSITORY", help="Fetch good copies from there.")
def fsck(
    app: App,
    sample: tuple[int, int],
    max_seconds: float | None,
    repair: bool,
    source: str | None,
    as_json: bool,
) -> None:
    """Derive every name again from the bytes and follow every link.

    Says of all damage which runs and steps it costs, and which command repairs it. Ends with 0 if
    all is good, with 1 if something is damaged, or still is after --repair.

    --repair derives the index, counters, names and records of lines again, takes refs that cannot
    be read back from the logs, and fetches what is damaged from another repository. Runs whose
    states are damaged go on from the last good one; what they pointed at stays in their reflog.
    What is replaced is kept in a file 'quarantine-…' of the repository.
    """
    if source is not None and not repair:
        raise click.UsageError("--from needs --repair")
    one_of(repair=repair, sample=sample != (1, 1))
    one_of(repair=repair, max_seconds=max_seconds is not None)
    if max_seconds is not None and not max_seconds > 0:
        raise click.UsageError("--max-seconds must be greater than 0")
    with app.repository() as repo:
        if repair:
            report = _repair(app, repo, source, as_json)
        else:
            with progress("fsck", not as_json) as tell:
                report = repo.fsck(
                    lambda states: tell(states, None), sample=sample, seconds=max_seconds
                )
            with app.output() as out:
                out.json(_checked(report)) if as_json else _print_check(out, report)
    if not report.is_clean:
        answer_no()


def _repair(app: App, repo: Repository, source: str | None, as_json: bool) -> FsckReport:
    other = Repository.open(app.path(source), read_only=True) if source else None
    with other if other is not None else nullcontext():
        done = repo.repair(other)
    with app.output() as out:
        if as_json:
            out.json({"actions": done.actions, "quarantine": done.quarantine and
                      str(done.quarantine)} | _checked(done.report))  # fmt: skip
            return done.report
        for action in done.actions:
            out.line(f"{out.paint('repaired', 'good')}: {action}")
        if done.quarantine is not None:
            out.line(f"what was replaced is in '{done.quarantine}'")
        _print_check(out, done.report)
    return done.report


def _checked(report: FsckReport) -> dict[str, Any]:
    problems = [
        {"what": each.what, "runs": each.runs, "repair": list(each.commands)}
        for each in report.problems
    ]
    return asdict(report) | {"problems": problems, "clean": report.is_clean}


def _print_check(out: Output, report: FsckReport) -> None:
    for problem in report.problems:
        out.line(f"{out.paint('damaged', 'bad')}: {problem}")
        for command_line in problem.commands[:1]:
            out.line(f"  repair: {command_line}")
    found = plural(len(report.problems), "problem") if report.problems else "all good"
    counts = ", ".join(
        (plural(report.states, "state"), plural(report.arrays, "array"),
         plural(report.objects, "object"))
    )  # fmt: skip
    out.line(f"checked {counts}: {found}")
    if not report.is_complete:
        out.line("time was over before everything had been checked")
