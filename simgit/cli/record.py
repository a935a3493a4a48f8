"""``simgit record``: an environment by its id, without a script."""

from __future__ import annotations

import dataclasses
import shlex
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, answer_no, command, one_of
from simgit.cli.environment_options import environment_arguments
from simgit.cli.output import Output, progress, say
from simgit.cli.params import RUN, note_new_run, settings
from simgit.errors import Stopped, plural

if TYPE_CHECKING:
    from simgit.gym.tools.collect import Collected
    from simgit.repository import Repository


class _Snapshots(click.ParamType):  # type: ignore[type-arg]
    name = "auto|none|STEPS"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value not in ("auto", "none") and not (str(value).isdecimal() and int(value) > 0):
            self.fail(f"'{value}' is not 'auto', 'none' or a number of steps")
        return {"auto": "auto", "none": None}[value] if value in ("auto", "none") else int(value)


@command("record", example="""\
simgit record CartPole-v1 --steps 10000 --policy random --seed 0
simgit record ALE/Pong-v5 --episodes 3 --run pong --env-set frameskip=4
simgit record simgit/SimKube-v0 --episodes 20 --policy my_agent:act
simgit record FrozenLake-v1 --episodes 50 --seed 3 --once""")  # fmt: skip
@click.argument("environment", metavar="ENV")
@click.option("--steps", type=click.IntRange(1), metavar="N",
              help="Number of steps to record (default 1000, without --episodes).")  # fmt: skip
@click.option("--episodes", type=click.IntRange(1), metavar="N",
              help="Number of episodes to record.")  # fmt: skip
@click.option("--policy", default="random", show_default=True, metavar="NAME",
              help="'random', or a function of the observation, as module:name.")  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0), help="Seed of the first reset and of a random policy."
)
@click.option("--run", type=RUN, help="Run to record on (default: HEAD's).")
@click.option("--once", is_flag=True,
              help="Record to a run that the options name; nothing if it is there.")  # fmt: skip
@click.option("--force", is_flag=True, help="With --once: record again, to a run RUN.2.")
@click.option("--snapshots", type=_Snapshots(), default="auto", show_default=True,
              help="Steps between snapshots of the environment.")  # fmt: skip
@environment_arguments("--kwargs")
@click.option("--no-provenance", is_flag=True,
              help="Leave out versions, command line, git commit and diff.")  # fmt: skip
def record(
    app: App,
    environment: str,
    steps: int | None,
    episodes: int | None,
    policy: str,
    seed: int | None,
    run: str | None,
    once: bool,
    force: bool,
    snapshots: Any,
    pairs: tuple[str, ...],
    no_provenance: bool,
    as_json: bool,
) -> None:
    """Record a Gymnasium environment while a policy acts in it.

    ENV is an id, after the module that registers it if it needs one: 'my_envs:Maze-v0'. The same
    seed gives the same states with the same oids.
    """
    from simgit.cli.watched import Watched
    from simgit.gym.tools.collect import (
        CollectionSpec,
        collect,
        collect_once,
        make_environment,
        make_policy,
    )

    if once:
        one_of(once=once, run=run is not None)
    elif force:
        raise click.UsageError("--force needs --once")
    if steps is None and episodes is None:
        steps = 1000
    with app.repository() as repo, app.output() as out, progress("record", not as_json) as tell:
        unit = "seeds" if once else "steps" if steps else "episodes"
        watched = Watched(app, repo, "record", unit, tell)
        options: dict[str, Any] = {
            "snapshots": snapshots, "provenance": not no_provenance,
            "progress": watched.tell, "around": watched.recording,
        }  # fmt: skip
        if once:
            spec = CollectionSpec(
                environment, settings(pairs), policy, (seed or 0,), episodes, steps
            )
            try:
                _tell(out, repo, collect_once(repo, spec, force=force, **options), as_json)
            except Stopped:
                say(f"stopped; the same command goes on with run '{spec.run}'")
                answer_no()
            return
        env, name = make_environment(environment, **settings(pairs)), run or _head(repo)
        note_new_run(repo, run)
        before = _states(repo, name)
        try:
            found = collect(
                repo, env, make_policy(policy, env, seed), run=name, steps=steps,
                episodes=episodes, seed=seed, **options,
            )  # fmt: skip
        except (KeyboardInterrupt, Stopped) as error:
            stored = plural(_states(repo, name) - before, "state")
            again = shlex.join([environment, *(f"--env-set={pair}" for pair in pairs)])
            how = "stopped" if isinstance(error, Stopped) else "interrupted"
            say(
                f"{how}: {stored} stored on run '{name}'; "
                f"continue with: simgit record {again} --run {shlex.quote(name)}"
            )
            if isinstance(error, Stopped):
                answer_no()
                return
            raise
        _tell(out, repo, found, as_json)


def _tell(out: Output, repo: Repository, found: Collected, as_json: bool) -> None:
    if as_json:
        out.json(dataclasses.asdict(found))
    else:
        _write(out, repo, found)


def _states(repo: Repository, run: str) -> int:
    """Return the number of states in the history of a run."""
    step = repo.runs[run].step if run in repo.runs else None
    return 0 if step is None else step + 1


def _head(repo: Repository) -> str:
    head = repo.head
    if isinstance(head, str):
        return head
    raise click.UsageError("HEAD is detached: give --run")


def _write(out: Output, repo: Repository, found: Collected) -> None:
    tip = found.tip.short(repo.abbreviation) if found.tip else "no states"
    if not found.is_new:
        what = f"{plural(found.steps, 'step')}, {plural(found.episodes, 'episode')}"
        out.line(f"[{found.run}] {what} are there already, up to {out.paint(tip, 'oid')}")
        return
    rate = f"{found.steps / found.seconds:,.0f}".replace(",", " ")
    out.line(
        f"[{found.run}] {plural(found.steps, 'step')}, {plural(found.episodes, 'episode')} in "
        f"{found.seconds:.1f} s ({rate} steps/s), now at {out.paint(tip, 'oid')}"
    )
    if found.returned is not None:
        out.line(f"mean return {found.returned:g}")
    if found.verdict is not None:
        result = str(found.verdict.get("result"))
        good = result.startswith("exact")
        out.line(f"first episode re-executed: {out.paint(result, 'good' if good else 'bad')}")
