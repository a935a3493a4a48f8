"""``simgit plot``: learning curves and agents at work, as a picture or in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import Output, clean, columns, number, width
from simgit.cli.params import REVISION, Choice
from simgit.errors import InvalidInput, plural

if TYPE_CHECKING:
    from pathlib import Path

    from simgit.plot import Band, Curve
    from simgit.repository import Repository

POINTS: Final = 1024
"""The most points of a field over steps: of much longer runs each is the mean of many states."""
MEASURES = ("returns", "lengths", "solved", "epsilon", "loss")
KINDS = (*MEASURES, "pods", "occupancy", "values", "policy")
_EXTREMES: Final = {
    "returns": (("best", "max"),), "lengths": (("shortest", "min"), ("longest", "max")),
}  # fmt: skip
"""The extremes that a summary of all episodes names: of lengths nobody knows which is best."""
_BOTH: Final = (("lowest", "min"), ("highest", "max"))
_OF_SOLVED: Final = 10
_LAST = 10
"""The number of last episodes whose mean is shown."""


@command(
    "plot",
    example="""\
simgit plot
simgit plot main high-lr --smooth 10 --output curves.png
simgit plot main high-lr --series train/loss
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
@click.option("--series", metavar="TAG", help="Series to plot instead, such as train/loss.")
@click.option("-o", "--output", metavar="FILE", help="Picture to write: FILE.png or FILE.svg.")
@click.option(
    "--smooth",
    type=click.IntRange(1),
    metavar="N",
    help="Moving average over N episodes (default 1, of solved 10).",
)
@click.option(
    "--x", type=Choice(["episodes", "steps", "time"]),
    help="Horizontal axis (default: episodes, of a --field steps); time is the simulator's.",
)  # fmt: skip
@click.option(
    "--bands", is_flag=True, help="Show runs that differ only in their seeds as one band."
)
@click.option("--full", is_flag=True, help="Show the whole range, though few points squash it.")
@click.option("--title", default="", help="Title of the picture.")
def plot(
    app: App,
    revisions: tuple[str, ...],
    kind: Any,
    field: str | None,
    series: str | None,
    output: str | None,
    smooth: int | None,
    x: Any,
    bands: bool,
    full: bool,
    title: str,
    as_json: bool,
) -> None:
    """Plot returns, lengths or a series of runs (default: HEAD's).

    Without --output the plot is drawn in the terminal. Where the first points would squash the
    others, they lie outside, marked at the edge, unless --full is given. The curve of a run that
    was branched off another continues that run's curve; a diamond marks the branch point. A band is
    the mean of its runs with a 95 % interval. RUN may be a pattern such as 'try-*'.

    --kind solved is the share of the last episodes of SimKube that reached their goal; epsilon and
    loss are what an agent told in a training.

    --field draws a number of each state, over steps or with --x time over the simulator's time.
    Over the steps of a run of millions of states each point is the mean of 2048 or more, which is
    said, with their range; --smooth and --x time read every state.

    --kind pods shows an agent on a cluster: its actions and the ready and pending pods, in the
    last episode of RUN or in one such as main@ep5. --kind occupancy shows how full the nodes are,
    --kind values the value of each action in the states of an episode, by the agent's newest
    checkpoint, and --kind policy (SimKube) its preferred action for each request.
    """
    window = smooth or (_OF_SOLVED if kind == "solved" else 1)
    one_of(series=series, field=field, bands=bands)
    one_of(series=series, field=field, kind=kind != KINDS[0])
    if series is not None and x not in (None, "steps"):
        raise click.UsageError("a --series is drawn over its steps")
    if title and output is None:
        raise click.UsageError("--title is of a picture: name one with --output")
    if output is not None:
        from simgit.plot.drawing import check_format

        check_format(app.path(output))
    with app.repository() as repo, app.output() as out:
        runs = matching(repo, revisions)
        target = None if output is None else app.path(output)
        if series is not None:
            from simgit.analysis import series_curves

            found = series_curves(repo, runs, series)
            _draw(out, found, series, "steps", window, target, title, as_json, "point", full)
        elif field is not None:
            from simgit.analysis.runs import field_curves

            points = None if window > 1 else POINTS
            found = field_curves(repo, runs, field, x=x or "steps", points=points)
            _draw(out, found, field, x or "steps", window, target, title, as_json, "state", True)
        elif kind not in MEASURES:
            from simgit.cli import agent_values, cluster_usage

            shown = {
                "pods": cluster_usage.pods, "occupancy": cluster_usage.occupancy,
                "values": agent_values.values, "policy": agent_values.policy,
            }  # fmt: skip
            shown[kind](out, repo, cluster_usage.one(runs, kind, repo), target, title, as_json)
        elif output is not None:
            from simgit.analysis import learning_curves

            drawing = learning_curves(
                repo, runs, [kind], x=x or "episodes", window=window, bands=bands, full=full,
                title=title,
            )  # fmt: skip
            drawing.save(app.path(output))
            out.json({"file": str(target)}) if as_json else out.line(f"wrote {target}")
        else:
            from simgit.analysis import by_seed, curves
            from simgit.analysis.runs import BOUNDED

            x = x or "episodes"
            of_runs = curves(repo, runs, kind, x=x)
            shown_curves: Sequence[Curve | Band] = (
                by_seed(repo, of_runs, window) if bands else of_runs
            )
            _write(out, shown_curves, kind, x, window, as_json, full=full or kind in BOUNDED)


def _draw(
    out: Output,
    found: Sequence[Curve],
    name: str,
    x: Any,
    window: int,
    target: Path | None,
    title: str,
    as_json: bool,
    unit: str,
    full: bool,
) -> None:
    """Draw curves of numbers that are no measures of episodes, as a picture or in the terminal."""
    if target is None:
        _write(out, found, name, x, window, as_json, unit, full=full)
        return
    from simgit.analysis.runs import X_LABELS
    from simgit.plot import learning_curve

    drawing = learning_curve(
        {name: found}, title=title, x_label=X_LABELS[x], window=window, full=full
    )
    drawing.save(target)
    out.json({"file": str(target)}) if as_json else out.line(f"wrote {target}")


def matching(repo: Repository, revisions: tuple[str, ...]) -> list[str]:
    """Return the runs that match patterns, and other revisions as they are.

    Raises:
        NotFound: a pattern matches no run.
    """
    return repo.runs.matching(*(text.removeprefix("runs/") for text in revisions))


def _write(
    out: Output,
    found: Sequence[Curve | Band],
    kind: str,
    x: str,
    window: int,
    as_json: bool,
    unit: str = "episode",
    full: bool = False,
) -> None:
    from simgit.plot import Band, chart
    from simgit.plot.curves import clear_range

    shown = [
        (each, each.mean if isinstance(each, Band) else _smooth(each.y, window)) for each in found
    ]
    if as_json:
        for each, values in shown:
            record: dict[str, Any] = {"label": each.label, "kind": kind}
            record |= {x: each.x, "values": values}
            if isinstance(each, Band):
                record |= {"low": each.low, "high": each.high, "runs": each.count}
            elif (of := each.averaged) is not None:
                record |= {"means_of": of.width, "low": of.low, "high": of.high}
            out.json(record)
        return
    if not any(len(values) for _, values in shown):
        raise InvalidInput(f"no {unit} to plot")
    if len(shown) > 1:
        _write_table(out, shown, kind, x, unit, full)
        return
    each, values = shown[0]
    room = max(10, min(columns() - 14, 100))
    low, high = float(each.x[0]), float(each.x[-1])
    told = _told(each, values)
    means = f", means of {told.means_of}" if told.means_of else ""
    out.line(f"{out.paint(clean(each.label), 'run')}  {kind} of {plural(told.total, unit)}{means}")
    within = None if full else clear_range([values])
    out.lines(chart(_parts(each.x, values, x, room, low, high), room, within=within))
    if x != "episodes":
        out.line(f"{x} from {number(low)} to {number(high)}")
    numbers = ", ".join(f"{name} {told.figure(find)}" for name, find in _EXTREMES.get(kind, _BOTH))
    last, first = told.figure("mean"), number(told.first)
    out.line(f"first {first}, {numbers}, last {len(told.last)}: {last} on average")


class Told(NamedTuple):
    """The numbers that are told of a curve beside its picture."""

    total: int
    first: float
    low: Any
    high: Any
    last: Any
    means_of: int = 0

    def figure(self, find: str) -> str:
        """Return the least or greatest of all values, or the mean of the last ones."""
        return _figure({"min": self.low, "max": self.high, "mean": self.last}[find], find)


def _told(each: Curve | Band, values: Any) -> Told:
    from simgit.plot import Curve

    if isinstance(each, Curve) and (of := each.averaged) is not None:
        return Told(of.count, of.first, of.low, of.high, of.last, of.width)
    first = next((value for value in values if value == value), values[0]) if len(values) else 0.0
    return Told(len(values), first, values, values, values[-_LAST:])


def _smooth(values: Any, window: int) -> Any:
    """Return a moving average; without one the values, those included that are not finite."""
    from simgit.plot import smooth

    return values if window == 1 else smooth(values, window)


def _parts(along: Any, values: Any, x: str, count: int, low: float, high: float) -> Any:
    """Return values as a line of the terminal has them, over steps or time at equal distances."""
    from simgit.plot import evenly

    return values if x == "episodes" else evenly(along, values, count, low, high)


def _figure(values: Any, find: str) -> str:
    """Return the least, greatest or mean one of values, without those that are NaN."""
    import numpy as np

    known = values[~np.isnan(values)]
    with np.errstate(all="ignore"):
        return number(float(getattr(np, find)(known))) if len(known) else "nan"


def _write_table(
    out: Output, shown: list[tuple[Any, Any]], kind: str, x: str, unit: str, full: bool
) -> None:
    import numpy as np

    from simgit.plot import sparkline
    from simgit.plot.curves import clear_range

    longest = max(width(each.label) for each, _ in shown)
    extremes = _EXTREMES.get(kind, _BOTH)
    room = max(10, min(columns() - longest - 22 - 10 * len(extremes), 60))
    everything = np.concatenate([values for _, values in shown])
    known = everything[np.isfinite(everything)]
    least, most = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    clear = None if full else clear_range([values for _, values in shown])
    low, high = (least, most) if clear is None else (max(least, clear[0]), min(most, clear[1]))
    ends = [each.x[[0, -1]] for each, _ in shown if len(each.x)]
    left, right = float(np.min(ends)), float(np.max(ends))
    heads = ["run", kind, f"{unit}s", *(name for name, _ in extremes), f"last {_LAST}"]
    rows: list[list[Any]] = [[(head, "bold") for head in heads]]
    for each, values in shown:
        told = _told(each, values)
        numbers = [told.figure(find) for find in (*(find for _, find in extremes), "mean")]
        if not len(values):
            numbers = ["-"] * len(numbers)
        line = sparkline(_parts(each.x, values, x, room, left, right), room, low, high)
        rows.append([(clean(each.label), "run"), line, str(told.total), *numbers])
    out.table(rows, right=(2, 3, 4, 5))
    if x != "episodes":
        out.line(f"{x} from {number(left)} to {number(right)}")
    widths = sorted({_told(each, values).means_of for each, values in shown} - {0})
    if widths:
        out.line(f"each point of long runs is the mean of {' or '.join(map(str, widths))} states")
    if len(known):
        less, more = " or less" * (least < low), " or more" * (most > high)
        out.line(f"▁ is {number(low)}{less}, █ is {number(high)}{more}")
