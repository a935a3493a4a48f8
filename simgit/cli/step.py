"""``simgit step``: one observe–act–reward step, and everything that there is to see of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command
from simgit.cli.environment import environment, environment_options
from simgit.cli.output import Output, number
from simgit.cli.values import REVISION

if TYPE_CHECKING:
    from simgit.training import Transition


@command(
    "step",
    example="""\
simgit step --trace traces/cpu-slight.sktrace --agent heuristic
simgit step train/cpu-slight-dqn-1@ep20 --steps 2
simgit step main@12 --agent noop --json""",
)
@click.argument("revision", required=False, type=REVISION)
@environment_options
@click.option("--agent", help="A policy, a run or a checkpoint; the state's own by default.")
@click.option("--steps", type=click.IntRange(1), default=1, show_default=True, help="How many.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the reset.")
def step(
    app: App,
    revision: str | None,
    agent: str | None,
    steps: int,
    seed: int,
    as_json: bool,
    **given: Any,
) -> None:
    """Do one step, from a recorded state or from the start of a trace, and record nothing.

    Shown are the vector that the agent saw, what it thinks of each action, the action, what came
    of it, and the reward.
    """
    from simgit.training.debug import walk

    where, arguments = environment(app, given)
    if revision is not None and (arguments or where != "simgit/SimKube-v0"):
        raise click.UsageError("a recorded state has its own environment: name no other")
    if revision is None and agent is None:
        raise click.UsageError("name a state, or an --agent")
    with app.output() as out:
        if revision is None and agent is not None:
            found = walk(agent, where, arguments, seed=seed, steps=steps)
            _show(out, found, as_json)
            return
        with app.repository() as repo:
            assert revision is not None
            found = walk(agent or revision, repo=repo, revision=revision, seed=seed, steps=steps)
            _show(out, found, as_json)


def _show(out: Output, found: Any, as_json: bool) -> None:
    for number_, (done, values) in enumerate(found, start=1):
        if as_json:
            out.json(_record(done, values))
        else:
            _write(out, number_, done, values)


def _record(done: Transition, values: Any) -> dict[str, Any]:
    return {
        "before": done.before, "values": values, "action": done.action, "number": done.number,
        "reward": done.reward, "after": done.after, "terminated": done.terminated,
        "truncated": done.truncated, "info": dict(done.info),
    }  # fmt: skip


def _write(out: Output, count: int, done: Transition, values: Any) -> None:
    out.line(out.paint(f"step {count}", "bold"))
    out.line(f"  saw     {_vector(done.before)}")
    if values is not None:
        thought = "  ".join(f"{name} {number(value)}" for name, value in values.items())
        out.line(f"  values  {thought}")
    out.line(f"  did     {done.action}")
    for name, value in done.info.items():
        out.line(f"  {name:<7} {value}")
    ended = " (the goal)" if done.terminated else " (cut off)" if done.truncated else ""
    out.line(f"  reward  {number(done.reward)}{ended}")
    out.line(f"  sees    {_vector(done.after)}")


def _vector(values: Any) -> str:
    return "[" + " ".join(number(float(value)) for value in values) + "]"
