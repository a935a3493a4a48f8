"""A cluster as an image: nodes as bins that pods fill, and the pods that wait beside them.

NumPy sets the pixels, so that an environment can render without matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simgit.plot.letters import GLYPH_HEIGHT, text_mask, text_width

Pixels = npt.NDArray[np.uint8]
Color = tuple[int, int, int]
_PAPER: Final = (255, 255, 255)
_INK: Final = (51, 51, 51)
_EMPTY: Final = (235, 235, 235)
_READY: Final = (0, 114, 178)
_STARTING: Final = (86, 180, 233)
_WAITING: Final = (230, 159, 0)
_TOO_MUCH: Final = (213, 94, 0)
_BIN: Final = 140
"""Height of a full bin in pixels; requests beyond a node's capacity reach above it."""
_OVER: Final = 56
_TOP: Final = 22 + _OVER
_BOTTOM: Final = 40
_MARGIN: Final = 14
_WIDEST: Final = 960
_WAITING_SHOWN: Final = 6


@dataclass(frozen=True)
class PodBox:
    """A pod as shares of a node's CPU and memory: 0 to 1, or more."""

    cpu: float
    memory: float
    ready: bool = False


@dataclass(frozen=True)
class NodeBox:
    """A node with its pods; shares are of this node. Of an absent one only its place is kept."""

    name: str
    pods: Sequence[PodBox]
    present: bool = True


def node_bins(nodes: Sequence[NodeBox], waiting: Sequence[PodBox], title: str = "") -> Pixels:
    """Draw nodes as bins, their CPU at the left and memory at the right; waiting pods beside them.

    Shares of waiting pods are of the largest node. Blue pods are ready, light ones not yet, orange
    ones wait; requests beyond a whole node are red. The size depends only on the number of nodes.

    Returns:
        uint8 of shape (height, width, 3), both even.
    """
    wide = int(np.clip((_WIDEST - _waiting_width()) // max(1, len(nodes)) - 8, 6, 56))
    width = 2 * _MARGIN + len(nodes) * (wide + 8) + _waiting_width()
    image = np.full((_TOP + _BIN + _BOTTOM, width + width % 2, 3), _PAPER, np.uint8)
    _write(image, title, _MARGIN, 6)
    for i, node in enumerate(nodes):
        if node.present:
            _node(image, node, _MARGIN + i * (wide + 8), wide)
    _waiting(image, waiting, _MARGIN + len(nodes) * (wide + 8) + 10)
    return image


def _waiting_width() -> int:
    return 20 + _WAITING_SHOWN * 24


def _node(image: Pixels, node: NodeBox, left: int, wide: int) -> None:
    half = wide // 2 - 1
    floor = _TOP + _BIN
    for at, what in ((left, "cpu"), (left + half + 2, "memory")):
        _fill(image, at, _TOP, at + half, floor, _EMPTY)
        level = 0.0
        for pod in node.pods:
            share = getattr(pod, what)
            look = _READY if pod.ready else _STARTING
            _box(image, at, at + half, floor, level, level + share, look)
            level += share
    _fill(image, left, floor, left + wide, floor + 2, _INK)
    if wide >= 40:
        _write(image, "CPU", left + (half - text_width("CPU")) // 2, floor + 6)
        _write(image, "MEM", left + half + 2 + (half - text_width("MEM")) // 2, floor + 6)
        name = node.name[: wide // 8]
        _write(image, name, left + (wide - text_width(name)) // 2, floor + 22)


def _waiting(image: Pixels, pods: Sequence[PodBox], left: int) -> None:
    floor = _TOP + _BIN
    for i, pod in enumerate(pods[:_WAITING_SHOWN]):
        for at, share in ((left + 24 * i, pod.cpu), (left + 24 * i + 10, pod.memory)):
            _box(image, at, at + 9, floor, 0.0, share, _WAITING)
            if share > 1:
                _fill(image, at, _height(floor, share), at + 9, _TOP - 1, _TOO_MUCH)
    _fill(image, left - 4, _TOP - 1, left + 24 * _WAITING_SHOWN, _TOP, _INK)
    _fill(image, left - 4, floor, left + 24 * _WAITING_SHOWN, floor + 2, _INK)
    _write(image, f"{len(pods)} PENDING", left, floor + 6)


def _height(floor: int, share: float) -> int:
    """Return the pixel row of a level, below the title."""
    return max(floor - _BIN - _OVER, floor - round(share * _BIN))


def _box(
    image: Pixels,
    left: int,
    right: int,
    floor: int,
    low: float,
    high: float,
    color: Color,
) -> None:
    """Draw a pod from one level to another, with a line above it if there is room for one."""
    top, bottom = _height(floor, high), _height(floor, low)
    _fill(image, left, top, right, bottom, color)
    if bottom - top > 3:
        _fill(image, left, top, right, top + 1, _PAPER)


def _fill(image: Pixels, left: int, top: int, right: int, bottom: int, color: Color) -> None:
    image[max(0, top) : bottom, max(0, left) : right] = color


def _write(image: Pixels, text: str, left: int, top: int) -> None:
    mask = text_mask(text)[:, : max(0, image.shape[1] - left)]
    image[top : top + 2 * GLYPH_HEIGHT, left : left + mask.shape[1]][mask] = _INK
