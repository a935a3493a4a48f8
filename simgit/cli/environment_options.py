"""Options that choose the environment of an agent: SimKube on traces, or any of Gymnasium."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from simgit.cli.app import App, NumberParam
from simgit.cli.params import Choice, load, settings
from simgit.errors import InvalidInput, warn

if TYPE_CHECKING:
    from simgit.kube.task.cluster_setup import ClusterSetup
    from simgit.kube.trace.model import Trace

F = TypeVar("F", bound=Callable[..., Any])
SIMKUBE: Final = "simgit/SimKube-v0"
REWARDS: Final = ("base", "shaped", "scale", "max_punish", "cost_aware_v2")
VECTORS: Final = ("base", "scale")
ORDERS: Final = ("after", "before")
CLUSTERS: Final = ("embedded", "live")
DRIVERS: Final = ("replayer", "simkube")
_ARGUMENTS: Final = (
    "target", "reward", "workload", "vector", "step_penalty", "order", "max_steps", "nodes",
)  # fmt: skip


class Nodes(click.ParamType):  # type: ignore[type-arg]
    """A number of nodes, or a file of nodes, and of events that change them, in JSON."""

    name = "nodes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or the setting in the file as plain data."""
        if not isinstance(value, str):
            return value
        if re.fullmatch(r"[+-]?\d+", value):
            return NumberParam(click.IntRange(1, 10_000)).convert(value, param, ctx)
        from simgit.kube.task.node_setting import read_nodes

        app = ctx.obj if ctx is not None and isinstance(ctx.obj, App) else App(Path())
        data = load(app.path(value))
        try:
            return read_nodes(data).plain()
        except InvalidInput as error:
            raise InvalidInput(f"'{value}' is not a file of nodes: {error}", file=value) from None


NODES: Final = Nodes()


def warn_of_late_events(setup: ClusterSetup, trace: Trace) -> None:
    """Warn of each node event that comes after the end of a trace."""
    for told in setup.late_events(trace):
        warn(told)


def environment_arguments(former: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--env-set``, passed as ``pairs``; the option's former name still works, hidden."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_both(*args: Any, pairs: Any, earlier: Any, **rest: Any) -> Any:
            return function(*args, pairs=(*earlier, *pairs), **rest)

        hidden = click.option(
            former, "earlier", multiple=True, hidden=True, help="The same as --env-set."
        )(with_both)
        return click.option(
            "--env-set", "pairs", multiple=True, metavar="KEY=VALUE",
            help="Argument of the environment, as JSON.",
        )(hidden)  # fmt: skip

    return add


def cluster_options(function: F) -> F:
    """Add the options that choose the cluster that traces are replayed on."""
    kind = click.option("--cluster", type=Choice(CLUSTERS),
                        help="Cluster to replay traces on (default embedded).")  # fmt: skip
    until = click.option("--duration", type=click.IntRange(1), metavar="SECONDS",
                         help="Seconds of the trace to replay (default all).")  # fmt: skip
    return kind(live_options(until(function)))


def live_options(function: F) -> F:
    """Add the options of a live cluster."""
    for option in (
        click.option("--speed", type=float, help="Speed of the replay (default 1)."),
        click.option("--cluster-set", "cluster_pairs", multiple=True, metavar="KEY=VALUE",
                     help="Setting of the live cluster, such as timeout=120."),
        click.option("--driver", type=Choice(DRIVERS),
                     help="Driver of the live cluster (default replayer)."),
        click.option("--context", metavar="NAME",
                     help="Context of the kubeconfig (default: the current one)."),
    ):  # fmt: skip
        function = option(function)
    return function


def cluster_arguments(given: dict[str, Any], wanted: str = "--cluster live") -> dict[str, Any]:
    """Return the arguments ``cluster`` and ``simulation`` as chosen; remove them from the options.

    ``cluster`` is None for the embedded one, and absent where nothing was said.
    """
    kind, context, driver = (given.pop(name) for name in ("cluster", "context", "driver"))
    pairs, speed, duration = (given.pop(name) for name in ("cluster_pairs", "speed", "duration"))
    found: dict[str, Any] = {}
    simulation = {} if duration is None else {"duration": duration}
    if kind == "live":
        chosen = {"context": context, "driver": driver, "speed": speed}
        chosen = {name: value for name, value in chosen.items() if value is not None}
        found["cluster"] = {**chosen, **settings(pairs)}
    else:
        for name, value in (("context", context), ("driver", driver), ("cluster-set", pairs)):
            if value:
                raise click.UsageError(f"--{name} needs {wanted}")
        simulation |= {} if speed is None else {"speed": speed}
        found |= {"cluster": None} if kind == "embedded" else {}
    return found | ({"simulation": simulation} if simulation else {})


def with_context(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments whose live cluster, if any, has a context: the kubeconfig's current one.

    Raises:
        ClusterError: the kubeconfig cannot be used, the package kubernetes is missing, or the user
            did not allow the cluster.
        NotFound: no such context.
    """
    cluster = arguments.get("cluster")
    if cluster is None:
        return {name: value for name, value in arguments.items() if name != "cluster"}
    from simgit.kube.live import opened
    from simgit.repository import live_clusters

    live_clusters.prepare()
    context = cluster.get("context")  # --cluster-set reads a number where a name is one
    with opened.permitted(None if context is None else str(context)) as api:
        return {**arguments, "cluster": {**cluster, "context": api.context}}


def environment_options(function: F) -> F:
    """Add the options that choose the environment."""
    function = cluster_options(function)
    for option in (
        click.option("--env-set", "env_pairs", multiple=True, metavar="KEY=VALUE",
                     help="Argument of the environment, as JSON."),
        click.option("--env", "env_id", metavar="ID",
                     help="Gymnasium environment with discrete actions, instead of SimKube."),
        click.option("--nodes", type=NODES, metavar="N|FILE",
                     help="Number of nodes (default 3), or file of nodes and events."),
        click.option("--max-steps", type=click.IntRange(1),
                     help="Steps per episode (default 100)."),
        click.option("--order", type=Choice(ORDERS),
                     help="Observe after or before the action takes effect (default after)."),
        click.option("--step-penalty", type=float,
                     help="Penalty per step of cost_aware_v2 (default 0)."),
        click.option("--vector", type=Choice(VECTORS),
                     help="Observation vector of the agent (default base)."),
        click.option("--workload", metavar="[[KIND/]NAMESPACE/]NAME",
                     help="Workload to repair (default: the first Deployment)."),
        click.option("--reward", type=Choice(REWARDS), help="Reward (default shaped)."),
        click.option("--target", type=int, help="Number of pods to be ready (default 3)."),
        click.option("--traces", metavar="DIR", help="Directory of traces to draw from."),
        click.option("--trace", metavar="FILE", help="Trace file, or name of a scenario."),
    ):  # fmt: skip
        function = option(function)
    return function


def environment(app: App, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return name and arguments of the chosen environment, and remove them from the options."""
    env_id, pairs = given.pop("env_id"), settings(given.pop("env_pairs"))
    trace, traces = given.pop("trace"), given.pop("traces")
    arguments = {name: value for name in _ARGUMENTS if (value := given.pop(name)) is not None}
    arguments |= cluster_arguments(given)
    twice = sorted(pairs.keys() & arguments.keys() & {"cluster", "simulation"})
    if twice:
        raise click.UsageError(f"'{twice[0]}' is given by --env-set and by options of its own")
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
