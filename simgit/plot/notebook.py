"""HTML for notebooks: tables, and images as PNG, from the standard library and NumPy."""

from __future__ import annotations

import struct
import zlib
from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit.errors import text_of, visible_lines

Pixels = npt.NDArray[np.uint8]
_COLOR_TYPES: Final = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's colour type by the number of channels: grey, grey with alpha, RGB, RGBA."""
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
_SMALLEST: Final = 16
"""Arrays with a shorter side are numbers, not pictures."""
_THUMBNAIL: Final = 160


class Html(str):
    """A text that is HTML already and must not be escaped."""


def escaped(value: object) -> Html:
    """Return a value as HTML."""
    if isinstance(value, Html):
        return value
    text = visible_lines(value if isinstance(value, str) else text_of(value))
    for (
        character,
        entity,
    ) in _ENTITIES.items():  # the standard library's module takes longer to load
        text = text.replace(character, entity)
    return Html(text)


def table(rows: Iterable[Sequence[object]], head: Sequence[object] = ()) -> Html:
    """Return an HTML table, aligned at the left; cells are escaped unless they are ``Html``."""
    lines = [_row("th", head)] if head else []
    lines += [_row("td", row) for row in rows]
    return Html(f"<table>{''.join(lines)}</table>")


def _row(tag: str, cells: Iterable[object]) -> str:
    style = "style='text-align:left'"
    inner = "".join(f"<{tag} {style}>{escaped(cell)}</{tag}>" for cell in cells)
    return f"<tr>{inner}</tr>"


def code(text: object) -> Html:
    """Return a text in the font of programs."""
    return Html(f"<code>{escaped(text)}</code>")


def paragraph(text: object) -> Html:
    """Return a paragraph."""
    return Html(f"<p>{escaped(text)}</p>")


def as_pixels(value: Any) -> Pixels | None:
    """Return an array as an image of shape (height, width, channels); None for other arrays.

    An image is uint8 and has sides of 16 or more; its channels (1 to 4) are the last axis, or the
    first. Of a stack of grey frames the newest is taken.
    """
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim not in (2, 3):
        return None
    pixels = value[:, :, None] if value.ndim == 2 else value
    if pixels.shape[2] not in _COLOR_TYPES and pixels.shape[0] in _COLOR_TYPES:
        pixels = np.moveaxis(pixels, 0, 2)
        pixels = pixels if pixels.shape[2] == 3 else pixels[:, :, -1:]
    fits = pixels.shape[2] in _COLOR_TYPES and min(pixels.shape[:2]) >= _SMALLEST
    return pixels if fits else None


def png(pixels: Pixels, level: int = 6) -> bytes:
    """Return an image of shape (height, width, channels) as the bytes of a PNG file.

    Args:
        pixels: the image.
        level: how much it is compressed, 0 to 9; the time grows faster than the gain.
    """
    height, width, channels = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with filter 0
    rows[:, 1:] = pixels.reshape(height, -1)
    body = zlib.compress(rows.tobytes(), level)
    chunks = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))


def image(pixels: Pixels, title: str = "") -> Html:
    """Return an image as HTML, at most 160 pixels high or wide, with its data in it."""
    stride = max(1, -(-max(pixels.shape[:2]) // _THUMBNAIL))
    small = pixels[::stride, ::stride]
    shown = small.shape[0] * max(1, _THUMBNAIL // max(small.shape[:2]))
    data = b2a_base64(png(small), newline=False).decode()
    return Html(
        f"<img height='{shown}' style='image-rendering:pixelated;display:inline;margin:2px' "
        f"title='{escaped(title)}' src='data:image/png;base64,{data}'>"
    )


def images(value: Any, path: str = "") -> Iterator[tuple[str, Pixels]]:
    """Yield the images in a nested value, each with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from images(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from images(item, f"{path}[{i}]")
    elif (pixels := as_pixels(value)) is not None:
        yield path, pixels
