"""Chunks depend on the content alone, and an insertion changes only few of them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from simgit.objects import chunking
from simgit.objects.chunking import split
from tests.support.examples import share

VECTOR = [40178, 29539, 42853, 20269, 42434, 38221]


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def chunks(data: bytes) -> list[bytes]:
    return list(split(io.BytesIO(data).read))


def in_pieces(data: bytes, seed: int, longest: int) -> Callable[[int], bytes]:
    """Return a reader that gives up to ``longest`` bytes at a time."""
    file, sizes = io.BytesIO(data), random.Random(seed)
    return lambda n: file.read(min(n, sizes.randint(1, longest)))


def by_the_rule(data: bytes) -> list[int]:
    """The lengths of the chunks, computed byte by byte from the rule as it is written."""
    gear = [int(word) for word in chunking.GEAR]
    lengths, length, value = [], 0, 0
    for byte in data:
        value = ((value << 1) + gear[byte]) & 0xFFFFFFFF
        length += 1
        limit = 0
        if length >= chunking.MIN:
            limit = chunking.STRICT if length < chunking.WANTED else chunking.LOOSE
        if value < limit or length == chunking.MAX:
            lengths.append(length)
            length = 0
    return lengths + [length] * (length > 0)


@given(st.integers(0, 10**6), st.integers(0, 300_000))
@settings(max_examples=share(50))
def test_the_chunks_put_together_are_the_data(seed: int, length: int) -> None:
    data = noise(seed, length)
    pieces = chunks(data)
    assert b"".join(pieces) == data
    assert all(chunking.MIN <= len(piece) <= chunking.MAX for piece in pieces[:-1])
    assert all(0 < len(piece) <= chunking.MAX for piece in pieces)


@given(st.integers(0, 10**6), st.sampled_from([1000, 70_000, 3_000_000]))
@settings(max_examples=share(20))
def test_the_cuts_do_not_depend_on_the_pieces_read(seed: int, longest: int) -> None:
    data = noise(seed, 5_000_000)
    assert list(split(in_pieces(data, seed, longest))) == chunks(data)


@given(st.integers(0, 10**6), st.integers(0, 50_000), st.integers(1, 2000))
@settings(max_examples=share(20))
def test_an_insertion_changes_few_chunks(seed: int, place: int, length: int) -> None:
    data = noise(seed, 2_000_000)
    changed = data[:place] + noise(seed + 1, length) + data[place:]
    assert len(set(chunks(changed)) - set(chunks(data))) <= 12


@pytest.mark.parametrize("data", [noise(1, 400_000), bytes(200_000), b"abc" * 50_000])
def test_the_cuts_are_those_of_the_written_rule(data: bytes) -> None:
    assert [len(piece) for piece in chunks(data)] == by_the_rule(data)


def test_the_cuts_never_change() -> None:
    data = blake3(b"vector").digest(length=1_000_000)
    lengths = [len(piece) for piece in chunks(data)]
    assert lengths[:6] == VECTOR
    assert 25_000 < len(data) / len(lengths) < 42_000


def test_nothing_has_no_chunks_and_little_has_one() -> None:
    assert chunks(b"") == []
    assert chunks(b"x") == [b"x"]
