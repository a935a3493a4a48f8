"""Mersenne twisters that a C++ library writes as text, stored as a count of twists.

A twister is 624 words, which all change every 624 numbers: 6.7 kB of text that compression cannot
relate to an earlier one. But each follows from the first by a number of twists. So the first is
stored once, and of the others a count and a position.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

WORDS: Final = 624
NEAR: Final = 64
"""Twists to try from one twister to the next (5 µs each)."""
FAR: Final = 8192
"""Twists after which a new first twister is stored: they take about 10 ms."""
_TEXT: Final = re.compile(rb"\d{1,10}(?: \d{1,10}){623} \d{1,3}(?!\d)")
"""The text of ``operator<<`` in libstdc++: the words and the position. Other text is left alone."""
Words = npt.NDArray[np.uint32]


class Twister:
    """One generator as last seen: its first words, and the number of twists since."""

    def __init__(self) -> None:
        self.first = np.zeros(WORDS, np.uint32)
        self.count = 0
        self._text = b""
        self._bits = _generator(self.first)

    def see(self, text: bytes) -> bool:
        """Take over the words of a text; return False if they would not round-trip."""
        if text == self._text:
            return True
        wide = np.array(text.split(), np.uint64)
        if wide.max() >> 32 or text.startswith(b"0") or b" 0" in text:
            return False
        self._text = text
        self._advance(wide.astype(np.uint32))
        return True

    def _advance(self, words: Words) -> None:
        """Count the twists up to words; too far off, they become the first words."""
        numbers = _tempered(words)
        for more in range(1, NEAR + 1):
            if (self._bits.random_raw(WORDS) == numbers).all() and self.count + more <= FAR:
                self.count += more
                return
        self.first, self.count, self._bits = words, 0, _generator(words)


def _generator(words: Words) -> np.random.MT19937:
    """Return a generator that has used up all numbers of its words."""
    bits = np.random.MT19937(0)
    bits.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": WORDS}}
    return bits


def _tempered(words: Words) -> Words:
    """Return the numbers that a twister generates from its words."""
    numbers: Words = words ^ (words >> np.uint32(11))
    numbers ^= (numbers << 7) & 0x9D2C5680
    numbers ^= (numbers << 15) & 0xEFC60000
    numbers ^= numbers >> 18
    return numbers


def _twisted(words: Words, count: int) -> Words:
    """Return the words of a twister after ``count`` twists."""
    if not count:
        return words
    bits = _generator(words)
    bits.random_raw(WORDS * count, output=False)
    found: Words = bits.state["state"]["key"].astype(np.uint32)
    return found


def take_out(data: bytes, known: list[Twister]) -> tuple[bytes, list[dict[str, Any]]]:
    """Return bytes with the twisters taken out, and the twisters.

    A twister has its first ``words``, and ``at``: its offset, twists and position.

    Args:
        data: with any number of twisters.
        known: the twisters of the previous bytes; updated in place.
    """
    pieces, found, end = [], [], 0
    for number, match in enumerate(_TEXT.finditer(data)):
        if number == len(known):
            known.append(Twister())
        twister = known[number]
        text, _, position = match[0].rpartition(b" ")
        if not twister.see(text) or position.startswith(b"0"):
            continue
        pieces.append(data[end : match.start()])
        end = match.end()
        place = (sum(map(len, pieces)), twister.count, int(position))
        # an array: plain numbers vary in size, and would move what follows them
        found.append({"words": twister.first, "at": np.array(place, np.uint32)})
    return b"".join([*pieces, data[end:]]), found


def put_back(rest: bytes, twisters: Sequence[dict[str, Any]]) -> bytes:
    """Return the bytes from which twisters were taken out."""
    pieces, end = [], 0
    for each in twisters:
        at, twists, position = np.asarray(each["at"]).tolist()
        words = _twisted(np.asarray(each["words"], np.uint32), twists)
        pieces += [rest[end:at], _text(words), b" %d" % position]
        end = at
    return b"".join([*pieces, rest[end:]])


def _text(words: Words) -> bytes:
    return " ".join(map(str, words.tolist())).encode()
