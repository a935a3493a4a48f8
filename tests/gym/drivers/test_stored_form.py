"""Snapshots in the form that is stored, and Mersenne twisters by how often they were twisted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit import IntegrityError, Repository
from simgit.gym import drivers
from simgit.gym.drivers import mersenne_twister, pack, unpack
from simgit.gym.drivers.stored_form import APART, padded, unpadded
from simgit.gym.tools.doctor import stored_bytes

large = st.sampled_from([
    np.arange(APART, dtype=np.float64), bytes(APART), np.zeros((APART, 2), np.uint8),
])  # fmt: skip
small = st.none() | st.booleans() | st.integers(0, 1 << 70) | st.text(max_size=3)
plain = st.recursive(
    large | small | st.just(np.arange(3)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text("abc\0", max_size=2), inner, max_size=3)
    ),
)


def same(a: Any, b: Any) -> bool:
    """Return whether nested data are equal, their types too."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@given(plain)
def test_what_is_packed_comes_back(data: Any) -> None:
    with Repository.init(":memory:") as repo:
        state = repo.commit({"of": "a state"})
        repo.attach(state, "snapshot", pack({"driver": "mine", "data": data}))
        assert same(unpack(repo.attachment(state, "snapshot")), {"driver": "mine", "data": data})


def test_what_was_not_packed_is_left_as_it_is() -> None:
    older = {"driver": "generic", "version": 1, "body": np.zeros(3, np.uint8)}
    assert unpack(older) is older


@given(st.binary(max_size=300))
def test_padded_bytes_come_back_and_cut_ones_are_refused(data: bytes) -> None:
    body = padded(data)
    assert unpadded(body) == data and len(body) % 128 == 0
    if data:
        with pytest.raises(IntegrityError, match="truncated"):
            unpadded(body[: 7 + len(data)])


def text(bits: np.random.MT19937) -> bytes:
    """Return a generator as C++ writes it."""
    state = bits.state["state"]
    return " ".join(map(str, [*state["key"].tolist(), state["pos"]])).encode()


@given(
    st.lists(st.integers(1, 3 * 624), min_size=1, max_size=6),
    st.integers(0, 1 << 30),
    st.binary(max_size=9).filter(lambda data: not data[-1:].isdigit()),
)
def test_a_twister_comes_back_whatever_was_drawn(drawn: list[int], seed: int, by: bytes) -> None:
    bits, known = np.random.MT19937(seed), []  # type: ignore[var-annotated]
    firsts = set()
    for count in drawn:
        bits.random_raw(count)
        data = by + text(bits) + b"\0between " + text(bits) + b"\0"
        rest, found = mersenne_twister.take_out(data, known)
        assert len(rest) < 40 and len(found) == 2
        assert mersenne_twister.put_back(rest, found) == data
        firsts.add(found[0]["words"].tobytes())
    assert len(firsts) == 1


def test_another_seed_is_another_first_twister() -> None:
    known: list[mersenne_twister.Twister] = []
    one, other = (
        mersenne_twister.take_out(text(np.random.MT19937(i)), known)[1][0] for i in (1, 2)
    )
    assert not np.array_equal(one["words"], other["words"])
    assert one["at"].tolist() == other["at"].tolist() == [0, 0, 623]


@pytest.mark.slow
@pytest.mark.parametrize("change", [
    lambda words: words[:-1],                       # no position, as libc++ writes it
    lambda words: [words[0] + "-", *words[1:]],     # no number
    lambda words: [str(1 << 32), *words[1:]],       # no word
])  # fmt: skip
def test_what_is_no_twister_stays_where_it_is(change: Any) -> None:
    data = " ".join(change(text(np.random.MT19937(1)).decode().split())).encode()
    assert mersenne_twister.take_out(b"=" + data + b"=", []) == (b"=" + data + b"=", [])


@pytest.mark.slow
def test_a_snapshot_of_atari_takes_some_hundred_bytes(tmp_path: Path) -> None:
    gym.register_envs(pytest.importorskip("ale_py"))
    env = gym.make("ALE/Pong-v5")
    env.reset(seed=1)
    driver = drivers.select(env)
    with Repository.init(tmp_path) as repo:
        sizes = []
        for _ in range(12):
            state = repo.commit({"step": len(sizes)})
            before = stored_bytes(repo)
            repo.attach(state, "snapshot", pack(driver.snapshot(env)))  # type: ignore[arg-type]
            sizes.append(stored_bytes(repo) - before)
            for _ in range(40):
                env.step(2)
    assert max(sizes[2:]) < 600, sizes
