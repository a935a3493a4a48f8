"""``simgit evaluate``: measure an agent, also on traces that it was not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command
from simgit.cli.environment_options import (
    SIMKUBE,
    environment,
    environment_options,
    with_context,
)
from simgit.cli.output import Output, counted, number, progress
from simgit.cli.params import REVISION, RUN, note_new_run
from simgit.cli.params import subject as agent_subject
from simgit.cli.permission import Asker

if TYPE_CHECKING:
    from simgit.analysis.statistics import Estimate
    from simgit.repository import Repository
    from simgit.training.evaluation import Evaluation, Score


@command(
    "evaluate",
    example="""\
simgit evaluate train/cpu-slight-dqn-1
simgit evaluate train/cpu-slight-dqn-1@ep40 --traces traces --episodes 5
simgit evaluate heuristic --traces traces --json""",
)
@click.argument("subject", type=REVISION, metavar="RUN|STATE|FILE|POLICY")
@environment_options
@click.option("--episodes", type=click.IntRange(1), default=1, show_default=True,
              help="Episodes per trace.")  # fmt: skip
@click.option("--seed", type=int, help="Random seed of the first episode (default 1000000).")
@click.option("--run", type=RUN, help="Run to record (default 'evaluate/<name>-<number>').")
@click.option("--no-record", is_flag=True, help="Record nothing.")
def evaluate(
    app: App,
    subject: str,
    episodes: int,
    seed: int | None,
    run: str | None,
    no_record: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure how well an agent acts when it neither explores nor learns.

    RUN stands for its best checkpoint, a STATE such as RUN@ep40 or RUN~0 for the newest checkpoint
    up to it, POLICY is a name such as 'heuristic'. The environment is that of the training, as
    changed by the options. Intervals are 95 %: Wilson's for rates, Student's for means.
    """
    from simgit.training import evaluate as work
    from simgit.training.evaluation import BASE_SEED, environment_of

    where, changes = environment(app, given)
    with app.repository() as repo, app.output() as out:
        subject = agent_subject(app, repo, subject)
        name, arguments = where, changes
        if where == SIMKUBE:
            name, arguments = environment_of(repo, subject, changes, Asker(repo))
            arguments = with_context(arguments)
        note_new_run(repo, run)
        if no_record:
            run = None
        elif run is None:
            run = f"evaluate/{_label(subject)}-{{auto}}"
        with progress("episodes") as bar:
            done = work(
                subject, name, arguments, repo=repo, run=run, episodes=episodes,
                seed=BASE_SEED if seed is None else seed, tell=lambda each: bar(each.number, None),
            )  # fmt: skip
        _json(out, done) if as_json else _write(out, repo, done)


def _label(subject: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in subject)
    return kept.removeprefix("train-").strip("-.") or "agent"


def _json(out: Output, done: Evaluation) -> None:
    for each in done.scores:
        out.json(each.plain())
    out.json({**done.total.plain(), "agent": done.agent, "state": done.state, "run": done.run})


def _write(out: Output, repo: Repository, done: Evaluation) -> None:
    has_goal = done.total.solved is not None
    heads = ["", "episodes", *(["solved", "steps", "fewest"] if has_goal else ["length"]), "return"]
    shown = [*done.scores, done.total] if len(done.scores) > 1 else done.scores
    rows: list[list[Any]] = [[(head, "bold") for head in heads]]
    rows += [_row(each, has_goal) for each in shown]
    out.table(rows, right=range(1, len(heads)))
    if done.total.optimal is not None:
        known = sum(each.episodes for each in done.scores if each.fewest is not None)
        out.line(f"in the fewest steps: {done.total.optimal} of {known} episodes")
    if done.state is not None:
        state = repo.state(done.state)
        short = out.paint(done.state.short(repo.abbreviation), "oid")
        out.line(f"checkpoint {short}: step {state.step}, after episode {counted(state.episode)}")
    if done.run is not None:
        out.line(f"recorded as {out.paint(done.run, 'run')}")


def _row(score: Score, has_goal: bool) -> list[str]:
    row = [score.name, str(score.episodes)]
    if not has_goal:
        return [*row, _estimate(score.lengths), _estimate(score.returns)]
    assert score.rate is not None
    low, high = (f"{100 * each:.0f}" for each in (score.rate.low, score.rate.high))
    solved = f"{100 * score.rate.mean:.0f} % ({low}…{high})"
    steps = "-" if score.steps is None else _estimate(score.steps)
    fewest = "-" if score.fewest is None else str(score.fewest)
    return [*row, solved, steps, fewest, _estimate(score.returns)]


def _estimate(value: Estimate) -> str:
    half = (value.high - value.low) / 2
    return number(round(value.mean, 3)) + (f" ± {number(round(half, 3))}" if half > 0 else "")
