"""``simgit train --agent sb3:PPO``: an algorithm of Stable-Baselines3 as the agent."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.app import App, answer_no
from simgit.cli.learning_report import curve_file, learning_curve, write
from simgit.cli.output import number, progress, say
from simgit.cli.params import note_new_run
from simgit.cli.permission import Asker
from simgit.errors import Stopped

if TYPE_CHECKING:
    from simgit.integrations.sb3.training import ByName
    from simgit.repository import Repository

PREFIX: Final = "sb3:"
STEPS: Final = 10_000
_PLAYED: Final = 5
_INSTEAD: Final = {
    "episodes": "; use --steps",
    "load": "; 'simgit branch NAME RUN --set KEY=VALUE' and --resume train one further",
    "save": "; the checkpoints are attachments 'sb3' of the run",
}


def is_sb3(repo: Repository, run: str) -> bool:
    """Return True if a run is a training of Stable-Baselines3."""
    agent = repo.config(run).get("agent")
    return isinstance(agent, Mapping) and str(agent.get("name")).startswith(PREFIX)


def check_options(given: Mapping[str, Any], steps: int | None, *, sb3: bool) -> None:
    """Check that options go with the agent.

    Raises:
        UsageError: one does not.
    """
    if not sb3 and steps is not None:
        raise click.UsageError(
            "--steps is for agents 'sb3:…'; others count --episodes, of at most --max-steps"
        )
    if sb3:
        for name, value in given.items():
            if value is not None:
                raise click.UsageError(
                    f"--{name} does not go with agents 'sb3:…'{_INSTEAD.get(name, '')}"
                )


def begin(
    repo: Repository,
    run: str | None,
    label: str,
    agent: str,
    chosen: dict[str, Any],
    where: tuple[str, dict[str, Any]],
    given: Mapping[str, Any],
) -> ByName:
    """Begin a training with the options of the command."""
    from simgit.integrations.sb3.training import begin as work

    note_new_run(repo, run)
    name = run or f"train/{label}-{agent.removeprefix(PREFIX).lower()}-{{auto}}"
    times = {key: value for key, value in given.items() if value is not None}
    return work(repo, name, agent, chosen, *where, **{"steps": STEPS, **times})


def resume(repo: Repository, run: str, steps: int | None) -> ByName:
    """Resume a training of Stable-Baselines3."""
    from simgit.integrations.sb3.training import resume as work

    with progress("restore"):
        return work(repo, run, steps=steps, trust=Asker(repo))


def go(app: App, training: ByName, curve: str | None, as_json: bool) -> None:
    """Train to the end, and report."""

    began, before = time.monotonic(), training.done
    repo, run = training.repo, training.run
    if not as_json:
        left = (
            f"from {before} of {training.total} steps" if before else f"for {training.total} steps"
        )
        say(f"training '{run}' {left}, then writing '{curve_file(run, curve)}'")
    try:
        with _bar(training) as tell:
            training.finish(tell)
    except Stopped:
        say(f"stopped; resume with: simgit train --resume --run {run}")
        answer_no()
    except KeyboardInterrupt:
        repo.set_status(run, "paused")
        say(f"interrupted; resume with: simgit train --resume --run {run}")
        raise
    seconds = time.monotonic() - began
    states = repo.trajectory(run)
    done = len(states.lengths) - 1 if not _is_over(states) else len(states.lengths)
    record = {
        "run": run, "agent": PREFIX + type(training.model).__name__, "episodes": done,
        "trained": done, "steps": int(training.model.num_timesteps),
        "seconds": round(seconds, 3), "solved": None,
        "returns": states.returns[:done].tolist() or states.returns.tolist(),
        "oid": repo.resolve(run), "evaluation": [_evaluate(repo, training)],
        "curve": learning_curve(app, repo, run, curve),
    }  # fmt: skip
    with app.output() as output:
        output.json(record) if as_json else write(output, record)


def _is_over(states: Any) -> bool:
    return bool(states.terminations[-1] or states.truncations[-1])


def _evaluate(repo: Repository, training: ByName) -> dict[str, Any]:
    """Return the score of some episodes without exploring, which are not recorded."""
    from simgit.gym.envs.agent_view import make
    from simgit.training import TrainingEpisode
    from simgit.training.evaluation import BASE_SEED, environment_of, score

    name, arguments = environment_of(repo, training.run, {}, trust=True)  # as it was made
    env = make(name, **arguments)
    results = []
    for i in range(1, _PLAYED + 1):
        length, total, terminated = training.play(env, BASE_SEED + i)
        results.append(TrainingEpisode(i, BASE_SEED + i, length, total, terminated, None, {}))
    env.close()
    return score(name, results, {}).plain()


@contextmanager
def _bar(training: ByName) -> Iterator[Callable[[int, float], None]]:
    """Yield a function that shows how far it is: as a bar in a terminal, else in some lines."""
    total = training.total

    def described(mean: float) -> str:
        return "" if math.isnan(mean) else f"return {number(mean)}"

    if not sys.stderr.isatty():
        every, shown = max(1, total // 6), [training.done]

        def line(steps: int, mean: float) -> None:
            if steps // every != shown[0] // every:
                shown[0] = steps
                say(f"step {steps}/{total}  {described(mean)}".rstrip())

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("step"), MofNCompleteColumn(), BarColumn(),
               TextColumn("{task.description}"))  # fmt: skip
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        task = bars.add_task("", total=total, completed=training.done)
        yield lambda steps, mean: bars.update(task, completed=steps, description=described(mean))
