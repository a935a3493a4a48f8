"""Atari-like frames, 210 x 160 x 3 bytes: a static background and a few things that move.

Three games, from seeds; how much changes from frame to frame is meant to be comparable with
Breakout, Pong and Ms Pac-Man played with a frame skip of four.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
SHAPE = (210, 160, 3)
DIGITS = ("757", "222", "717", "717", "557", "747", "747", "711", "757", "757")  # a rough font


def frames(game: str, count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return ``count`` frames of one game in one array."""
    out = np.empty((count, *SHAPE), np.uint8)
    for index, frame in zip(range(count), GAMES[game](seed), strict=False):
        out[index] = frame
    return out


def _box(frame: Frame, y: float, x: float, height: int, width: int, colour: object) -> None:
    top, left = max(int(y), 0), max(int(x), 0)
    frame[top : int(y) + height, left : int(x) + width] = colour


def _score(frame: Frame, value: int, y: int, x: int, colour: object) -> None:
    """Draw a number in digits of 12 x 12 pixels."""
    for place, digit in enumerate(f"{value % 1000:03d}"):
        for line, bits in enumerate(DIGITS[int(digit)]):
            for column in range(3):
                if int(bits) >> (2 - column) & 1:
                    _box(frame, y + 4 * line, x + 16 * place + 4 * column, 4, 4, colour)


class _Ball:
    """A ball that bounces between walls, and is served again when it is lost."""

    def __init__(self, rng: np.random.Generator, box: tuple[int, int, int, int]) -> None:
        self.rng, self.box = rng, box
        self.serve()

    def serve(self) -> None:
        top, bottom, left, right = self.box
        self.y, self.x = (top + bottom) / 2, float(self.rng.integers(left, right))
        self.dy, self.dx = self.rng.choice([4.0, 6.0]), self.rng.choice([-5.0, -3.0, 3.0, 5.0])

    def move(self) -> None:
        top, bottom, left, right = self.box
        self.y, self.x = self.y + self.dy, self.x + self.dx
        if not left <= self.x <= right:
            self.dx, self.x = -self.dx, min(max(self.x, left), right)
        if not top <= self.y <= bottom:
            self.dy, self.y = -self.dy, min(max(self.y, top), bottom)


def breakout(seed: int) -> Iterator[Frame]:
    """A wall of bricks that loses one now and then, a paddle, a ball, a score."""
    rng = np.random.default_rng([seed, 1])
    background = np.zeros(SHAPE, np.uint8)
    background[17:32], background[32:196, :8], background[32:196, 152:] = 142, 142, 142
    bricks = np.ones((6, 18), bool)
    ball, paddle, score = _Ball(rng, (63, 188, 8, 150)), 80.0, 0
    while True:
        ball.move()
        paddle = min(max(paddle + rng.choice([-4, 0, 4], p=[0.3, 0.4, 0.3]), 8), 136)
        if ball.y <= 63 and bricks.any():
            bricks[tuple(rng.choice(np.argwhere(bricks)))] = False
            score += 1
        if ball.y >= 188 and rng.random() < 0.2:
            ball.serve()
        frame = background.copy()
        _wall(frame, bricks)
        _score(frame, score, 3, 36, (142, 142, 142))
        _box(frame, 189, paddle, 4, 16, (200, 72, 72))
        _box(frame, ball.y, ball.x, 4, 2, (200, 72, 72))
        yield frame


def _wall(frame: Frame, bricks: NDArray[np.bool_]) -> None:
    colours = np.array(
        [
            (200, 72, 72),
            (198, 108, 58),
            (180, 122, 48),
            (162, 162, 42),
            (72, 160, 72),
            (66, 72, 200),
        ],
        np.uint8,
    )
    wall = np.where(bricks[:, :, None], colours[:, None, :], 0).astype(np.uint8)
    frame[57:93, 8:152] = wall.repeat(6, axis=0).repeat(8, axis=1)


def pong(seed: int) -> Iterator[Frame]:
    """Two paddles, a ball, two scores on a plain field."""
    rng = np.random.default_rng([seed, 2])
    background = np.full(SHAPE, (144, 72, 17), np.uint8)
    background[24:34], background[194:], background[:24] = 236, 236, (144, 72, 17)
    ball, paddles, points = _Ball(rng, (34, 189, 18, 140)), [100.0, 100.0], [0, 0]
    while True:
        ball.move()
        for side, target in enumerate((ball.y - 6, ball.y + rng.integers(-30, 30))):
            move = min(max(target - paddles[side], -4), 4)
            paddles[side] = min(max(paddles[side] + move, 34), 178)
        if ball.x in (18, 140) and rng.random() < 0.2:
            points[int(ball.x < 80)] += 1
            ball.serve()
        frame = background.copy()
        _score(frame, points[0], 5, 20, (213, 130, 74))
        _score(frame, points[1], 5, 100, (92, 186, 92))
        _box(frame, paddles[0], 16, 16, 4, (213, 130, 74))
        _box(frame, paddles[1], 140, 16, 4, (92, 186, 92))
        _box(frame, ball.y, ball.x, 4, 2, (236, 236, 236))
        yield frame


def pacman(seed: int) -> Iterator[Frame]:
    """A maze full of pellets, a player and four ghosts with animated sprites, a score."""
    rng = np.random.default_rng([seed, 3])
    background, pellets = _maze(rng)
    sprites = rng.random((5, 2, 10, 8)) < 0.75
    colours = [(210, 164, 74), (200, 72, 72), (198, 89, 179), (84, 184, 153), (180, 122, 48)]
    places = rng.integers(1, 12, (5, 2)) * (14, 12)
    headings = np.zeros((5, 2), int)
    for tick in range(1 << 62):
        frame = background.copy()
        _walk(rng, places, headings)
        _eat(background, pellets, places[0])
        for who in range(5):
            y, x = places[who]
            frame[y : y + 10, x : x + 8][sprites[who, tick // 8 % 2]] = colours[who]
        _score(frame, tick // 4, 190, 90, (195, 144, 61))
        yield frame


def _maze(rng: np.random.Generator) -> tuple[Frame, set[tuple[int, int]]]:
    """Return the background and the grid points that still have a pellet."""
    background = np.zeros(SHAPE, np.uint8)
    background[:172] = (0, 28, 136)
    pellets = {(y, x) for y in range(12) for x in range(13)}
    for y, x in sorted(pellets):
        if rng.random() < 0.45:
            height, width = rng.integers(4, 13), rng.integers(3, 12)
            _box(background, 14 * y + 2, 12 * x + 2, height, width, (228, 111, 111))
    for y, x in pellets:
        _box(background, 14 * y + 7, 12 * x + 6, 2, 4, (228, 111, 111))
    return background, pellets


def _walk(rng: np.random.Generator, places: NDArray[np.int64], headings: NDArray[np.int64]) -> None:
    """Move each figure along the grid; at a crossing it may turn."""
    ways = np.array([(0, 3), (0, -3), (3, 0), (-3, 0)])
    turn = rng.random(5) < 0.15
    headings[turn] = ways[rng.integers(0, 4, int(turn.sum()))]
    places += headings
    np.clip(places, (0, 0), (160, 150), out=places)


def _eat(background: Frame, pellets: set[tuple[int, int]], place: NDArray[np.int64]) -> None:
    y, x = int(place[0]) // 14, int(place[1]) // 12
    if (y, x) in pellets:
        pellets.discard((y, x))
        _box(background, 14 * y + 7, 12 * x + 6, 2, 4, (0, 28, 136))


GAMES: dict[str, Callable[[int], Iterator[Frame]]] = {
    "breakout": breakout,
    "pong": pong,
    "pacman": pacman,
}
