"""Letters for images, of three by five dots, drawn twice as large."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

GLYPH_HEIGHT: Final = 5
_SCALE: Final = 2
_GLYPHS: Final[dict[str, str]] = {
    "0": "###,#.#,#.#,#.#,###", "1": ".#.,##.,.#.,.#.,###", "2": "###,..#,###,#..,###",
    "3": "###,..#,.##,..#,###", "4": "#.#,#.#,###,..#,..#", "5": "###,#..,###,..#,###",
    "6": "###,#..,###,#.#,###", "7": "###,..#,.#.,.#.,.#.", "8": "###,#.#,###,#.#,###",
    "9": "###,#.#,###,..#,###", "A": ".#.,#.#,###,#.#,#.#", "B": "##.,#.#,##.,#.#,##.",
    "C": ".##,#..,#..,#..,.##", "D": "##.,#.#,#.#,#.#,##.", "E": "###,#..,##.,#..,###",
    "F": "###,#..,##.,#..,#..", "G": ".##,#..,#.#,#.#,.##", "H": "#.#,#.#,###,#.#,#.#",
    "I": "###,.#.,.#.,.#.,###", "J": "..#,..#,..#,#.#,.#.", "K": "#.#,#.#,##.,#.#,#.#",
    "L": "#..,#..,#..,#..,###", "M": "#.#,###,###,#.#,#.#", "N": "##.,#.#,#.#,#.#,#.#",
    "O": ".#.,#.#,#.#,#.#,.#.", "P": "##.,#.#,##.,#..,#..", "Q": ".#.,#.#,#.#,.#.,..#",
    "R": "##.,#.#,##.,#.#,#.#", "S": ".##,#..,.#.,..#,##.", "T": "###,.#.,.#.,.#.,.#.",
    "U": "#.#,#.#,#.#,#.#,###", "V": "#.#,#.#,#.#,#.#,.#.", "W": "#.#,#.#,###,###,#.#",
    "X": "#.#,#.#,.#.,#.#,#.#", "Y": "#.#,#.#,.#.,.#.,.#.", "Z": "###,..#,.#.,#..,###",
    ".": "...,...,...,...,.#.", ",": "...,...,...,.#.,#..", ":": "...,.#.,...,.#.,...",
    "-": "...,...,###,...,...", "_": "...,...,...,...,###", "/": "..#,..#,.#.,#..,#..",
    "+": "...,.#.,###,.#.,...", "=": "...,###,...,###,...", "%": "#.#,..#,.#.,#..,#.#",
}  # fmt: skip


def text_width(text: str) -> int:
    """Return how many pixels a text is wide."""
    return max(0, 4 * len(text) - 1) * _SCALE


def text_mask(text: str) -> npt.NDArray[np.bool_]:
    """Return where a text has ink, shape (10, width); unknown characters are blanks."""
    dots = np.zeros((GLYPH_HEIGHT, max(0, 4 * len(text) - 1)), bool)
    for i, character in enumerate(text.upper()):
        rows = _GLYPHS.get(character, "").split(",")
        if len(rows) == GLYPH_HEIGHT:
            dots[:, 4 * i : 4 * i + 3] = [[dot == "#" for dot in row] for row in rows]
    return dots.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)
