"""``simgit sim``: the requests to a simulation, from stop and pause to query and answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from simgit.cli.app import App, command
from simgit.cli.params import RUN, VALUE, qualified, settings
from simgit.cli.render import value_text
from simgit.cli.sim.follow import answer_of, person
from simgit.cli.sim.look import chosen
from simgit.errors import Conflict

if TYPE_CHECKING:
    from simgit.live import Simulation
    from simgit.repository import Repository

F = TypeVar("F", bound=Callable[..., Any])
_RUNS: Final = click.argument("runs", nargs=-1, required=True, type=RUN, metavar="RUN…")
_TIMEOUT: Final = click.option(
    "--timeout", type=click.FloatRange(0), default=10.0, show_default=True, metavar="SECONDS",
    help="How long to wait until it looks.",
)  # fmt: skip


def _each(
    app: App, runs: tuple[str, ...], as_json: bool, do: Callable[[Simulation], tuple[str, Any]]
) -> None:
    """Do something with each simulation that names and patterns mean, and tell what came of it."""
    from simgit.live import find

    with app.repository() as repo, app.output() as out:
        for run in chosen(repo, runs, running=True):
            said, record = do(find(repo, run))
            out.json({"run": run} | record) if as_json else out.line(f"{run} {said}")


def _ended(one: Simulation, outcome: str) -> tuple[str, Any]:
    reason = f": {one.reason}" if one.reason else ""
    return f"{outcome}{reason}", {"outcome": outcome, "reason": one.reason}


@command("stop", example="""\
simgit sim stop swing-1
simgit sim stop 'sweep/*' --timeout 60""", at_op=False)  # fmt: skip
@_RUNS
@_TIMEOUT
def stop(app: App, runs: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Stop simulations at their next look.

    'simgit sim restart' continues them exactly.
    One that does not look within the timeout gets SIGTERM, and SIGKILL a second later, with all its
    children. One that is queued leaves the queue. A pattern means all that have not ended.
    """
    _each(app, runs, as_json, lambda one: _ended(one, one.stop(timeout, by=person())))


@command("kill", example="simgit sim kill swing-1", at_op=False)
@_RUNS
def kill(app: App, runs: tuple[str, ...], as_json: bool) -> None:
    """End the processes of simulations at once (SIGKILL), with all their children."""
    _each(app, runs, as_json, lambda one: _ended(one, one.kill(by=person())))


@command("pause", example="simgit sim pause swing-1", at_op=False)
@_RUNS
@_TIMEOUT
def pause(app: App, runs: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Pause simulations at their next look, until 'simgit sim resume'."""

    def do(one: Simulation) -> tuple[str, Any]:
        step = one.pause(timeout, by=person())
        return f"is paused at step {step}", {"step": step}

    _each(app, runs, as_json, do)


@command("resume", example="simgit sim resume swing-1", at_op=False)
@_RUNS
@_TIMEOUT
def resume(app: App, runs: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Let paused or frozen simulations continue."""

    def do(one: Simulation) -> tuple[str, Any]:
        one.resume(timeout)
        return "continues", {"phase": one.phase}

    _each(app, runs, as_json, do)


@command("freeze", example="simgit sim freeze swing-1", at_op=False)
@_RUNS
def freeze(app: App, runs: tuple[str, ...], as_json: bool) -> None:
    """Halt the processes of simulations where they are (SIGSTOP).

    'simgit sim resume' lets them continue. This is for what does not look; 'simgit sim pause'
    waits for a look.
    """

    def do(one: Simulation) -> tuple[str, Any]:
        one.freeze()
        return "is frozen", {"phase": "frozen"}

    _each(app, runs, as_json, do)


@command("set", example="simgit sim set swing-1 push=0.5 agent.lr=0.001", at_op=False)
@click.argument("run", type=RUN)
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE…")
@_TIMEOUT
def set_(app: App, run: str, pairs: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Change settings of a running simulation, from its next look on.

    The change is recorded where it applies, so that the run can be re-executed."""
    from simgit.live import find

    with app.repository() as repo, app.output() as out:
        one = find(repo, run)
        overrides = qualified(settings(pairs), repo.config(run))
        first = one.configure(overrides, timeout, by=person())
        if as_json:
            out.json({"run": run, "from": first})
        else:
            out.line(f"{run}: in force from step {first}")


@command("query", example="simgit sim query swing-1 energy", at_op=False)
@click.argument("run", type=RUN)
@click.argument("name")
@click.argument("argument", required=False, type=VALUE)
@_TIMEOUT
def query(app: App, run: str, name: str, argument: Any, timeout: float, as_json: bool) -> None:
    """Ask a simulation a query of its type, with an argument as JSON."""
    from simgit.live import find

    with app.repository() as repo, app.output() as out:
        value = find(repo, run).query(name, argument, timeout)
        if as_json:
            out.json({"run": run, "name": name, "value": value})
        else:
            out.line(value_text(value))


@command("answer", example="""\
simgit sim answer swing-1 torque=1.5
simgit sim answer swing-1 1.5""", at_op=False)  # fmt: skip
@click.argument("run", type=RUN)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]…")
@click.option("--question", type=click.IntRange(1), help="Number of the question (default newest).")
@_TIMEOUT
def answer(
    app: App,
    run: str,
    words: tuple[str, ...],
    question: int | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Answer the question of a simulation.

    Fields that are left out have their defaults. A question of one field takes its value alone.
    """
    from simgit.live import find

    with app.repository() as repo, app.output() as out:
        one = find(repo, run)
        value = answer_of(_form(repo, one, question), list(words))
        found = one.answer(value, question=question, by=person(), timeout=timeout)
        if as_json:
            out.json({"run": run, "value": found})
        else:
            shown = " ".join(f"{name}={value_text(each)}" for name, each in found.items())
            out.line(f"{run}: answered {shown}")


def _form(repo: Repository, one: Simulation, number: int | None) -> dict[str, Any]:
    questions = {each["number"]: each for each in one.questions}
    if not questions:
        raise Conflict(f"the simulation of run '{one.run}' asks nothing")
    found = questions.get(number or max(questions))
    if found is None:
        raise Conflict(f"question {number} of run '{one.run}' does not wait for an answer")
    form: dict[str, Any] = found["form"]
    return form
