"""``simgit fsck``."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, answer_no, command, one_of
from simgit.cli.output import Output, progress
from simgit.cli.params import REMOTE, SAMPLE
from simgit.errors import plural

if TYPE_CHECKING:
    from simgit.maintenance.fsck import FsckReport
    from simgit.repository import Repository


@command(
    "fsck",
    example="""\
simgit fsck
simgit fsck --sample 1/7 --max-seconds 60
simgit fsck --remote origin --quick
simgit fsck --repair --from ../backup""",
    at_op=False,
)
@click.option(
    "--sample",
    type=SAMPLE,
    default="1/1",
    help="Part to check: 1/7, 2/7, … 7/7 are together everything.",
)
@click.option("--max-seconds", type=float, metavar="N", help="Stop after N seconds.")
@click.option("--repair", is_flag=True, help="Repair what can be repaired; delete nothing.")
@click.option(
    "--from", "source", metavar="REPOSITORY", help="Repository to fetch good copies from."
)
@click.option("--remote", type=REMOTE, metavar="NAME", help="Check this remote, not what is here.")
@click.option("--quick", is_flag=True, help="Of a remote: list its packs, and read none.")
@click.option("--deep", is_flag=True, help="Of a remote: fetch it to a temporary place too.")
def fsck(
    app: App,
    sample: tuple[int, int],
    max_seconds: float | None,
    repair: bool,
    source: str | None,
    remote: str | None,
    quick: bool,
    deep: bool,
    as_json: bool,
) -> None:
    """Recompute every hash and follow every link.

    Names the runs and steps that damage affects, and the command that repairs it. Exits with 0 if
    everything is intact, with 1 if something is damaged, or still is after --repair.

    --repair rebuilds indexes, counters and line records, restores unreadable refs from the logs,
    and fetches damaged objects from another repository. A run with damaged states is set to its
    last intact one; its reflog keeps what it was. Replaced data is kept in a file 'quarantine-…'
    of the repository.

    Of a remote all refs, shards and packs are read. With --deep every run and tag is fetched into
    a temporary repository besides, which is then checked as this one would be.
    """
    if quick and remote is None:
        raise click.UsageError("--quick is for a remote; see --sample")
    if deep and remote is None:
        raise click.UsageError("--deep is for a remote; what is here is always checked so")
    if remote is not None:
        one_of(remote=remote, repair=repair, max_seconds=max_seconds is not None)
        one_of(quick=quick, sample=sample != (1, 1), deep=deep)
        from simgit.cli.remote_upkeep import check

        check(app, remote, quick, None if sample == (1, 1) else sample, deep, as_json)
        return
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
    from simgit.repository import Repository

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
            out.line(f"replaced data is kept in '{done.quarantine}'")
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
    found = plural(len(report.problems), "problem") if report.problems else "no damage"
    counts = ", ".join(
        (plural(report.states, "state"), plural(report.arrays, "array"),
         plural(report.objects, "object"))
    )  # fmt: skip
    out.line(f"checked {counts}: {found}")
    if not report.is_complete:
        out.line("stopped by --max-seconds before everything was checked")
