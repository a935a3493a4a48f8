"""``simgit fsck``."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, answer_no, command, one_of
from simgit.cli.output import Output, plural, progress
from simgit.cli.params import SAMPLE

if TYPE_CHECKING:
    from simgit.maintenance.fsck import FsckReport
    from simgit.repository import Repository


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
