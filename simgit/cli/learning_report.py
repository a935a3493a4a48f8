"""The report of ``simgit train``: lines or a bar during training, a summary at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from simgit.cli.app import App
from simgit.cli.output import Output, columns, number, say
from simgit.errors import NotFound, plural

if TYPE_CHECKING:
    from simgit.repository import Repository
    from simgit.training import Config, Training, TrainingEpisode, Transition
    from simgit.training.loop import Watch

_LAST: Final = 10
_COUNTS: Final = ("ready", "pending", "total")


@contextmanager
def bar(training: Training) -> Iterator[Callable[[TrainingEpisode], None]]:
    """Yield a function that shows each episode: as a bar in a terminal, else some as lines."""
    total = training.config.episodes

    def described(done: TrainingEpisode) -> str:
        count = "" if done.trace is None else f"  solved {training.solved}"
        epsilon = done.metrics.get("epsilon")
        chance = "" if epsilon is None else f"  epsilon {epsilon:.2f}"
        return f"return {done.return_:8.3f}{chance}{count}"

    if not sys.stderr.isatty():
        every = max(1, total // 6)

        def line(done: TrainingEpisode) -> None:
            text = described(done)
            if done.number % every == 0 or done.number == total:
                say(f"episode {done.number}/{total}  {text}")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("episode"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        task = bars.add_task("", total=total, completed=training.done)
        yield lambda done: bars.update(task, completed=done.number, description=described(done))


def told_steps(training: Training, watch: Watch | None) -> Watch | None:
    """Return a function that also shows each step on a live cluster, which takes its time."""
    if not getattr(training.env.unwrapped, "is_live", False):
        return watch
    count, known = 0, training.env.repo.runs[training.run].step

    def tell(done: Transition) -> None:
        nonlocal count
        count += 1
        info = done.info
        if known is not None and training.env.step_count <= known:
            return  # read from the repository
        seen = ", ".join(f"{name} {info[name]}" for name in _COUNTS if name in info)
        seen = seen or f"{info.get('validity')}: {info.get('failure')}"
        say(
            f"episode {training.done + 1} step {count}: {done.action}, {seen}, "
            f"reward {number(done.reward)}"
        )
        count = 0 if done.ended else count
        if watch is not None:
            watch(done)

    return tell


def summary(
    repo: Repository, run: str, config: Config, training: Training, seconds: float, before: int
) -> dict[str, Any]:
    """Return the summary at the end, with an evaluation of the agent."""
    from simgit.training import evaluate
    from simgit.training.evaluation import environment_of

    states = repo.trajectory(run)
    ended = states.terminations
    name, arguments = environment_of(repo, run, {}, trust=True)  # it was made for the training
    is_live = arguments.get("cluster") is not None  # where an evaluation would take minutes
    scores = [] if is_live else evaluate(run, name, arguments, repo=repo).scores
    has_goal = is_live or any(each.solved is not None for each in scores)
    return {
        "run": run, "agent": config.agent, "episodes": training.done,
        "trained": training.done - before, "steps": int(states.lengths.sum()),
        "seconds": round(seconds, 3),
        "solved": int(ended.sum()) if has_goal else None,
        "returns": states.returns.tolist(), "oid": repo.resolve(run),
        "evaluation": [each.plain() for each in scores],
    }  # fmt: skip


def curve_file(run: str, curve: str | None) -> str:
    """Return the name of the file of a run's learning curve."""
    return curve or run.replace("/", "-") + ".png"


def announce_training(training: Training, curve: str | None) -> None:
    """Print how long is trained, and which file is written at the end."""
    run, total = training.run, plural(training.config.episodes, "episode")
    left = f"from episode {training.done + 1} of {total}" if training.done else f"for {total}"
    if curve is None and find_spec("matplotlib") is None:
        say(f"training '{run}' {left}")
    else:
        say(f"training '{run}' {left}, then writing '{curve_file(run, curve)}'")


def learning_curve(app: App, repo: Repository, run: str, curve: str | None) -> str | None:
    """Write the learning curve; None without matplotlib, unless a file was asked for."""
    from simgit.analysis import learning_curves

    name = curve_file(run, curve)
    try:
        title = f"{run}: return and length of episodes"
        drawing = learning_curves(repo, [run], ["returns", "lengths"], title=title)
        drawing.save(app.path(name))
    except NotFound:
        if curve is not None:
            raise
        return None
    return name


def write(output: Output, record: dict[str, Any]) -> None:
    from simgit.plot import sparkline

    run, returns = record["run"], record["returns"]
    solved = "" if record["solved"] is None else f", {record['solved']} solved"
    output.line(
        f"{output.paint(run, 'run')}: {plural(record['episodes'], 'episode')}{solved}, "
        f"{plural(record['steps'], 'step')}, {record['seconds']:.1f} s"
    )
    last = returns[-_LAST:]
    mean = f"last {len(last)}: {number(sum(last) / len(last))}"
    room = max(10, min(60, columns() - len(mean) - 11))
    output.line(f"returns  {sparkline(returns, room)}  {mean}")
    for score in record["evaluation"][:_LAST]:
        output.line(f"without exploring: {said(score)}")
    if record["curve"]:
        output.line(f"learning curve: {record['curve']}")
    output.line("next:")
    more = () if record["agent"].startswith("sb3:") else (f"evaluate {run}",)
    for text in (f"log --oneline -n 10 {run}", f"plot {run}", *more):
        output.line(f"  simgit {text}")


def said(score: dict[str, Any]) -> str:
    """Return the result on a trace as text."""
    name, episodes = score["name"], score["episodes"]
    if score["solved"] is None:
        return f"{name} has return {number(score['return']['mean'])} on average"
    if not score["solved"]:
        return f"{name} is not solved"
    share = "" if score["solved"] == episodes else f" in {score['solved']} of {episodes} episodes"
    text = f"{name} is solved{share} in {plural(round(score['steps']['mean']), 'step')}"
    if score["fewest"] is None:
        return text
    least = score["steps"]["mean"] <= score["fewest"]
    return text + (
        ", the fewest possible" if least else f", where {score['fewest']} would be enough"
    )
