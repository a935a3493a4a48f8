"""``simgit doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, answer_no, command
from simgit.cli.environment_options import environment_arguments
from simgit.cli.output import Output, progress, size
from simgit.cli.params import settings

if TYPE_CHECKING:
    from simgit.gym.tools.doctor import Examination


@command("doctor", example="""\
simgit doctor CartPole-v1
simgit doctor ale_py:ALE/Pong-v5 --env-set frameskip=1""")  # fmt: skip
@click.argument("env", metavar="ENV")
@environment_arguments("--set")
@click.option(
    "--steps",
    type=click.IntRange(20),
    default=600,
    show_default=True,
    help="Number of steps to record, at least 20.",
)
@click.option(
    "--points",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Number of states to restore.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Random seed of actions and states."
)
def doctor(
    app: App, env: str, pairs: tuple[str, ...], steps: int, points: int, seed: int, as_json: bool
) -> None:
    """Test whether an environment can be restored exactly, and at what cost.

    An environment that is not deterministic cannot be replayed. Random actions are recorded in a
    temporary repository; states of it are restored and continued in another process. Exits with 1
    unless all continue exactly. ENV is an id as gymnasium.make takes it: package:id imports a
    package first.
    """
    from simgit.gym.tools.doctor import examine

    with progress("doctor", not as_json) as tell:
        found = examine(
            env, settings(pairs), steps=steps, points=points, horizon=min(200, steps // 2),
            seed=seed, progress=tell,
        )  # fmt: skip
    with app.output() as out:
        if as_json:
            out.json(found.to_json())
        else:
            _write(out, found)
    is_exact = found.verdict.startswith("exact") and found.exact == len(found.points)
    if found.repeats is not None or not is_exact:
        answer_no()


def _write(out: Output, found: Examination) -> None:
    rows: list[tuple[Any, Any]] = [
        ("environment", found.environment),
        ("deterministic", _deterministic(found)),
        ("driver", _driver(found)),
        ("restore", _restore(found)),
        ("verdict", (found.verdict, "good" if found.verdict.startswith("exact") else "bad")),
        ("make", _time(found.make)),
        ("step", _time(found.step)),
        ("recording", f"{_time(max(0.0, found.recorded_step - found.step))} more per step"),
    ]
    if found.snapshot is not None and found.put_back is not None:
        text = f"{_time(found.snapshot)} to take, {_time(found.put_back)} to put back"
        stored = f"{size(found.stored or 0)} in the store, {size(found.raw or 0)} raw"
        rows += [("snapshot", text), ("", stored)]
    out.table([((name, "bold"), value) for name, value in rows])


def _deterministic(found: Examination) -> tuple[str, str]:
    if found.repeats is None:
        return "yes", "good"
    return f"no: the same actions had another outcome at {found.repeats}", "bad"


def _driver(found: Examination) -> str:
    text = found.driver
    if found.needs_trust:
        text += ": its snapshots hold pickles, see 'simgit trust --help'"
    return text if found.why is None else f"{text}: {found.why}"


def _restore(found: Examination) -> tuple[str, str]:
    total = len(found.points)
    if found.exact < total:
        first = next(point for point in found.points if point.differs is not None)
        return f"exact in {found.exact} of {total}; first at {first.differs}", "bad"
    times = sorted(point.seconds for point in found.points)
    typical, longest = _time(times[total // 2]), _time(times[-1])
    return f"exact in all {total}; {typical}, at most {longest}", "good"


def _time(seconds: float) -> str:
    """Return a duration as people read it."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
