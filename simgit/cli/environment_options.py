"""Options that say what an agent meets: SimKube on traces, or any Gymnasium environment."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from simgit.cli.app import App
from simgit.cli.params import settings

F = TypeVar("F", bound=Callable[..., Any])
SIMKUBE: Final = "simgit/SimKube-v0"
_ARGUMENTS: Final = (
    "target", "reward", "workload", "vector", "step_penalty", "order", "max_steps", "nodes",
)  # fmt: skip


def environment_arguments(former: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--env-set``, passed as ``pairs``; the option's former name still works, unseen."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_both(*args: Any, pairs: Any, earlier: Any, **rest: Any) -> Any:
            return function(*args, pairs=(*earlier, *pairs), **rest)

        hidden = click.option(
            former, "earlier", multiple=True, hidden=True, help="The same as --env-set."
        )(with_both)
        return click.option(
            "--env-set", "pairs", multiple=True, metavar="KEY=VALUE",
            help="An argument of the environment, as JSON.",
        )(hidden)  # fmt: skip

    return add


def environment_options(function: F) -> F:
    """Add the options that say what the agent meets."""
    for option in (
        click.option("--env-set", "env_pairs", multiple=True, metavar="KEY=VALUE",
                     help="An argument of the environment, as JSON."),
        click.option("--env", "env_id", metavar="ID",
                     help="Any Gymnasium environment with numbered actions, instead of SimKube."),
        click.option("--nodes", type=click.IntRange(1), help="How many nodes; 3 by default."),
        click.option("--max-steps", type=click.IntRange(1), help="Of an episode; 100 by default."),
        click.option("--order", type=click.Choice(["after", "before"]),
                     help="Observe after the action took effect, or before it."),
        click.option("--step-penalty", type=float, help="What cost_aware_v2 takes off each step."),
        click.option("--vector", help="What the agent sees: base or scale."),
        click.option("--workload", metavar="[[KIND/]NAMESPACE/]NAME",
                     help="The workload to repair; the first Deployment by default."),
        click.option("--reward", help="base, shaped, scale, max_punish or cost_aware_v2."),
        click.option("--target", type=int, help="How many pods are to be ready; 3 by default."),
        click.option("--traces", metavar="DIR", help="A directory of traces to draw from."),
        click.option("--trace", metavar="FILE", help="A trace, or the name of a scenario."),
    ):  # fmt: skip
        function = option(function)
    return function


def environment(app: App, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return name and arguments of the environment that options say; takes them out of these."""
    env_id, pairs = given.pop("env_id"), settings(given.pop("env_pairs"))
    trace, traces = given.pop("trace"), given.pop("traces")
    arguments = {name: value for name in _ARGUMENTS if (value := given.pop(name)) is not None}
    if trace and traces:
        raise click.UsageError("--trace and --traces cannot be used together")
    if env_id is not None:
        used = [*(["trace"] if trace or traces else []), *arguments]
        if used:
            raise click.UsageError(
                f"--env and --{used[0].replace('_', '-')} cannot be used together"
            )
        return env_id, pairs
    if traces is not None:
        arguments["trace"] = str(app.path(traces))
    elif trace is not None:
        arguments["trace"] = str(app.path(trace)) if app.path(trace).exists() else trace
    return SIMKUBE, {**arguments, **pairs}
