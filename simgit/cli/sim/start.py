"""``simgit sim types``, ``start``, ``restart``, ``fork``, ``clear`` and ``work``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import Output, say, when
from simgit.cli.params import REVISION, RUN, branch_settings, settings
from simgit.cli.render import value_text
from simgit.cli.sim.follow import follow, how_to
from simgit.cli.sim.look import STYLES, chosen
from simgit.errors import NotFound, SimgitError, plural

if TYPE_CHECKING:
    from simgit.live import Simulation, Tracker
    from simgit.live.records import Records
    from simgit.refs.simulations import SimulationEvent
    from simgit.repository import Repository

F = TypeVar("F", bound=Callable[..., Any])
_LOOK: Final = 0.1
"""Seconds between two looks of a worker at what has happened."""
_WORK: Final = ("starting", "ended")
"""The events that a worker tells."""


@command("types", example="""\
simgit sim types
simgit sim types demo""", at_op=False)  # fmt: skip
@click.argument("name", required=False, metavar="[TYPE]")
def types(app: App, name: str | None, as_json: bool) -> None:
    """List the registered types of simulations, or show the settings of one.

    A TYPE is a registered name, or the import path of a function: module:function or
    file.py:function. 'simgit config --repository live.types.NAME=PATH' registers one.
    """
    from simgit.live import types as registered

    with app.repository() as repo, app.output(page=True) as out:
        paths = registered(repo)
        found = [_about(app, repo, each, paths.get(each, each)) for each in [name] if each] or [
            _about(app, repo, each, path, lenient=True) for each, path in paths.items()
        ]
        if as_json:
            for row in found:
                out.json(row)
        elif name is None:
            out.table([[(row["name"], "run"), row["path"], row["help"]] for row in found], fit=True)
        else:
            _write_type(out, found[0])


def _about(
    app: App, repo: Repository, name: str, path: str, *, lenient: bool = False
) -> dict[str, Any]:
    from simgit.live.registry import load

    row: dict[str, Any] = {"name": name, "path": path, "help": "", "defaults": {}, "queries": []}
    try:
        kind = load(repo, name, str(app.directory.resolve()))
    except SimgitError as error:  # of one, which must not hide the others
        if not lenient:
            raise
        return row | {"help": str(error)}
    return row | {
        "help": kind.help, "defaults": dict(kind.defaults), "queries": sorted(kind.queries),
    }  # fmt: skip


def _write_type(out: Output, row: dict[str, Any]) -> None:
    out.line(out.paint(f"type {row['name']}", "run"))
    rows: list[Any] = [[("path:", "bold"), row["path"]]]
    rows += [[("queries:", "bold"), ", ".join(row["queries"])]] if row["queries"] else []
    out.table([*([[("help:", "bold"), row["help"]]] if row["help"] else []), *rows])
    out.lines(f"    {key}={value_text(value)}" for key, value in row["defaults"].items())


def _begin_options(function: F) -> F:
    """Add the options of all commands that start a simulation."""
    for option in (
        click.option("--wait", is_flag=True, help="Follow it until it ends, as 'watch' does."),
        click.option("--priority", type=click.IntRange(0), help="Place in the queue (default 0)."),
        click.option("--queue", is_flag=True, help="Queue it for 'simgit sim work'."),
    ):
        function = option(function)
    return function


def _new_options(function: F) -> F:
    """Add the options of a new run."""
    for option in (
        click.option("--seed", type=int, metavar="N", help="Seed of the run."),
        click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Setting."),
        click.option("--run", metavar="NAME", help="Name of the run; {auto} is a counter."),
    ):
        function = option(function)
    return function


@command("start", example="""\
simgit sim start demo
simgit sim start pendulum.py:swing --run p/1 --set steps=500 --seed 1 --wait
simgit sim start pendulum.py:swing --at p/1@200 --set push=0.5 --queue""", at_op=False)  # fmt: skip
@click.argument("kind", required=False, metavar="[TYPE]")
@_new_options
@click.option("--at", metavar="REVISION", type=REVISION, help="State to begin at.")
@click.option("--preset", metavar="NAME", help="Preset whose type and settings it has.")
@click.option("--save", metavar="NAME", help="Keep type and settings as a preset; start nothing.")
@_begin_options
def start(
    app: App,
    kind: str | None,
    run: str | None,
    pairs: tuple[str, ...],
    seed: int | None,
    at: str | None,
    preset: str | None,
    save: str | None,
    queue: bool,
    priority: int | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Start a simulation, which records a new run, and return at once.

    TYPE is a registered name or an import path; see 'simgit sim types'. Without it the type is that
    of the preset, or of the run that --at is of. With --wait its log is shown, and the exit code is
    0 if it completed, else 1; Ctrl-C leaves it running.
    """
    one_of(at=at, preset=preset)
    one_of(save=save, queue=queue, wait=wait)
    with app.repository() as repo:
        config = branch_settings(repo, at, pairs) if at is not None else settings(pairs)
        if save is not None:
            _save(app, repo, save, kind, config, seed, as_json)
            return

        def begin(tracker: Tracker, **options: Any) -> Simulation:
            call = tracker.queue if queue else tracker.start
            return call(
                kind, run, at=at, preset=preset, config=config, seed=seed,
                folder=app.directory, **options,
            )  # fmt: skip

        _begin(app, repo, begin, queue, priority, wait, as_json)


def _begin(
    app: App,
    repo: Repository,
    begin: Callable[..., Simulation],
    queue: bool,
    priority: int | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Start or queue a simulation, tell so, and follow it if that is wanted."""
    from simgit.live import Tracker

    one_of(queue=queue, wait=wait)
    if priority is not None and not queue:
        raise click.UsageError("--priority needs --queue")
    with Tracker(repo, workers=0) as tracker, app.output() as out:
        one = begin(tracker, **({"priority": priority or 0} if queue else {}))
        record, pid = one.record, tracker.pid(one.run)
        if as_json:
            phase = "queued" if queue else "starting"
            out.json({"run": one.run, "type": record.type, "phase": phase, "process": pid})
        elif queue:
            out.line(f"queued {one.run}; 'simgit sim work' runs the queue")
        else:
            out.line(f"started {one.run} (process {pid})")
            if not wait:
                out.line(how_to(one.run))
        if wait:
            follow(out, repo, one, as_json)


def _save(
    app: App,
    repo: Repository,
    name: str,
    kind: str | None,
    config: dict[str, Any],
    seed: int | None,
    as_json: bool,
) -> None:
    from simgit.live.registry import load
    from simgit.live.tracker import PRESET

    if kind is None:
        raise click.UsageError("--save needs a TYPE")
    load(repo, kind, str(app.directory.resolve()))
    made = repo.create_run(
        PRESET + name.removeprefix(PRESET), config=config, seed=seed,
        metadata={"simulation": {"type": kind}},
    )  # fmt: skip
    with app.output() as out:
        if as_json:
            out.json({"run": made, "type": kind, "phase": None, "process": None})
        else:
            short = made.removeprefix(PRESET)
            out.line(f"saved preset {short}; 'simgit sim start --preset {short}' starts one")


@command("restart", example="simgit sim restart swing-1", at_op=False)
@click.argument("run", type=RUN)
@_begin_options
def restart(
    app: App, run: str, queue: bool, priority: int | None, wait: bool, as_json: bool
) -> None:
    """Continue a run whose simulation has ended, exactly, from where it can be.

    What was recorded after that state is re-executed, to the same oids. A completed run has to be
    reopened ('simgit run reopen') or forked.
    """

    def begin(tracker: Tracker, **options: Any) -> Simulation:
        return tracker.restart(run, queue=queue, **options)

    with app.repository() as repo:
        _begin(app, repo, begin, queue, priority, wait, as_json)


@command("fork", example="""\
simgit sim fork swing-1@200 --set push=0.5
simgit sim fork swing-1@200 --run other --queue""", at_op=False)  # fmt: skip
@click.argument("revision", type=REVISION)
@_new_options
@_begin_options
def fork(
    app: App,
    revision: str,
    run: str | None,
    pairs: tuple[str, ...],
    seed: int | None,
    queue: bool,
    priority: int | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Start a simulation of the same type at a recorded state, as a new run."""
    with app.repository() as repo:
        origin = repo.state(revision).run
        if origin is None:
            raise NotFound(f"no run has state '{revision}'; give --at to 'simgit sim start'")
        config = branch_settings(repo, revision, pairs)

        def begin(tracker: Tracker, **options: Any) -> Simulation:
            wanted: dict[str, Any] = {"config": config, "seed": seed, "folder": app.directory}
            return tracker.fork(origin, revision, run, queue=queue, **wanted, **options)

        _begin(app, repo, begin, queue, priority, wait, as_json)


@command("clear", example="""\
simgit sim clear
simgit sim clear 'sweep/*'""", at_op=False)  # fmt: skip
@click.argument("patterns", nargs=-1, type=RUN, metavar="[PATTERN]…")
def clear(app: App, patterns: tuple[str, ...], as_json: bool) -> None:
    """Forget simulations that have ended, with their logs; their runs are kept."""
    from simgit.live import Tracker

    with app.repository() as repo, Tracker(repo, workers=0) as tracker, app.output() as out:
        count = tracker.clear(chosen(repo, patterns))
        said = f"cleared {plural(count, 'simulation')}"
        out.json({"cleared": count}) if as_json else out.line(said)


@command("work", example="""\
simgit sim work
simgit sim work --workers 4 --until-empty""", at_op=False)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True,
    help="How many simulations run at once.",
)  # fmt: skip
@click.option("--until-empty", is_flag=True, help="End when the queue is empty and all have ended.")
def work(app: App, workers: int, until_empty: bool, as_json: bool) -> None:
    """Run the simulations of the queue, until it is interrupted (Ctrl-C).

    Those of a greater priority come first. Several of these commands can share a queue. When this
    one ends, simulations keep running.
    """
    from simgit.live import Tracker
    from simgit.live.records import Records

    with app.repository() as repo, app.output() as out:
        records = Records(repo)
        after = max((each.number for each in records.events()), default=0)
        try:
            with Tracker(repo, workers=workers):
                while True:
                    is_done = until_empty and not _left(records)
                    for event in records.events(after):
                        after = event.number
                        _tell(out, event, as_json)
                    if is_done:
                        return
                    time.sleep(_LOOK)
        except KeyboardInterrupt:
            count = len(_running(records))
            say(
                f"{plural(count, 'simulation')} {'keeps' if count == 1 else 'keep'} running; "
                "'simgit sim stop' stops them"
                if count
                else "no simulation is running"
            )
            raise


def _running(records: Records) -> list[str]:
    found = records.all().items()
    return [run for run, each in found if each.phase != "queued" and not each.is_over]


def _left(records: Records) -> bool:
    """Return whether simulations are queued, or started by this process and not over."""
    from simgit.process import this_writer

    return any(
        each.phase == "queued" or (each.phase != "ended" and each.tracker == this_writer())
        for each in records.all().values()
    )


def _tell(out: Output, event: SimulationEvent, as_json: bool) -> None:
    if event.kind not in _WORK:
        return
    outcome, reason = event.data.get("outcome"), event.data.get("reason")
    if as_json:
        from simgit.repository.jsonable import stamp

        out.json({
            "time": stamp(event.time), "run": event.run, "phase": event.kind, "outcome": outcome,
            "reason": reason or None,
        })  # fmt: skip
        return
    state = str(outcome or event.kind)
    shown = out.paint(state, STYLES.get(state, "")) + (f": {reason}" if reason else "")
    out.line(f"{when(event.time)[11:19]} {event.run} {shown}")
