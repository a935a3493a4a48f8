"""``simgit run``: list and show runs, and set their status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, CommandGroup, command
from simgit.cli.branch import write_runs
from simgit.cli.output import Output, clean, counted, number, when
from simgit.cli.params import RUN, Choice, settings
from simgit.cli.render import run_info, value_text, write_run

if TYPE_CHECKING:
    from simgit.refs.runs import RunInfo
    from simgit.repository.run_table import RunTable

STATUSES = ("active", "paused", "completed", "failed", "crashed")


@click.group("run", cls=CommandGroup)
def run() -> None:
    """List and show runs, and set their status: active, paused, completed or failed."""


@command(
    "list",
    example="""\
simgit run list --status failed
simgit run list --where 'return > 10 and config.lr < 0.1' --sort -return
simgit run list 'sweep/*' --columns name,best_return,config.agent.lr""",
)
@click.argument("patterns", nargs=-1, type=RUN, metavar="[PATTERN]…")
@click.option("--status", type=Choice(STATUSES), help="Only runs of this status.")
@click.option("--where", metavar="CONDITION", help="Only runs for which it is true.")
@click.option("--sort", metavar="[-]NAME,…", help="Order; '-' for the greatest first.")
@click.option("--columns", metavar="NAME,…", help="What to print of each run.")
def run_list(
    app: App,
    patterns: tuple[str, ...],
    status: str | None,
    where: str | None,
    sort: str | None,
    columns: str | None,
    as_json: bool,
) -> None:
    """List the runs with their returns and settings.

    NAME is name, status, parent, seed, step, states, episodes, return, created, ended,
    last_return, best_return, mean_return, last_length or mean_length (of the episodes that have
    ended), a measure such as 'mean(return, 10)' or 'max(info.loss)' (see 'run best'), time (the
    simulator's clock at the newest state), or a setting as config.agent.lr or metadata.note. A
    CONDITION compares them, as 'log --where' does fields of states.
    """
    with app.repository() as repo, app.output(page=True) as out:
        names = repo.runs.matching(*patterns) if patterns else None
        # NumPy is not waited for where nothing is computed of the runs
        table = repo.runs.table() if (where, sort, columns) != (None, None, None) else None
        infos = [
            info for info in (repo.runs.values() if table is None else table.select(where, sort))
            if status in (None, info.status) and (names is None or info.name in names)
        ]  # fmt: skip
        if table is not None and columns is not None:
            _write_columns(out, table, infos, columns, as_json)
        elif as_json:
            for info in infos:
                out.json(info)
        else:
            write_runs(out, repo, infos, verbose=True)


def _write_columns(
    out: Output, table: RunTable, infos: list[RunInfo], text: str, as_json: bool
) -> None:
    from simgit.repository.run_table import split_names

    wanted = split_names(text)
    values = {name: table.values(name) for name in wanted}
    places = {info.name: i for i, info in enumerate(table.infos)}
    records = [{n: values[n][places[info.name]] for n in wanted} for info in infos]
    if as_json:
        from simgit.repository.jsonable import column_record

        for record in records:
            out.json(column_record(record))
        return
    rows: list[Any] = [[_cell(name, value) for name, value in r.items()] for r in records]
    out.table([[(name, "bold") for name in wanted], *rows])


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in ("created", "ended"):
        return when(value)
    if type(value) is float:
        return number(value)
    return clean(value) if isinstance(value, str) else value_text(value)


@command(
    "best",
    example="""\
simgit run best
simgit run best 'sweep/*' --by 'mean(return, 10)' -n 3
simgit run best --by 'median(length, 100)' --lowest --where 'config.lr < 0.1'""",
)
@click.argument("patterns", nargs=-1, type=RUN, metavar="[PATTERN]…")
@click.option(
    "--by", default="mean(return, 10)", show_default=True, metavar="MEASURE",
    help="Number by which runs are ranked.",
)  # fmt: skip
@click.option("--lowest", is_flag=True, help="The lowest number is the best.")
@click.option("-n", "--limit", type=click.IntRange(1), metavar="N", help="Show only N runs.")
@click.option("--where", metavar="CONDITION", help="Only runs for which it is true.")
def run_best(
    app: App,
    patterns: tuple[str, ...],
    by: str,
    lowest: bool,
    limit: int | None,
    where: str | None,
    as_json: bool,
) -> None:
    """Rank the runs, the best first.

    MEASURE is FUNCTION(return) or FUNCTION(length) of the episodes that have ended, or
    FUNCTION(return, N) of the last N of them, with mean, median, min, max, sum, std, first or last;
    mean, min, max, sum or last of a field, as in mean(reward) or last(info.loss, N); or a NAME of
    'run list', such as states or config.score. Runs without it are left out.
    """
    from simgit.refs.run_config import flat

    with app.repository() as repo, app.output(page=True) as out:
        names = repo.runs.matching(*patterns) if patterns else None
        ranked = repo.runs.best(by, where=where, lowest=lowest)
        ranked = [each for each in ranked if names is None or each[0].name in names][:limit]
        if as_json:
            from simgit.repository.jsonable import run_record

            for rank, (info, value) in enumerate(ranked, 1):
                out.json({"rank": rank, "by": by, "value": value} | run_record(info))
            return
        rows: list[Any] = [[(head, "bold") for head in ("", "run", by, "episodes", "settings")]]
        for rank, (info, value) in enumerate(ranked, 1):
            settings = [f"{k}={value_text(v)}" for k, v in sorted(flat(dict(info.config)).items())]
            name = (info.name, "run")
            rows.append(
                [str(rank), name, number(value), counted(info.episodes), " ".join(settings)]
            )
        out.table(rows, (0, 2, 3), fit=True)


@command("show", example="simgit run show try-1")
@click.argument("name", required=False, type=RUN)
def run_show(app: App, name: str | None, as_json: bool) -> None:
    """Show the record of a run (default: HEAD's)."""
    with app.repository() as repo, app.output() as out:
        info = repo.head_run if name is None else run_info(repo, name)
        out.json(info) if as_json else write_run(out, repo, info)


@command("set", example="simgit run set try-1 operator=ada note='second machine'")
@click.argument("name", type=RUN)
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE…")
def run_set(app: App, name: str, pairs: tuple[str, ...], as_json: bool) -> None:
    """Set metadata of a run: notes that are not part of its configuration."""
    with app.repository() as repo, app.output() as out:
        repo.configure(name, metadata=settings(pairs))
        if as_json:
            out.json(repo.runs[name])


run.add_command(run_list)
run.add_command(run_best)
run.add_command(run_show)
run.add_command(run_set)


def _status_command(verb: str, status: str, text: str) -> None:
    @command(verb, example=f"simgit run {verb} try-1")
    @click.argument("names", nargs=-1, type=RUN, metavar="[RUN]…")
    def change(app: App, names: tuple[str, ...], as_json: bool) -> None:
        with app.repository() as repo, app.output() as out:
            runs = repo.runs.matching(*names) if names else [repo.head_run.name]
            with repo.transaction(f"run {verb}", *runs):
                for name in runs:
                    repo.set_status(name, status)
            for name in runs:
                record: dict[str, Any] = {"name": name, "status": status}
                out.json(record) if as_json else out.line(f"run {name} is {status}")

    change.help = text
    run.add_command(change)


_status_command(
    "complete",
    "completed",
    "Mark runs (default: HEAD's) as completed, which ends recording.",
)
_status_command("reopen", "active", "Make runs (default: HEAD's) active again, completed ones too.")
_status_command("pause", "paused", "Mark runs (default: HEAD's) as paused.")
_status_command("fail", "failed", "Mark runs (default: HEAD's) as failed.")
