"""``simgit plot``: learning curves and agents at work, as a picture or in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import Output, clean, columns, number, width
from simgit.cli.params import REVISION, Choice
from simgit.errors import InvalidInput, plural

if TYPE_CHECKING:
    from simgit.plot import Band, Curve
    from simgit.repository import Repository

MEASURES = ("returns", "lengths")
KINDS = (*MEASURES, "pods", "occupancy", "values", "policy")
_EXTREMES: Final = {
    "returns": (("best", "nanmax"),), "lengths": (("shortest", "nanmin"), ("longest", "nanmax")),
}  # fmt: skip
"""The extremes that a summary of all episodes names: of lengths nobody knows which is best."""
_LAST = 10
"""The number of last episodes whose mean is shown."""


@command(
    "plot",
    example="""\
simgit plot
simgit plot main high-lr --smooth 10 --output curves.png
simgit plot 'train/*' --bands --x steps --output seeds.svg
simgit plot main@ep5 --kind pods
simgit plot bank --field observation.waiting --x time""",
)
@click.argument("revisions", nargs=-1, type=REVISION, metavar="[RUN]…")
@click.option(
    "--kind",
    type=Choice(KINDS),
    default="returns",
    show_default=True,
    help="Quantity to plot.",
)
@click.option("--field", metavar="PATH", help="Field to plot, such as observation.queue.")
@click.option("-o", "--output", metavar="FILE", help="Picture to write: FILE.png or FILE.svg.")
@click.option(
    "--smooth",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Moving average over N episodes (default 1).",
)
@click.option(
    "--x", type=Choice(["episodes", "steps", "time"]),
    help="Horizontal axis (default: episodes, of a --field steps); time is the simulator's.",
)  # fmt: skip
@click.option(
    "--bands", is_flag=True, help="Show runs that differ only in their seeds as one band."
)
@click.option("--title", default="", help="Title of the picture.")
def plot(
    app: App,
    revisions: tuple[str, ...],
    kind: Any,
    field: str | None,
    output: str | None,
    smooth: int,
    x: Any,
    bands: bool,
    title: str,
    as_json: bool,
) -> None:
    """Plot returns or lengths of runs (default: HEAD's) over episodes.

    Without --output the plot is drawn in the terminal. The curve of a run that was branched off
    another continues that run's curve; a diamond marks the branch point. A band is the mean of its
    runs with a 95 % interval. RUN may be a pattern such as 'try-*'.

    --field draws a number of each state, over steps or with --x time over the simulator's time.

    --kind pods shows an agent on a cluster: its actions and the ready and pending pods, in the
    last episode of RUN or in one such as main@ep5. --kind occupancy shows how full the nodes are,
    --kind values the value of each action in the states of an episode, by the agent's newest
    checkpoint, and --kind policy (SimKube) its preferred action for each request.
    """
    if output is not None:
        from simgit.plot.drawing import check_format

        check_format(app.path(output))
    with app.repository() as repo, app.output() as out:
        runs = matching(repo, revisions)
        if field is not None:
            one_of(field=field, bands=bands)
            _write_field(app, repo, out, runs, field, x or "steps", output, smooth, title, as_json)
            return
        x = x or "episodes"
        if kind not in MEASURES:
            from simgit.cli import agent_values, cluster_usage

            target = None if output is None else app.path(output)
            shown = {
                "pods": cluster_usage.pods, "occupancy": cluster_usage.occupancy,
                "values": agent_values.values, "policy": agent_values.policy,
            }  # fmt: skip
            shown[kind](out, repo, cluster_usage.one(runs, kind, repo), target, title, as_json)
        elif output is not None:
            from simgit.analysis import learning_curves

            drawing = learning_curves(
                repo, runs, [kind], x=x, window=smooth, bands=bands, title=title
            )
            drawing.save(app.path(output))
            out.json({"file": output}) if as_json else out.line(f"wrote {output}")
        else:
            from simgit.analysis import by_seed, curves

            found: Sequence[Curve | Band] = curves(repo, runs, kind, x=x)
            if bands:
                found = by_seed(repo, curves(repo, runs, kind, x=x), smooth)
            _write(out, found, kind, x, smooth, as_json)


def _write_field(
    app: App,
    repo: Repository,
    out: Output,
    runs: list[str],
    field: str,
    x: Any,
    output: str | None,
    window: int,
    title: str,
    as_json: bool,
) -> None:
    from simgit.analysis.runs import X_LABELS, field_curves

    found = field_curves(repo, runs, field, x=x)
    if output is None:
        _write(out, found, field, x, window, as_json)
        return
    from simgit.plot import learning_curve

    drawing = learning_curve({field: found}, title=title, x_label=X_LABELS[x], window=window)
    drawing.save(app.path(output))
    out.json({"file": output}) if as_json else out.line(f"wrote {output}")


def matching(repo: Repository, revisions: tuple[str, ...]) -> list[str]:
    """Return the runs that match patterns, and other revisions as they are.

    Raises:
        NotFound: a pattern matches no run.
    """
    return repo.runs.matching(*(text.removeprefix("runs/") for text in revisions))


def _write(
    out: Output, found: Sequence[Curve | Band], kind: str, x: str, window: int, as_json: bool
) -> None:
    from simgit.plot import Band, chart, smooth

    shown = [
        (each, each.mean if isinstance(each, Band) else smooth(each.y, window)) for each in found
    ]
    if as_json:
        for each, values in shown:
            record: dict[str, Any] = {"label": each.label, "kind": kind}
            record |= {x: each.x, "values": values}
            if isinstance(each, Band):
                record |= {"low": each.low, "high": each.high, "runs": each.count}
            out.json(record)
        return
    if not any(len(values) for _, values in shown):
        raise InvalidInput("no episode to plot" if kind in MEASURES else "no value to plot")
    if len(shown) > 1:
        _write_table(out, shown, kind)
        return
    each, values = shown[0]
    what = "episode" if kind in MEASURES else "state"
    room = columns() - 14
    out.line(f"{out.paint(clean(each.label), 'run')}  {kind} of {plural(len(values), what)}")
    for line in chart(values, max(10, min(room, 100))):
        out.line(line)
    out.line(_summary(values, kind))


def _summary(values: Any, kind: str) -> str:
    import numpy as np

    last = values[-_LAST:]
    extremes = "".join(
        f"{name} {number(float(getattr(np, find)(values)))}, " for name, find in _extremes(kind)
    )
    return (
        f"first {number(values[0])}, {extremes}"
        f"last {len(last)}: {number(float(np.nanmean(last)))} on average"
    )


def _extremes(kind: str) -> tuple[tuple[str, str], ...]:
    return _EXTREMES.get(kind, (("least", "nanmin"), ("greatest", "nanmax")))


def _write_table(out: Output, shown: list[tuple[Any, Any]], kind: str) -> None:
    import numpy as np

    from simgit.plot import sparkline

    longest = max(width(each.label) for each, _ in shown)
    extremes = _extremes(kind)
    room = max(10, min(columns() - longest - 22 - 10 * len(extremes), 60))
    everything = np.concatenate([values for _, values in shown])
    low, high = float(np.nanmin(everything)), float(np.nanmax(everything))
    heads = [
        "run",
        kind,
        "episodes" if kind in MEASURES else "states",
        *(name for name, _ in extremes),
        f"last {_LAST}",
    ]
    rows: list[list[Any]] = [[(head, "bold") for head in heads]]
    for each, values in shown:
        numbers = (
            [*(number(float(getattr(np, find)(values))) for _, find in extremes),
             number(float(np.nanmean(values[-_LAST:])))]
            if len(values) else ["-"] * (len(extremes) + 1)
        )  # fmt: skip
        line = sparkline(values, room, low, high)
        rows.append([(clean(each.label), "run"), line, str(len(values)), *numbers])
    out.table(rows, right=(2, 3, 4, 5))
    out.line(f"▁ is {number(low)}, █ is {number(high)}")
