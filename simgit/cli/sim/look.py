"""``simgit sim list`` and ``show``."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.app import App, command
from simgit.cli.output import Output, number, size, when
from simgit.cli.params import RUN, Choice
from simgit.cli.render import value_text
from simgit.errors import SimgitError, plural

if TYPE_CHECKING:
    from simgit.live import Simulation
    from simgit.repository import Repository

PHASES: Final = ("queued", "starting", "running", "paused", "asking", "stopping", "ended")
STYLES: Final = {
    "running": "good", "asking": "warn", "paused": "warn", "frozen": "warn", "stopping": "warn",
    "failed": "bad", "crashed": "bad", "stopped": "warn",
}  # fmt: skip
_BAR: Final = 10
_NOT_LOOKED: Final = 5.0
"""Seconds after which a simulation that has not looked is said to be deaf."""


def note_end(repo: Repository, one: Simulation) -> None:
    """Note the end of a simulation whose process ended without doing so, if nobody else will."""
    from simgit.live.tracker import settle
    from simgit.process import is_alive

    found = one.record
    if found.is_gone and not (found.tracker is not None and is_alive(found.tracker)):
        with suppress(SimgitError):
            settle(repo, one.run, found, None)


def chosen(repo: Repository, patterns: tuple[str, ...], *, running: bool = False) -> list[str]:
    """Return the runs of simulations that names and patterns mean, all if there are none.

    With ``running`` a pattern means those that have not ended.

    Raises:
        NotFound: a pattern matches none.
    """
    from simgit.live.records import Records
    from simgit.refs.names import expanded

    found = Records(repo).all()
    known = [run for run, each in found.items() if not (running and each.is_over)]
    return expanded(patterns, known, "simulation") if patterns else known


def view(repo: Repository, one: Simulation) -> dict[str, Any]:
    """Return all that is known of a simulation, after noting an end that nobody has noted."""
    from simgit.live import views

    note_end(repo, one)
    return views.view(repo, one)


def record(row: dict[str, Any]) -> dict[str, Any]:
    """Return a view as what ``--json`` prints."""
    from simgit.live import views

    return views.record(row)


@command("list", example="""\
simgit sim list
simgit sim list 'sweep/*' --phase running""", at_op=False)  # fmt: skip
@click.argument("patterns", nargs=-1, type=RUN, metavar="[PATTERN]…")
@click.option("--phase", type=Choice(PHASES), help="Only simulations in this phase.")
def list_(app: App, patterns: tuple[str, ...], phase: str | None, as_json: bool) -> None:
    """List the simulations with phase, progress, step, and what they ask.

    Those that have ended are listed with their outcome: completed, stopped, failed or crashed.
    """
    from simgit.live import find

    with app.repository() as repo, app.output(page=True) as out:
        rows = [view(repo, find(repo, run)) for run in chosen(repo, patterns)]
        rows = [row for row in rows if phase in (None, row["phase"])]
        if as_json:
            for row in rows:
                out.json(record(row))
        elif rows:
            heads = [(head, "bold") for head in ("run", "phase", "progress", "step", "")]
            out.table([heads, *map(_row, rows)], (3,), fit=True)
        else:
            out.line("no simulations; 'simgit sim start' starts one")


def _row(row: dict[str, Any]) -> list[Any]:
    state = row["outcome"] or row["phase"]
    step = "-" if row["step"] is None else str(row["step"])
    return [
        (row["run"], "run"), (state, STYLES.get(state, "")), progress_text(row["progress"]), step,
        remark(row),
    ]  # fmt: skip


def remark(row: dict[str, Any]) -> str:
    """Return what a person should know of a simulation: a question, or why it ended."""
    if row["questions"]:
        return f"asks: {row['questions'][0]['text']}"
    if row["looked"] is not None and row["looked"] > _NOT_LOOKED and row["phase"] == "running":
        return f"has not looked for {row['looked']:.0f} s"
    return row["reason"] or ""


def progress_text(found: dict[str, Any] | None) -> str:
    """Return a bar, or what is done where the total is unknown."""
    if found is None:
        return ""
    done, total = found["done"], found["total"]
    stage = f" {found['stage']}" if found["stage"] else ""
    if not total:
        return f"{number(done)}{stage}"
    part = min(1.0, max(0.0, done / total))
    bar = "█" * round(part * _BAR)
    left = f" {_duration(found['left'])} left" if found["left"] else ""
    return f"{bar:░<{_BAR}} {part:.0%}{stage}{left}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@command("show", example="simgit sim show swing-1", at_op=False)
@click.argument("run", type=RUN)
@click.option(
    "-n", "--lines", "count", type=click.IntRange(0), default=10, show_default=True,
    help="Number of lines of its log.",
)  # fmt: skip
def show(app: App, run: str, count: int, as_json: bool) -> None:
    """Show a simulation: phase, progress, questions, usage, and the end of its log."""
    from simgit.live import find

    with app.repository() as repo, app.output(page=True) as out:
        one = find(repo, run)
        row = view(repo, one)
        lines = one.tail(count)[0]
        if as_json:
            out.json(record(row) | {"log": lines})
            return
        _write(out, row)
        out.lines(lines)


def _write(out: Output, row: dict[str, Any]) -> None:
    state = row["outcome"] or row["phase"]
    rows: list[Any] = [("type", row["type"]), ("phase", (state, STYLES.get(state, "")))]
    if row["reason"]:
        rows.append(("reason", row["reason"]))
    if row["progress"]:
        rows.append(("progress", progress_text(row["progress"])))
    if row["step"] is not None:
        rows.append(("step", str(row["step"])))
    for each in row["questions"]:
        rows.append(("asks", f"{each['text']} ({fields_text(each['form'])})"))
    if row["queries"]:
        rows.append(("queries", ", ".join(row["queries"])))
    if row["usage"]:
        used = row["usage"]
        rows.append((
            "usage", f"{used['cpu']:.0f} % CPU, {size(used['memory'])}, "
            f"{plural(int(used['threads']), 'thread')}",
        ))  # fmt: skip
    if row["phase"] == "running" and row["looked"] is not None:
        rows.append(("looked", f"{row['looked']:.1f} s ago"))
    if row["phase"] == "queued":
        rows.append(("queue", f"number {row['number']}, priority {row['priority']}"))
    if row["process"] is not None:
        rows.append(("process", str(row["process"])))
    rows += [(name, when(row[name])) for name in ("began", "ended") if row[name]]
    out.line(out.paint(f"simulation of run {row['run']}", "run"))
    out.table([[(f"{name}:", "bold"), text] for name, text in rows])


def fields_text(form: dict[str, Any]) -> str:
    """Return the fields of a question as they are answered, with their defaults."""
    parts = []
    for name, each in form.get("properties", {}).items():
        types = each.get("type", "value")
        kinds = each.get("enum") or (types if isinstance(types, list) else [types])
        text = value_text(each["default"]) if "default" in each else "|".join(map(str, kinds))
        parts.append(f"{name}={text}")
    return " ".join(parts)
