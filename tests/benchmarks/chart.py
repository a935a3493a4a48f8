"""A small chart with logarithmic axes, as SVG."""

from __future__ import annotations

import math
from html import escape

Series = tuple[str, list[tuple[float, float]]]
WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 270, 40, 55
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#777777")
LINE = 16


class _Axes:
    """Maps values to pixels; each axis spans whole powers of ten."""

    def __init__(self, points: list[tuple[float, float]]) -> None:
        self.x = _decades([x for x, _ in points])
        self.y = _decades([y for _, y in points])

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies, in pixels from the upper left."""
        across = (math.log10(x) - self.x[0]) / (self.x[1] - self.x[0])
        up = (math.log10(y) - self.y[0]) / (self.y[1] - self.y[0])
        plot = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + across * plot[0], HEIGHT - BOTTOM - up * plot[1]


def draw(title: str, across: str, up: str, series: list[Series]) -> str:
    """Return the chart: a line with dots for each series, its name at its right end."""
    axes = _Axes([point for _, points in series for point in points])
    body = [_text(LEFT, 24, title, "title"), *_grid(axes), *_labels(across, up)]
    for (_, points), colour in zip(series, COLOURS, strict=False):
        body += _line([axes.place(*point) for point in points], colour)
    body += _legend(axes, series)
    return "\n".join([_HEAD, *body, "</svg>", ""])


def _decades(values: list[float]) -> tuple[int, int]:
    low = math.floor(math.log10(min(values)))
    return low, max(math.ceil(math.log10(max(values))), low + 1)


def _grid(axes: _Axes) -> list[str]:
    left, right = 10.0 ** axes.x[0], 10.0 ** axes.x[1]
    low, high = 10.0 ** axes.y[0], 10.0 ** axes.y[1]
    found = []
    for power in range(axes.x[0], axes.x[1] + 1):
        x, y = axes.place(10.0**power, low)
        found.append(_rule((x, y), axes.place(10.0**power, high)))
        found.append(_text(x, y + 20, _power(power), "x"))
    for power in range(axes.y[0], axes.y[1] + 1):
        x, y = axes.place(left, 10.0**power)
        found.append(_rule((x, y), axes.place(right, 10.0**power)))
        found.append(_text(x - 8, y + 4, _power(power), "y"))
    return found


def _power(power: int) -> str:
    return f"{10**power:,}".replace(",", "\u2009") if 0 <= power < 4 else f"10{_raised(power)}"


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _labels(across: str, up: str) -> list[str]:
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    return [_text(middle, HEIGHT - 12, across, "x"), _text(LEFT - 8, TOP - 10, up, "y")]


def _line(places: list[tuple[float, float]], colour: str) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return [f'<polyline points="{path}" stroke="{colour}" class="line"/>', *dots]


def _legend(axes: _Axes, series: list[Series]) -> list[str]:
    """Write each name beside the end of its line, pushed apart where they would overlap."""
    ends = sorted(
        (axes.place(*points[-1])[1], name, colour)
        for (name, points), colour in zip(series, COLOURS, strict=False)
    )
    found, free = [], float(TOP)
    for y, name, colour in ends:
        free = max(y + 4, free)
        found.append(_text(WIDTH - RIGHT + 14, free, name, "name", colour))
        free += LINE
    return found


def _rule(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="grid"/>'


def _text(x: float, y: float, words: str, kind: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" fill="{colour}">{escape(words)}</text>'


_HEAD = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">
<style>
text {{ font: 13px system-ui, sans-serif }}
.title {{ font-size: 16px; font-weight: 600 }}
.x {{ text-anchor: middle }} .y {{ text-anchor: end }}
.grid {{ stroke: #ddd }} .line {{ fill: none; stroke-width: 2 }}
</style>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"""
