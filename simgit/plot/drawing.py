"""The only import of matplotlib: figures in one style, saved as the same bytes each time.

No pyplot and no window backend: a figure is an object to save or to show in a notebook, and no
state is kept between pictures.
"""

from __future__ import annotations

import functools
import io
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, ParamSpec

from simgit.errors import InvalidInput, NotFound, StorageError, visible_lines

P = ParamSpec("P")
FORMATS: Final = (".png", ".svg")
PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours for all colour visions, without the yellow."""
_OPPOSITE: Final = (("#D55E00", "#0072B2"), ("#CC79A7", "#009E73"), ("#E69F00", "#56B4E9"))
"""Pairs of opposite colours: for more of a thing, for less of it."""
WARM: Final = frozenset(warm for warm, _ in _OPPOSITE)
"""The colours of the actions that ask for more."""
_IDLE: Final = "#b0b0b0"
_MORE: Final = frozenset({"bump", "up", "increase", "add", "raise", "more"})
_LESS: Final = frozenset({"reduce", "down", "decrease", "remove", "lower", "less"})
LINES: Final = ("-", "--", "-.", ":")
INK: Final = "#333333"
FAINT: Final = "#dddddd"
_DPI: Final = 150
_LETTER: Final = 0.11
"""The approximate width of a letter of a title, in inches."""
_STYLE: Final[dict[str, Any]] = {
    "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11.5,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelcolor": INK,
    "axes.edgecolor": "#888888", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True, "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8, "xtick.color": INK, "ytick.color": INK, "text.color": INK,
    "legend.frameon": False, "legend.fontsize": 9, "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round", "figure.facecolor": "white", "svg.hashsalt": "simgit",
    "svg.fonttype": "none", "axes.formatter.use_mathtext": True,
}  # fmt: skip


def matplotlib() -> Any:
    """Import matplotlib.

    Raises:
        NotFound: it is not installed; the message has the command to install it.
    """
    try:
        import matplotlib as found
        import matplotlib.figure
    except ImportError:
        raise NotFound("pictures need matplotlib: pip install 'simgit[plot]'") from None
    return found


class Drawing:
    """A picture. ``figure`` is matplotlib's and may be changed; notebooks show it."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure

    def save(self, path: str | Path) -> Path:
        """Write the picture as PNG or SVG, by the ending of the name; return the path.

        Raises:
            InvalidInput: the name ends with neither ``.png`` nor ``.svg``.
            StorageError: the file cannot be written.
        """
        path = Path(path)
        check_format(path)
        data = self.render(path.suffix[1:].lower())
        try:
            path.write_bytes(data)
        except OSError as error:
            why = (error.strerror or "").lower()
            raise StorageError(f"cannot write '{path}': {why}") from None
        return path

    def render(self, kind: str = "png") -> bytes:
        """Return the picture as the bytes of a ``png`` or ``svg`` file."""
        buffer = io.BytesIO()
        # no date and no version: the same picture is the same file
        metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
        with matplotlib().rc_context(_STYLE):
            self._make_texts_plain()
            self.figure.savefig(buffer, format=kind, dpi=_DPI, metadata=metadata)
        return buffer.getvalue()

    def _make_texts_plain(self) -> None:
        """Draw texts as they are: no formulas in a stranger's name, nothing that is not visible."""
        from matplotlib.text import Text
        from matplotlib.ticker import FixedFormatter

        def plain(text: str) -> str:
            return visible_lines(text).replace("\\$", "$").replace("$", "\\$")

        for each in self.figure.findobj(Text):
            each.set_text(plain(each.get_text()))
        for axes in self.figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                for formatter in (axis.get_major_formatter(), axis.get_minor_formatter()):
                    if isinstance(formatter, FixedFormatter):
                        formatter.seq = [plain(text) for text in formatter.seq]

    def _repr_png_(self) -> bytes:
        return self.render()


def check_format(path: Path) -> None:
    """Check the ending of a picture's name and its directory, before any work is done."""
    if path.suffix.lower() not in FORMATS:
        raise InvalidInput(f"cannot write '{path.name}': the name must end in .png or .svg")
    if not path.parent.is_dir():
        raise StorageError(f"cannot write '{path}': no directory '{path.parent}'")


def styled(draw: Callable[P, Drawing]) -> Callable[P, Drawing]:
    """Decorate a drawing function with the style; the user's own style is left alone."""

    @functools.wraps(draw)
    def with_style(*args: P.args, **kwargs: P.kwargs) -> Drawing:
        with matplotlib().rc_context(_STYLE):
            return draw(*args, **kwargs)

    return with_style


def panels(
    rows: int, *, width: float = 7.2, height: float = 3.6, ratios: Sequence[float] | None = None
) -> tuple[Drawing, list[Any]]:
    """Return a drawing with stacked axes that share their x axis, top first.

    ``width`` and ``height`` (of the whole) are in inches.
    """
    drawing = blank(width, height)
    grid = {"height_ratios": list(ratios)} if ratios else None
    axes = drawing.figure.subplots(rows, 1, sharex=True, squeeze=False, gridspec_kw=grid)
    return drawing, [row[0] for row in axes]


def blank(width: float, height: float) -> Drawing:
    """Return a drawing without axes; its size is in inches."""
    return Drawing(matplotlib().figure.Figure(figsize=(width, height), layout="constrained"))


def color(index: int) -> str:
    """Return the colour of curve ``index``."""
    return PALETTE[index % len(PALETTE)]


def action_colors(names: Sequence[str]) -> list[str]:
    """Return a colour for each action: opposite ones for opposite actions, grey for 'noop'.

    What asks for more of a thing is warm, what asks for less of it the cool colour opposite.
    """
    things: list[frozenset[str]] = []
    found: list[str | None] = []
    for name in names:
        words, thing = set(name.lower().split("_")), thing_of(name)
        side = 0 if words & _MORE else 1 if words & _LESS else None
        if side is None or len({*things, thing}) > len(_OPPOSITE):
            found.append(_IDLE if name == "noop" else None)
            continue
        if thing not in things:
            things.append(thing)
        found.append(_OPPOSITE[things.index(thing)][side])
    free = iter([each for each in PALETTE if each not in found] * (1 + len(names)))
    return [each or next(free) for each in found]


def thing_of(action: str) -> frozenset[str]:
    """Return the words of an action's name without those of its direction."""
    return frozenset(action.lower().split("_")) - _MORE - _LESS


def line_style(index: int) -> str:
    """Return the line style of curve ``index``: a new one when the colours repeat."""
    return LINES[index // len(PALETTE) % len(LINES)]


def headline(drawing: Drawing, title: str) -> None:
    """Put a title above everything, left-aligned, on as many lines as it needs."""
    columns = int(drawing.figure.get_figwidth() / _LETTER)
    text = "\n".join(textwrap.wrap(title, columns))
    drawing.figure.suptitle(text, fontweight="bold", fontsize=11.5, x=0.01, ha="left")


def whole_numbers(axis: Any) -> None:
    """Put ticks of an axis at integers only, with thousands separators."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, nbins="auto", steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def legend(axes: Any, *, beside: bool = False) -> None:
    """Put a legend inside where it hides least, or beside the axes."""
    if beside:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02))
    else:
        axes.legend(loc="best")
