"""``simgit what-if``."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.app import App, answer_no, command
from simgit.cli.output import Output, number, progress, say
from simgit.cli.params import REVISION
from simgit.cli.permission import Asker
from simgit.cli.restore_estimate import announce
from simgit.errors import Stopped
from simgit.process import cores

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from simgit.gym.tools.rollout import Continuation


MOST: Final = 256
"""The most processes of an executor."""


@command("what-if", example="""\
simgit what-if main@200 --action 0,1 --horizon 50 --rollouts 20
simgit what-if main@200 --action '[0.5]' --action '[-0.5]' --horizon 100
simgit what-if main@200 --action 0,1 --rollouts 500 --executor processes:8""")  # fmt: skip
@click.argument("state", type=REVISION)
@click.option(
    "--action", "texts", multiple=True, required=True, metavar="ACTION[,ACTION]…",
    help="First actions to try: numbers, or an action as JSON; may be repeated.",
)  # fmt: skip
@click.option(
    "--horizon", type=click.IntRange(1), default=50, show_default=True, help="Actions per rollout."
)
@click.option(
    "--rollouts",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Rollouts per action.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the rollouts.")
@click.option(
    "--workers", type=click.IntRange(1), help="Number of processes (default: one per processor)."
)
@click.option(
    "--executor", metavar="ray|processes[:N]",
    help="Let a Ray cluster, or N processes, run the rollouts in batches.",
)  # fmt: skip
def what_if(
    app: App,
    state: str,
    texts: tuple[str, ...],
    horizon: int,
    rollouts: int,
    seed: int,
    workers: int | None,
    executor: str | None,
    as_json: bool,
) -> None:
    """Compare the outcomes of actions from a state, in many rollouts.

    A rollout takes the action and then random ones. The n-th rollouts of all actions use the same
    random numbers. Every rollout is a run under what-if/; the table has the mean returns and
    lengths with 95 % intervals.
    """
    from simgit.cli.watched import Watched
    from simgit.gym.tools import whatif

    actions = [action for text in texts for action in _actions(text)]
    with app.repository() as repo, app.output() as out, _executor(executor, workers) as pool:
        trust = Asker(repo)
        if not as_json:
            announce(repo, state, trust=trust)
        with progress("what-if", not as_json) as tell:
            watched = Watched(app, repo, "what-if", "rollouts", tell)
            try:
                found = whatif.what_if(
                    repo, state, actions, horizon=horizon, rollouts=rollouts, seed=seed,
                    workers=workers, executor=pool, trust=trust, progress=watched.tell,
                    around=watched.of_run,
                )  # fmt: skip
            except Stopped:
                say("stopped; the rollouts so far are runs under what-if/")
                answer_no()
                return
        if as_json:
            for action, each in zip(actions, found, strict=True):
                runs = [continuation.to_json() for continuation in each]
                out.json({"action": action, **_summary(each), "runs": runs})
        else:
            _write(out, actions, found)


def _executor(text: str | None, workers: int | None) -> AbstractContextManager[Executor | None]:
    """Return the executor that a text names."""
    if text is None:
        return nullcontext()
    name, colon, count = text.partition(":")
    if name == "ray" and not colon:
        from simgit.integrations.ray import RayExecutor

        return RayExecutor()
    if name != "processes" or (colon and not (count.isdecimal() and 1 <= int(count) <= MOST)):
        raise click.UsageError(f"'{text}' must be ray, processes or processes:N, N 1 to {MOST}")
    from simgit.gym.tools.executors import new_processes

    return new_processes(int(count) if colon else workers or cores())


def _actions(text: str) -> list[Any]:
    """Return the actions that a text lists."""
    try:
        if text.lstrip().startswith(("[", "{", '"')):
            return [json.loads(text)]
        return [json.loads(part) for part in text.split(",")]
    except json.JSONDecodeError:
        raise click.UsageError(
            f"'{text}' must be numbers such as 0,1 or an action as JSON"
        ) from None


def _summary(found: list[Continuation]) -> dict[str, Any]:
    from simgit.gym.tools.whatif import interval

    return {
        "return": vars(interval([each.return_ for each in found])),
        "length": vars(interval([each.length for each in found])),
        "terminated": sum(each.terminated for each in found),
    }


def _write(out: Output, actions: list[Any], found: list[list[Continuation]]) -> None:
    rows: list[list[Any]] = [
        [(t, "bold") for t in ("action", "rollouts", "return", "95 %", "length", "ended", "runs")]
    ]
    for action, each in zip(actions, found, strict=True):
        summary = _summary(each)
        returned, length = summary["return"], summary["length"]
        rows.append([
            json.dumps(action), str(len(each)), number(returned["mean"]),
            f"{number(returned['low'])} … {number(returned['high'])}", number(length["mean"]),
            str(summary["terminated"]), f"{each[0].run} … {each[-1].run.rpartition('-')[2]}",
        ])  # fmt: skip
    out.table(rows, (1, 2, 3, 4, 5))
