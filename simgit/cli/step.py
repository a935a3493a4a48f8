"""``simgit step``: one step of the agent loop, shown in full and not recorded."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.environment_options import (
    ORDERS,
    REWARDS,
    VECTORS,
    cluster_arguments,
    cluster_options,
    with_context,
)
from simgit.cli.output import Output, clean
from simgit.cli.params import Choice
from simgit.cli.trace.files import PIPE, read, write, written

if TYPE_CHECKING:
    from simgit.kube.cluster import ClusterRows
    from simgit.kube.task.loop import Loop, Step
    from simgit.kube.trace.model import Trace


@command(
    "step",
    example="""\
simgit step --trace cpu-slight --action reduce_cpu_small
simgit step --trace web.sktrace --action 3 --target 4 --output next.sktrace
simgit step --trace cpu-heavy --agent train/cpu-slight-dqn-1""",
)
@click.option(
    "--trace", "source", metavar="FILE", required=True,
    help="Trace file, - for standard input, or name of a scenario.",
)  # fmt: skip
@click.option("--action", help="Name or number of the action (default noop).")
@click.option("--agent", help="Policy, run, state or checkpoint that chooses the action instead.")
@click.option("--target", default=3, show_default=True, help="Number of pods to be ready.")
@click.option(
    "--reward", default="shaped", show_default=True, type=Choice(REWARDS),
    help="Reward of the step.",
)  # fmt: skip
@click.option(
    "--workload",
    metavar="NAME",
    help="Workload, [[kind/]namespace/]name (default: the first Deployment).",
)
@click.option(
    "--vector", default="base", show_default=True, type=Choice(VECTORS),
    help="Observation vector of the agent.",
)  # fmt: skip
@click.option(
    "--order", default="after", show_default=True, type=Choice(ORDERS),
    help="Observe after or before the action takes effect.",
)  # fmt: skip
@click.option("--step-penalty", default=0.0, help="Penalty per step of cost_aware_v2 (default 0).")
@click.option(
    "--nodes", type=click.IntRange(1), help="Number of nodes of 16 CPU and 32Gi (default 3)."
)
@click.option(
    "--seed",
    default=0,
    help="Random seed of ties between nodes, and of --agent random (default 0).",
)
@click.option("-o", "--output", metavar="FILE", help="File to write the changed trace to.")
@cluster_options
def step(
    app: App, source: str, output: str | None, agent: str | None, as_json: bool, **given: Any
) -> None:
    """Take one step on a trace, and show observations, action and reward.

    This is one step of training, for debugging a trace or a reward. Nothing is recorded, and no
    repository is needed.
    """
    from simgit.kube.task.actions import action_name
    from simgit.kube.task.cluster_setup import cluster_setup
    from simgit.kube.task.loop import Loop
    from simgit.kube.task.task import Task

    if output == PIPE:
        raise click.UsageError("--output must be a file: standard output shows the step")
    one_of(action=given["action"], agent=agent)
    trace, named = _trace(app, source), given.pop("action")
    action = action_name(int(named) if named and named.isdecimal() else named or "noop")
    nodes, seed, cluster = given.pop("nodes"), given.pop("seed"), cluster_arguments(given)
    setup = cluster_setup(nodes, **with_context(cluster))
    loop = Loop(Task(**given), setup, trace, seed)
    loop.keeps_rows = True
    if setup.live is None:
        loop.warn_of_unmodelled()
    with closing(setup):
        first = loop.start()
        before = loop.vector(first)
        if agent is not None:
            action = _decided(app, agent, loop, before, seed)
        taken = loop.step(action)
    if output is not None:
        write(app, output, loop.trace)
    record = _record(loop, first, taken, {"before": before, "after": loop.vector(taken)})
    with app.output() as out:
        if as_json:
            out.json(record | ({} if output is None else written(output, loop.trace)))
        else:
            _write(out, record, loop.cluster if taken.observation.valid else None)


def _trace(app: App, source: str) -> Trace:
    from simgit.kube.task.catalogue import catalogue
    from simgit.kube.trace.files import SUFFIXES

    if source == PIPE or "/" in source or source.endswith(SUFFIXES):
        return read(app, source)
    path = app.path(source)
    return next(iter(catalogue(path if path.exists() else source).values()))


def _decided(app: App, subject: str, loop: Loop, vector: Any, seed: int) -> str:
    """Return the action that an agent takes when it is shown a vector."""
    from simgit import agents
    from simgit.agents.policies import evaluated
    from simgit.training.evaluation import agent_of

    actions = loop.task.actions
    if subject in agents.names():
        agent = agent_of(None, subject, len(vector), actions)
    else:
        with app.repository() as repo:
            agent = agent_of(repo, subject, len(vector), actions)
    return actions[evaluated(agent, seed).act(vector, explore=False)]


def _record(loop: Loop, first: Step, taken: Step, vectors: dict[str, Any]) -> dict[str, Any]:
    from simgit.kube.trace.diff import describe, diff_traces
    from simgit.kube.trace.sktrace import trace_id

    assert taken.result is not None
    base, task = loop.base, loop.task
    return {
        "trace": trace_id(base), "workload": str(loop.workload), "target": task.target,
        "before": _seen(first, vectors["before"]),
        "action": taken.action, "action_info": taken.result.info(),
        "changes": describe(diff_traces(base, loop.trace)), "changed_trace": trace_id(loop.trace),
        "order": task.order, "after": _seen(taken, vectors["after"]),
        "reward": {"name": task.reward, "value": taken.reward}, "rewards": loop.rewards(taken),
        "goal": taken.goal,
    }  # fmt: skip


def _seen(step: Step, vector: Any) -> dict[str, Any]:
    return {
        "observation": step.observation.plain(), "requests": step.requests,
        "vector": [round(float(each), 6) for each in vector],
    }  # fmt: skip


def _write(out: Output, record: dict[str, Any], cluster: ClusterRows | None) -> None:
    info, reward = record["action_info"], record["reward"]
    changes = ", ".join(record["changes"]) or "no changes"
    told = f"blocked: {info['error']}" if info["blocked"] else changes
    goal = "reached" if record["goal"] else "not reached"
    others = [f"{name} {value:g}" for name, value in record["rewards"].items()]
    late = "  (observed before the action took effect)" if record["order"] == "before" else ""
    rows = [
        ("workload", f"{record['workload']}, target {record['target']}"),
        ("before", _line(record["before"])),
        ("", f"vector {_numbers(record['before'])}"),
        ("action", f"{record['action']}: {told}"),
        ("after", _line(record["after"]) + late),
        ("", f"vector {_numbers(record['after'])}"),
        *(("pending", reason) for reason in _reasons(cluster)),
        ("reward", f"{reward['name']} {reward['value']:g}"),
        ("", f"all rewards: {', '.join(others)}"),
        ("goal", goal),
    ]
    out.table([[(name, "bold"), clean(text)] for name, text in rows])


def _line(seen: dict[str, Any]) -> str:
    shown = [
        f"{key} {value}"
        for part in ("observation", "requests")
        for key, value in seen[part].items()
    ]
    return ", ".join(shown)


def _numbers(seen: dict[str, Any]) -> str:
    return " ".join(f"{each:g}" for each in seen["vector"])


def _reasons(cluster: ClusterRows | None) -> list[str]:
    """Return each reason to wait with the number of pods that wait for it."""
    counts: dict[str, int] = {}
    for pod in [] if cluster is None else cluster.pods():
        if pod["phase"] == "Pending":
            reason = pod["message"] or "starting"
            counts[reason] = counts.get(reason, 0) + 1
    return [f"{count} × {reason}" for reason, count in counts.items()]
