"""``simgit train``: the agent loop, from a trace to a trained agent, and resuming it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from simgit.cli.app import App, answer_no, command, one_of
from simgit.cli.environment_options import (
    SIMKUBE,
    environment,
    environment_options,
    with_context,
)
from simgit.cli.hook_options import hook_options, hooks_of
from simgit.cli.learning_report import (
    announce_training,
    bar,
    learning_curve,
    summary,
    told_steps,
    write,
)
from simgit.cli.output import Output, counted, progress, say
from simgit.cli.params import REVISION, RUN, Choice, note_new_run, settings, subject
from simgit.cli.permission import Asker
from simgit.cli.restore_estimate import announce
from simgit.cli.train_sb3 import PREFIX, STEPS, check_options, is_sb3
from simgit.errors import AlreadyExists, ClusterError, InvalidInput, NotFound, Stopped

if TYPE_CHECKING:
    from simgit.repository import Repository
    from simgit.training import Training
    from simgit.training.loading import AgentSource

F = TypeVar("F", bound=Callable[..., Any])
AGENT: Final = {
    "lr": "Learning rate (default 0.001, for tables 0.5).",
    "gamma": "Discount per step (default 0.97).",
    "epsilon": "Initial probability of a random action (default 1).",
    "epsilon_min": "Final probability of a random action (default 0.1).",
    "epsilon_steps": "Steps from the initial to the final one (default 1000).",
    "repeat": "Exponent of the durations of random actions (default 0: one step).",
    "buffer": "Size of the replay buffer in steps (default 2000).",
    "batch": "Steps per update (default 32).",
    "target_sync": "Steps between updates of the target network (default 50).",
    "updates": "Updates per step (default 4).",
    "n_step": "Steps per n-step return (default 3).",
    "double": "Double Q-learning (default off).",
    "duelling": "Duelling networks (default off).",
    "loss": "Loss (default huber).",
    "clip": "Maximum norm of a gradient (default 10).",
}
"""The settings of agents that have an option of their own; --set takes all settings."""
_LAST: Final = 10


def _agent_options(function: F) -> F:
    kinds: dict[str, Any] = {
        "double": bool,
        "duelling": bool,
        "loss": Choice(["huber", "mse"]),
    }
    kinds |= dict.fromkeys(
        ("epsilon_steps", "buffer", "batch", "target_sync", "updates", "n_step"), int
    )
    for name, text in reversed(AGENT.items()):
        kind, flag = kinds.get(name, float), "--" + name.replace("_", "-")
        flag += f"/--no-{flag[2:]}" if kind is bool else ""
        function = click.option(flag, type=kind, default=None, help=text)(function)
    return function


@command(
    "train",
    example="""\
simgit train --trace traces/cpu-slight.sktrace --agent dqn --episodes 60
simgit train --resume
simgit branch high-lr train/cpu-slight-dqn-1@ep20 --set agent.lr=0.01
simgit train --resume --run high-lr
simgit train --load train/cpu-slight-dqn-1 --transfer --trace mem-slight
simgit train --agent sb3:PPO --env CartPole-v1 --set agent.learning_rate=1e-3""",
)
@environment_options
@click.option("--agent", help="Agent: dqn, greedy, random, heuristic, sb3:PPO, … (default dqn).")
@click.option("--episodes", type=int, help="Number of episodes in all (default 60).")
@click.option("--steps", type=click.IntRange(1), metavar="N",
              help=f"Timesteps in all of agents 'sb3:…' (default {STEPS}).")  # fmt: skip
@click.option("--seed", type=int, help="Random seed of the agent and the episodes (default 0).")
@click.option("--run", type=RUN, help="Run (default 'train/<trace>-<agent>-<number>').")
@click.option("--resume", is_flag=True, help="Resume the training --run, or the newest one.")
@click.option("--load", "loaded", type=REVISION, metavar="RUN|STATE|FILE",
              help="Begin with the agent of a run, state or checkpoint file.")  # fmt: skip
@click.option("--transfer", is_flag=True,
              help="Take only networks or tables of --load; explore and count anew.")  # fmt: skip
@click.option("--save", metavar="FILE", help="File for the agent's checkpoint at the end.")
@click.option("--checkpoint-every", "checkpoint", type=int, metavar="N",
              help="Episodes between checkpoints (default 20); timesteps of 'sb3:…'.")  # fmt: skip
@click.option("--trials", type=int, metavar="N",
              help="Evaluation episodes per trace and checkpoint (default 1).")  # fmt: skip
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Setting of the agent.")
@click.option(
    "--curve",
    metavar="FILE",
    help="File of the learning curve, .png or .svg (default '<run>.png').",
)
@click.option("--out", metavar="DIR", help="Directory for logs, checkpoints and pictures.")
@hook_options
@_agent_options
def train(
    app: App,
    resume: bool,
    loaded: str | None,
    transfer: bool,
    save: str | None,
    run: str | None,
    agent: str | None,
    episodes: int | None,
    steps: int | None,
    seed: int | None,
    checkpoint: int | None,
    trials: int | None,
    pairs: tuple[str, ...],
    curve: str | None,
    out: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Train an agent, and record every step as a state, with checkpoints attached.

    Without --env the environment is SimKube on the embedded cluster, or on a real one (--cluster
    live), where nothing but the training runs unless --trials asks for it. Training may be
    interrupted at any time; --resume continues exactly from the newest checkpoint. It also
    continues a run that was branched off a training, with that run's own settings. Each checkpoint
    is evaluated, and the best one stands for the run, since the last need not be the best.

    With --load a new run begins with the agent of another, in that run's environment as changed by
    the options. It continues where it was: with its epsilon, counters, optimiser and replay buffer;
    with --transfer only its networks or tables are taken. Vectors and actions have to fit.
    """
    _check_files(app, curve, out, save)
    one_of(load=loaded, resume=resume)
    if transfer and loaded is None:
        raise click.UsageError("--transfer needs --load RUN|FILE")
    hooks = hooks_of(given)
    where, arguments = environment(app, given)
    chosen = {k: v for k, v in given.items() if v is not None}
    chosen |= {key.removeprefix("agent."): value for key, value in settings(pairs).items()}
    of_sb3 = {"load": loaded, "episodes": episodes, "trials": trials, "out": out, "save": save}
    with app.repository() as repo, ExitStack() as around:
        if resume:
            _check_kept(arguments, chosen, agent, seed)
        name = run or newest_training(repo) if resume else ""
        sb3 = (agent or "").startswith(PREFIX) or (resume and is_sb3(repo, name))
        check_options(of_sb3 if sb3 else {}, steps, sb3=sb3)
        source = None if loaded is None else _source(app, repo, loaded, agent)
        if resume:
            about = dict(repo.config(name).get("environment") or {})
        else:
            where, arguments, about = _environment_of(repo, where, arguments, source)
        if about.get("cluster"):
            from simgit.kube.live import opened

            around.enter_context(opened.hooked(hooks))
        else:
            around.enter_context(hooks.around())
        if sb3:
            from simgit.cli import train_sb3

            if resume:
                begun = train_sb3.resume(repo, name, steps)
            else:
                times = {"steps": steps, "seed": seed, "every": checkpoint}
                begun = train_sb3.begin(
                    repo,
                    run,
                    _label(where, arguments),
                    str(agent),
                    chosen,
                    (where, arguments),
                    times,
                )
            train_sb3.go(app, begun, curve, as_json)
            return
        if resume:
            training = _resume(repo, name, episodes)
        else:
            times = {"episodes": episodes, "seed": seed, "checkpoint": checkpoint, "trials": trials}
            made = (where, arguments, about)
            training = _begin(repo, made, run, agent or "dqn", chosen, times, source, transfer)
            if source is not None and not as_json:
                say(_whence(repo, source, transfer))
        with app.output() as output:
            _go(app, repo, training, output, (curve, out, save), as_json)


def _check_kept(
    arguments: dict[str, Any], chosen: dict[str, Any], agent: str | None, seed: int | None
) -> None:
    used = [*arguments, *chosen, *(["agent"] if agent else []), *(["seed"] if seed else [])]
    if used:
        raise click.UsageError(
            f"--resume keeps the settings of the run; to change '{used[0]}', "
            f"branch the run with --set"
        )


def _check_files(app: App, curve: str | None, out: str | None, save: str | None) -> None:
    """Check before any work is done that the files can be written."""
    if save is not None:
        path = app.path(save)
        if not path.parent.is_dir():
            raise NotFound(f"cannot write '{save}': directory '{path.parent}' not found")
        if path.is_dir():
            raise AlreadyExists(f"cannot write '{save}': it is a directory", path=path)
    if curve is not None:
        from simgit.plot.drawing import check_format

        check_format(app.path(curve))
    if out is not None and app.path(out).exists() and not app.path(out).is_dir():
        raise AlreadyExists(f"cannot write to '{out}': not a directory", path=app.path(out))


def _begin(
    repo: Repository,
    environment: tuple[str, dict[str, Any], dict[str, Any]],
    run: str | None,
    agent: str,
    chosen: dict[str, Any],
    given: dict[str, Any],
    source: AgentSource | None,
    transfer: bool,
) -> Training:
    from simgit.training import Config
    from simgit.training import train as begin

    where, arguments, about = environment
    label = str(about.get("trace") or _label(where, arguments))
    if source is not None:
        agent, chosen = source.kind, source.settings(chosen)
    if "cluster" in arguments and given["trials"] is None:
        given["trials"] = 0  # each is whole episodes more on the live cluster
    times = {name: value for name, value in given.items() if value is not None}
    config = Config(agent, chosen, **times, environment=about)
    note_new_run(repo, run)
    name = run or f"train/{label}-{agent}-{{auto}}"
    return begin(repo, name, config, where, arguments, load=source, transfer=transfer)


def _source(app: App, repo: Repository, loaded: str, agent: str | None) -> AgentSource:
    """Return the agent to begin with."""
    from simgit.training.loading import source

    found = source(repo, subject(app, repo, loaded))
    if agent not in (None, found.kind):
        raise click.UsageError(
            f"the agent of '{loaded}' is '{found.kind}', not '{agent}'; leave --agent out"
        )
    return found


def _whence(repo: Repository, source: AgentSource, transfer: bool) -> str:
    """Return which agent a training begins with, since a run may have many."""
    at = ""
    if source.state is not None:
        state = repo.state(source.state)
        short = source.state.short(repo.abbreviation)
        at = f" at {short} (step {state.step}, after episode {counted(state.episode)})"
    taken = "what it learned" if transfer else "continued"
    return f"agent of '{source.name}'{at}: {taken}"


def _environment_of(
    repo: Repository, where: str, changes: dict[str, Any], source: AgentSource | None
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return id, arguments and description of the environment: a loaded agent's, as changed."""
    from simgit.training.evaluation import environment_of

    arguments, before = changes, {}
    shown = {key: value for key, value in changes.items() if key not in ("trace", "cluster")}
    if "trace" in changes:
        shown = {"trace": _label(where, changes), **shown}
    if where == SIMKUBE and source is not None and source.state is not None:
        where, arguments = environment_of(repo, str(source.state), changes, Asker(repo))
        run = repo.state(source.name).run
        before = dict(repo.config(run).get("environment") or {}) if run is not None else {}
        before.pop("cluster", None)
    arguments = with_context(arguments)  # after those recorded, which have a context
    cluster = {"cluster": arguments["cluster"]} if "cluster" in arguments else {}
    return where, arguments, {**before, "id": where, **shown, **cluster}


def _resume(repo: Repository, run: str, episodes: int | None) -> Training:
    """Resume from the newest checkpoint; print beforehand how much that re-executes."""
    from simgit.training import resume
    from simgit.training.checkpoints import newest

    trust = Asker(repo)
    start = newest(repo, run) if repo.runs[run].oid is not None else None
    if start is not None:
        announce(repo, str(start.state), trust=trust)
    with progress("restore") as tell:
        return resume(repo, run, episodes=episodes, trust=trust, progress=tell)


def _label(where: str, arguments: dict[str, Any]) -> str:
    text = Path(str(arguments.get("trace", "cpu-slight"))).stem
    return text if where.startswith(SIMKUBE) else where.split(":")[-1].replace("/", "-")


def newest_training(repo: Repository) -> str:
    """Return the newest training that is not completed, or else the newest.

    Raises:
        NotFound: there is none.
    """
    found = [
        info for info in repo.runs.values() if info.oid is not None and "training" in info.config
    ]
    if not found:
        raise NotFound("no training to resume; 'simgit train' begins one")
    return max(found, key=lambda info: (info.status != "completed", info.created)).name


def _go(
    app: App,
    repo: Repository,
    training: Training,
    output: Output,
    files: tuple[str | None, str | None, str | None],
    as_json: bool,
) -> None:
    curve, out, save = files

    began, before = time.monotonic(), training.done
    run, config = training.run, training.config
    folder = None
    if out is not None:
        from simgit.training.folder import RunFolder

        folder = RunFolder(app.path(out), repo, training, app.words or sys.argv[1:])
    if not as_json:
        announce_training(training, curve)
    try:
        with training, bar(training) as tell:
            training.finish(
                tell if folder is None else folder.telling(tell),
                told_steps(training, None if folder is None else folder.step),
            )
    except Stopped:
        say(f"stopped; resume with: simgit train --resume --run {run}")
        answer_no()
    except (KeyboardInterrupt, ClusterError, InvalidInput) as error:
        if repo.runs[run].oid is None:
            repo.delete_run(run)  # its first episode did not begin
            raise
        repo.set_status(run, "paused")
        what = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopped"
        say(f"{what}; resume with: simgit train --resume --run {run}")
        raise
    if folder is not None:
        folder.finish()
    if save is not None:
        training.save(app.path(save))
    seconds = time.monotonic() - began
    picture = learning_curve(app, repo, run, curve)
    record = summary(repo, run, config, training, seconds, before) | {"curve": picture}
    output.json(record) if as_json else write(output, record)
