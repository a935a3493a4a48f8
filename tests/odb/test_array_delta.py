from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit.errors import IntegrityError
from simgit.odb.array_delta import decode_elements, encode_elements

SIZES = st.sampled_from([1, 2, 4, 8])


@given(SIZES, st.integers(0, 300), st.integers(0, 9), st.booleans(), st.data())
def test_elements_come_back(
    size: int, count: int, seed: int, alone: bool, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.bytes(size * count)
    before = None if alone else bytearray(raw)
    for at in data.draw(st.lists(st.integers(0, max(size * count - 1, 0)), max_size=9)):
        if before:
            before[at] ^= 0x81
    view = None if before is None else memoryview(bytes(before))
    coded = encode_elements(memoryview(raw), size, view)
    assert decode_elements(memoryview(coded), len(raw), size, view) == raw


@given(st.binary(max_size=60), SIZES, st.integers(0, 40))
def test_random_bytes_raise_integrity_only(coded: bytes, size: int, length: int) -> None:
    with suppress(IntegrityError):
        assert len(decode_elements(memoryview(coded), length, size)) == length


def test_words_that_did_not_change_cost_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=10_000)
    after = before.copy()
    after[5000:] += 1e-6
    coded = encode_elements(memoryview(after.tobytes()), 8, memoryview(before.tobytes()))
    assert len(coded) < 5000 * 8 * 0.75
    with pytest.raises(IntegrityError):
        decode_elements(memoryview(coded[:-1]), 80_000, 8, memoryview(before.tobytes()))
