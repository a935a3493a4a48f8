"""Drawings from plain data: what is in them, and what is refused."""

from __future__ import annotations

import colorsys
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit import plot
from simgit.analysis import band
from simgit.errors import InvalidInput, NotFound, StorageError
from simgit.plot.curves import clear_range, own_part
from simgit.plot.drawing import PALETTE, action_colors
from simgit.plot.text import BLOCKS
from tests.support.paths import ROOT

FLOATS = st.floats(-1e6, 1e6)


def curve(
    label: str, *y: float, fork: float | None = None, parent: str | None = None
) -> plot.Curve:
    return plot.Curve(label, np.arange(1.0, len(y) + 1), np.array(y, float), fork, parent)


def texts(drawing: plot.Drawing) -> list[str]:
    """Return all that can be read in a picture."""
    from matplotlib.text import Text

    drawing.render()
    return [found.get_text() for found in drawing.figure.findobj(Text) if found.get_text()]


@given(st.lists(FLOATS, min_size=1, max_size=40), st.integers(1, 50))
def test_smoothing_is_the_mean_of_what_came_before(values: list[float], window: int) -> None:
    expected = [np.mean(values[max(0, i + 1 - window) : i + 1]) for i in range(len(values))]
    assert np.allclose(plot.smooth(values, window), expected, atol=1e-6)


def test_smoothing_leaves_out_what_is_not_known() -> None:
    assert plot.smooth([1, np.nan, 3, np.inf], 2).tolist() == [1, 1, 3, 3]
    assert plot.smooth([1, 2, 3], 10**20).tolist() == [1, 1.5, 2] and not len(plot.smooth([], 2))
    assert np.isnan(plot.smooth([np.nan, 1], 1)[0])
    with pytest.raises(InvalidInput, match="at least 1, got 0"):
        plot.smooth([1], 0)


@given(st.integers(1, 30), st.floats(-5, 35))
def test_a_branch_is_drawn_from_the_last_point_that_it_shares(count: int, fork: float) -> None:
    found = curve("a", *range(count), fork=fork)
    x = found.x[own_part(found)]
    assert x[-1] == count or fork >= count
    assert (x[1:] > fork).all() and (x[0] <= fork or x[0] == 1)


@pytest.mark.slow
def test_learning_curves_have_titles_units_and_a_legend() -> None:
    group = [curve("main", 1, 2, 3, 4), curve("try", 1, 2, 9, 9, fork=2, parent="main")]
    drawing = plot.learning_curve({"return": group, "length (steps)": group}, title="two", window=2)
    seen = texts(drawing)
    assert {
        "two",
        "episode",
        "return\nmean of 2",
        "length (steps)\nmean of 2",
        "main",
        "try",
    } <= set(seen)
    top = drawing.figure.axes[0]
    branch = next(line for line in top.lines if line.get_label() == "try")
    assert branch.get_xdata().tolist() == [2, 3, 4]
    assert branch.get_ydata().tolist() == [1.5, 5.5, 9]
    diamond = next(line for line in top.lines if line.get_marker() == "D")
    assert (diamond.get_xdata().tolist(), diamond.get_ydata().tolist()) == ([2], [1.5])


@pytest.mark.slow
def test_a_branch_alone_is_drawn_with_all_its_history() -> None:
    drawing = plot.learning_curve({"return": [curve("try", 1, 2, 9, fork=2, parent="main")]})
    assert drawing.figure.axes[0].lines[0].get_xdata().tolist() == [1, 2, 3]
    assert drawing.figure.axes[0].get_legend() is None


def test_a_band_says_of_how_many_seeds_it_is() -> None:
    found = band("lr=1", [curve("a", 1, 2), curve("b", 3, 4)])
    assert "lr=1: mean of 2 seeds, 95 % interval" in texts(plot.learning_curve({"return": [found]}))


def test_points_that_are_means_say_of_how_many_states_and_show_their_range() -> None:
    x, ones = np.arange(4.0), np.ones(4)
    of = plot.Averaged(8192, 30_000, -2 * ones, 3 * ones, 1.0, ones)
    drawing = plot.learning_curve({"reward": [plot.Curve("main", x, ones, averaged=of)]})
    assert "main: means of 8192 states, least to greatest" in texts(drawing)
    (axis,) = drawing.figure.axes
    (low, high) = axis.dataLim.intervaly
    assert (low, high) == (-2.0, 3.0)


@pytest.mark.slow
def test_pods_are_stacked_and_actions_marked() -> None:
    history = plot.PodHistory(
        np.arange(4.0), np.array([0, np.nan, 1, 3]), np.array([3, np.nan, 2, 0]),
        ["", "noop", "reduce_cpu_small", "reduce_cpu_small"], [False, False, True, False], [0],
    )  # fmt: skip
    drawing = plot.pod_history(history, target=3, title="web")
    assert {"web", "pods", "step", "ready", "target: 3", "not observed", "noop", "reduce_cpu_small",
            "done (colour: action)", "refused"} <= set(texts(drawing))  # fmt: skip
    done, refused = drawing.figure.axes[1].collections
    assert done.get_offsets().tolist() == [[1, 1], [3, 0]]
    assert refused.get_offsets().tolist() == [[2, 0]]


@pytest.mark.slow
def test_occupancy_shows_each_node_over_time() -> None:
    used = {"CPU": np.array([[0, 0.5], [1, 1]]), "memory": np.zeros((2, 2))}
    usage = plot.Usage(
        np.array([0.0, 60]), ["n1", "n2"], used, np.array([1.0, 3]), np.array([2.0, 0])
    )
    drawing = plot.occupancy(usage, title="dsb")
    assert {"dsb", "CPU", "memory", "n1", "n2", "time (s)", "requested, % of the node"} <= set(
        texts(drawing)
    )
    assert drawing.figure.axes[0].collections[0].get_array().ravel().tolist() == [0, 50, 100, 100]


def test_a_step_is_drawn_around_its_number() -> None:
    used = {"CPU": np.zeros((1, 3))}
    usage = plot.Usage(np.array([0.0, 1, 2]), ["n"], used, np.ones(3), np.zeros(3))
    axis = plot.occupancy(usage, x_label="step", steps=True).figure.axes[-2]
    assert axis.dataLim.intervalx.tolist() == [-0.5, 2.5]


@pytest.mark.slow
def test_values_mark_the_greatest_and_the_one_taken() -> None:
    drawing = plot.state_values([[0.25, 1], [3, 2]], ["noop", "up"], ["0", "1"], chosen=[None, 1])
    assert {"noop", "up", "0.25", "3.00", "state", "greatest value", "action taken"} <= set(
        texts(drawing)
    )
    frames = [patch.get_xy() for patch in drawing.figure.axes[0].patches]
    assert frames == [(-0.5, 0.5), (0.5, -0.5)]
    ended = plot.state_values([[0, 1], [3, 2]], ["noop", "up"], ["0", "1"], over=[False, True])
    assert [patch.get_xy() for patch in ended.figure.axes[0].patches] == [(-0.5, 0.5)]
    with pytest.raises(InvalidInput, match="must have shape"):
        plot.state_values([[1, 2, 3]], ["a", "b"], ["0"])


@pytest.mark.slow
def test_a_policy_map_names_the_actions_that_are_preferred_somewhere() -> None:
    values = np.zeros((2, 3, 3))
    values[0, :, 1] = 1
    drawing = plot.policy_map(
        values, [0, 1, 2], [0, 1], ["a", "b", "c"], x_label="CPU", y_label="GiB"
    )
    assert {"preferred action", "value of it", "a", "b", "CPU", "GiB"} <= set(texts(drawing))
    assert "c" not in texts(drawing)
    assert "pale: not visited" not in texts(drawing)


@pytest.mark.slow
def test_what_was_not_visited_is_pale_on_both_maps() -> None:
    values = np.zeros((2, 3, 3))
    visited = np.array([[True, False, False], [True, True, False]])
    drawing = plot.policy_map(values, [0, 1, 2], [0, 1], ["a", "b", "c"], visited=visited)
    assert "pale: not visited" in texts(drawing)
    for axis in drawing.figure.axes[:2]:
        _, pale = axis.collections
        assert np.array_equal(np.ma.getmaskarray(pale.get_array()), visited)
        assert pale.get_cmap()(0)[:3] == (1.0, 1.0, 1.0) and 0.5 < pale.get_alpha() < 1


def test_opposite_actions_have_opposite_colours_and_none_is_shared() -> None:
    names = ["noop", "bump_cpu_small", "bump_mem_small", "scale_up_replicas", "reduce_cpu_small",
             "reduce_mem_small", "scale_down_replicas"]  # fmt: skip
    colors = dict(zip(names, action_colors(names), strict=True))
    assert len(set(colors.values())) == 7
    for more, less in (
        ("bump_cpu_small", "reduce_cpu_small"), ("bump_mem_small", "reduce_mem_small"),
        ("scale_up_replicas", "scale_down_replicas"),
    ):  # fmt: skip
        assert (hue(colors[more]) in WARM_HUES) and (hue(colors[less]) not in WARM_HUES)
        few = dict(zip([less, more], action_colors([less, more]), strict=True))
        assert hue(few[more]) in WARM_HUES and hue(few[less]) not in WARM_HUES
    assert action_colors(["0", "1", "2"]) == list(PALETTE[:3])
    many = action_colors([f"raise_{i}" for i in range(5)] + ["lower_0"])
    assert len(set(many)) == 6


WARM_HUES = [*range(60), *range(300, 361)]


def hue(color: str) -> int:
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return int(colorsys.rgb_to_hsv(red, green, blue)[0] * 360)


@pytest.mark.slow
def test_first_points_that_squash_the_others_lie_outside_and_are_marked() -> None:
    y = [-90.0, -80.0, -85.0, -95.0, -90.0, *np.linspace(-4, 1, 20)]
    drawing = plot.learning_curve({"return": [curve("a", *y)]})
    (axis,) = drawing.figure.axes
    low, high = axis.get_ylim()
    assert -5 < low < -4 and 1 < high < 2
    assert "5 outside, down to -95" in texts(drawing)
    marks = axis.get_lines()[-1]
    assert marks.get_marker() == "v" and marks.get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert set(marks.get_ydata()) == {low}
    whole = plot.learning_curve({"return": [curve("a", *y)]}, full=True).figure.axes[0]
    assert whole.get_ylim()[0] < -90
    from_below = plot.learning_curve({"loss": [curve("a", 50.0, *y[5:])]})
    assert "1 outside, up to 50" in texts(from_below)


@pytest.mark.parametrize(
    "values",
    [
        [-90.0, *[0.0] * 5],  # a few points
        list(np.linspace(0, 1, 50)),  # nothing is squashed
        [0.0] * 30,
        [np.nan] * 30,
        [],
        [*np.linspace(0, 1, 40), -90.0],  # the last point is what matters
    ],
)
def test_otherwise_all_points_are_inside(values: list[float]) -> None:
    assert clear_range([values]) is None


@given(st.lists(st.lists(FLOATS, max_size=40), max_size=3))
def test_later_points_are_never_left_out(groups: list[list[float]]) -> None:
    found = clear_range(groups)
    if found is not None:
        for each in groups:
            late = each[len(each) // 4 :] if len(each) >= 12 else each
            assert all(found[0] <= value <= found[1] for value in late)


def test_a_tree_draws_branches_from_their_parents() -> None:
    runs = [plot.Branch("main", 0, 10, None, "return 3"), plot.Branch("try", 4, 8, "main")]
    drawing = plot.run_tree(runs)
    assert " main  return 3" in texts(drawing) and " try" in texts(drawing)
    assert [4, 4] in [list(line.get_xdata()) for line in drawing.figure.axes[0].lines]


@pytest.mark.slow
def test_columns_draw_each_element_of_an_array() -> None:
    drawing = plot.columns(
        np.arange(3), {"observation": np.arange(6).reshape(3, 2), "reward": [0, 1, 2]}
    )
    top, bottom = drawing.figure.axes
    assert [len(axes.lines) for axes in (top, bottom)] == [2, 1]
    assert {"observation", "reward", "[0]", "[1]", "step"} <= set(texts(drawing))
    with pytest.raises(InvalidInput, match="'name': not a column of numbers"):
        plot.columns(np.arange(1), {"name": ["a"]})


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot.learning_curve({"return": [curve("a")]}),
        lambda: plot.run_tree([]),
        lambda: plot.columns([], {"a": []}),
        lambda: plot.pod_history(plot.PodHistory(np.zeros(0), np.zeros(0), np.zeros(0), [])),
        lambda: plot.occupancy(plot.Usage(np.zeros(0), [], {}, np.zeros(0), np.zeros(0))),
    ],
)
def test_nothing_is_no_picture(draw) -> None:
    with pytest.raises(InvalidInput, match=r"^no [a-z]+ to draw"):
        draw()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_picture_is_the_same_file(kind: str, tmp_path: Path) -> None:
    paths = [
        plot.learning_curve({"return": [curve("main", 1, 2)]}).save(tmp_path / f"{i}.{kind}")
        for i in range(2)
    ]
    first, second = (path.read_bytes() for path in paths)
    assert first == second and first.startswith(b"\x89PNG" if kind == "png" else b"<?xml")
    assert kind == "png" or b">main<" in plot.run_tree([plot.Branch("main", 0, 1)]).render(
        "svg"
    ).replace(b" ", b"")


def test_a_drawing_shows_itself_in_a_notebook() -> None:
    assert plot.run_tree([plot.Branch("main", 0, 1)])._repr_png_().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_saved_says_why(tmp_path: Path) -> None:
    drawing = plot.run_tree([plot.Branch("main", 0, 1)])
    with pytest.raises(InvalidInput, match=r"cannot write 'a.jpg'"):
        drawing.save(tmp_path / "a.jpg")
    with pytest.raises(StorageError, match="no directory"):
        drawing.save(tmp_path / "gone" / "a.png")


def test_the_users_own_style_is_left_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot.run_tree([plot.Branch("main", 0, 1)]).render()
    assert dict(matplotlib.rcParams) == before


def test_text_needs_no_matplotlib_and_a_picture_says_what_is_missing() -> None:
    code = """
import sys
import simgit.plot as plot, simgit.analysis
print(plot.sparkline([1, 2, 3]))
assert "matplotlib" not in sys.modules
sys.modules["matplotlib"] = None
try:
    plot.run_tree([plot.Branch("main", 0, 1)])
except simgit.NotFound as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == [
        "▁▅█",
        "pictures need matplotlib: pip install 'simgit[plot]'",
    ]


def test_pictures_without_matplotlib_are_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(NotFound, match=r"pip install 'simgit\[plot\]'"):
        plot.learning_curve({"return": [curve("a", 1)]})


@given(st.lists(FLOATS | st.just(float("nan")), max_size=200), st.integers(1, 80))
def test_a_sparkline_is_as_wide_as_asked_and_its_highest_block_is_the_greatest(
    values, width
) -> None:
    line = plot.sparkline(values, width)
    assert len(line) == min(len(values), width) and set(line) <= set(BLOCKS + " ")
    known = [v for v in values if v == v]
    if len(values) <= width and known and max(known) - min(known) > 1e-3:
        assert line[int(np.nanargmax(values))] == "█" and line[int(np.nanargmin(values))] == "▁"


def test_a_sparkline_shows_a_range_that_is_given() -> None:
    assert plot.sparkline([0, 5, 10], low=0, high=100) == "▁▁▁"
    assert plot.sparkline([0, 1, 0, 1, 10, 10], 3) == "▁▁█"
    assert plot.sparkline([3, 3]) == "▁▁" and plot.sparkline([]) == ""


def test_a_chart_has_its_range_at_the_left() -> None:
    assert plot.chart([0, 1, 2], height=3) == ["2 ┤  █", "  ┤ ▄█", "0 ┤▁██"]
    assert plot.chart([]) == []


def test_a_chart_marks_what_is_outside_its_range() -> None:
    assert plot.chart([-90, 0, 1, 2], height=3, within=(0, 2)) == [
        " 2 ┤   █", "   ┤  ▄█", "≤0 ┤▁▁██"
    ]  # fmt: skip
    assert plot.chart([0, 1, 90], height=2, within=(0, 2))[0].startswith("≥2 ┤")
    assert plot.chart([0, 1, 2], height=3, within=(-5, 7)) == plot.chart([0, 1, 2], height=3)


def test_colours_differ_for_every_kind_of_colour_vision() -> None:
    # Machado, Oliveira and Fernandes (2009), severity 1: protanopia, deuteranopia, tritanopia
    blind = [
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]  # fmt: skip
    colors = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in PALETTE])
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    for matrix in [np.eye(3), *map(np.array, blind)]:
        lab = _lab(np.clip(linear @ np.asarray(matrix).T, 0, 1))
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)
        assert apart[np.triu_indices(len(PALETTE), 1)].min() > 10


def _lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = (rgb @ np.array(to_xyz).T / [0.9505, 1, 1.089]).clip(1e-9).T ** (1 / 3)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
