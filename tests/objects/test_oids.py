"""Equal values have equal names, however they were written.

The names are compared with those of a second implementation of the format, which was written
from its page (simgit/testing/reference.py).
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from simgit import Repository
from simgit.objects.codec import decode_value, encode_value
from simgit.testing import reference
from simgit.testing.reference import Chain

SETTINGS = settings(suppress_health_check=list(HealthCheck))
DTYPES = [
    "|b1", "|i1", "|u1", "<i2", ">i4", "<i8", "<u2", "<u4", ">u8", "<f2", "<f4", ">f8",
    "<c8", "<c16", "<M8[ns]", "<m8[25s]", "<M8[D]", "|S3", "<U2",
]  # fmt: skip

floats = st.floats(width=64) | st.sampled_from([0.0, -0.0, math.nan, math.inf, 1.0, 2.0**53, 0.1])
integers = st.integers(-3, 3) | st.sampled_from(
    [2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 2**53 + 1, 255, 256, -129, 10**30]
)
texts = st.text(st.characters(codec="utf-8"), max_size=4)


@st.composite
def arrays(draw: Any) -> np.ndarray:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(st.sampled_from([(), (1,), (2,), (0,), (2, 3), (3, 0, 2), (70,), (256,), (9, 9)]))
    if draw(st.booleans()):
        values = np.zeros(shape, dtype)
        values[...] = draw(st.integers(0, 100)) if dtype.kind in "iufc" else values
    else:
        size = math.prod(shape)
        seed = draw(st.binary(min_size=4, max_size=4))
        raw = (seed * (size * dtype.itemsize // 4 + 1))[: size * dtype.itemsize]
        if dtype.kind == "b":
            raw = bytes(each & 1 for each in raw)
        if dtype.kind == "U":
            raw = b"".join(bytes([each, 0, 0, 0]) for each in raw[::4])
        values = np.frombuffer(raw, dtype).reshape(shape)
    if values.ndim > 1 and draw(st.booleans()):
        return values.T
    return values if values.ndim or draw(st.booleans()) else values[()]


def scalars() -> st.SearchStrategy[Any]:
    numpy_integers = st.builds(
        lambda dtype, value: np.array(value).astype(dtype)[()],
        st.sampled_from(["i1", "u1", "i2", "u4", "i8", "u8"]),
        st.integers(-3, 127),
    )
    numpy_floats = st.builds(
        lambda dtype, value: np.array(value).astype(dtype)[()],
        st.sampled_from(["f2", "f4", "f8", "c8", "c16"]),
        st.sampled_from([0.0, -0.0, 1.5, math.nan, math.inf, 3.0]),
    )
    return st.one_of(
        st.none(), st.booleans(), integers, floats, texts, st.binary(max_size=4),
        st.complex_numbers(), st.sampled_from([True, 1, 1.0, 1 + 0j, np.bool_(True)]),
        numpy_integers, numpy_floats,
    )  # fmt: skip


leaves = scalars() | arrays()
keys = st.sampled_from(["a", "b", "B", "é", "", "a.b", "0", "1"])
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(keys | st.integers(-2, 2) | st.binary(max_size=2), inner, max_size=2),
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=6,
)
infos = st.dictionaries(keys, values, max_size=3)
resets = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"seed": integers}),
    st.fixed_dictionaries({"options": infos}),
)
states = st.fixed_dictionaries(
    {},
    optional={
        "observation": values.filter(lambda value: value is not None),
        "action": (st.integers(0, 3) | values).filter(lambda value: value is not None),
        "reward": floats,
        "terminated": st.booleans(),
        "truncated": st.booleans(),
        "info": infos,
        "reset": resets,
        "message": texts,
    },
).filter(bool)
homogeneous = st.builds(
    lambda shape, dtype, seeds: [
        {"observation": np.full(shape, seed).astype(dtype), "action": seed % 3, "reward": seed / 2}
        for seed in seeds
    ],
    st.sampled_from([(4,), (2, 2), (100,), ()]),
    st.sampled_from(["<f4", "|u1", "<f8", ">i4"]),
    st.lists(st.integers(0, 100), min_size=1, max_size=12),
)
chains = st.lists(states, min_size=1, max_size=8) | homogeneous | st.builds(
    lambda a, b: a + b, homogeneous, st.lists(states, max_size=4)
)  # fmt: skip


def arguments(state: dict[str, Any]) -> dict[str, Any]:
    """Return what is passed to a recorder for a state."""
    return {**state, "reset": state["reset"] or True} if "reset" in state else state


def expected(chain: list[dict[str, Any]]) -> list[bytes]:
    slow = Chain()
    return [slow.commit(state) for state in chain]


def recorded(chain: list[dict[str, Any]], **policy: Any) -> list[bytes]:
    with Repository.init(":memory:") as repo:
        with repo.recorder(**policy) as rec:
            for state in chain:
                rec.append(**arguments(copy.deepcopy(state)))
        return [bytes(repo.resolve(f"main@{step}")) for step in range(len(chain))]


def committed(chain: list[dict[str, Any]]) -> list[bytes]:
    with Repository.init(":memory:") as repo:
        return [bytes(repo.commit(**arguments(state))) for state in chain]


@SETTINGS
@given(chains, st.integers(1, 4), st.booleans())
@example([{"observation": 1}, {"observation": "x"}, {"observation": np.ones(3)}], 1, False)
@example([{"observation": np.uint8(255)}, {"observation": np.int8(-1)}], 2, False)
@example([{"info": {}}, {"info": {"x" * 1001: 1}}, {"info": {"é" * 501: 2}}], 3, False)
def test_names_are_those_of_the_reference_however_states_are_flushed(
    chain: list[dict[str, Any]], every: int, background: bool
) -> None:
    wanted = expected(chain)
    assert recorded(chain) == wanted
    assert recorded(chain, flush_every=every, background=background) == wanted
    assert committed(chain) == wanted


def lanes_of(repo: Repository, batches: list[dict[str, Any]], every: int) -> None:
    with repo.recorder(["a", "b"], flush_every=every) as rec:
        for batch in batches:
            rec.append_batch(**batch)


@st.composite
def lane_batches(draw: Any) -> list[dict[str, Any]]:
    """Draw batches of two lanes: the fields, dtypes and resets vary."""
    batches = []
    for _ in range(draw(st.integers(1, 3))):
        steps = draw(st.integers(1, 4))
        dtype = draw(st.sampled_from(["<f4", "|u1", ">f8", "<i8", "|b1", "<U2", "|S2"]))
        extra = draw(st.sampled_from([(), (3,), (70,), (0,)]))
        fill = st.integers(0, 20)

        def make(
            kind: str, more: tuple[int, ...] = (), steps: int = steps, fill: Any = fill
        ) -> Any:
            each = np.array([[draw(fill) for _ in range(steps)] for _ in range(2)])
            shaped = each.reshape(2, steps, *(1 for _ in more))
            return np.broadcast_to(shaped, (2, steps, *more)).astype(kind)

        batch: dict[str, Any] = {"observation": make(dtype, extra)}
        if draw(st.booleans()):
            batch["observation"] = {"x": batch["observation"], "y": {"z": make("<i4")}}
        if draw(st.booleans()):
            batch["action"] = make(draw(st.sampled_from(["<i8", "<i4", "<U1"])))
        if draw(st.booleans()):
            batch["reward"] = make("<f4")
            batch["terminated"] = make("|b1")
        if draw(st.booleans()):
            batch["info"] = draw(st.sampled_from([{}, {"n": make("<i2")}, {"t": make("<U3")}]))
        if draw(st.booleans()):
            batch["reset"] = make("<i4") % 2 == 0
        batches.append(batch)
    return batches


def lane_state(batch: dict[str, Any], lane: int, step: int) -> dict[str, Any]:
    """Return one state of a batch, as it would be passed by itself."""

    def pick(value: Any) -> Any:
        return (
            {k: pick(v) for k, v in value.items()} if isinstance(value, dict) else value[lane, step]
        )

    state = {name: pick(value) for name, value in batch.items()}
    if state.pop("reset", False):
        for name in ("action", "reward", "terminated", "truncated"):
            state.pop(name, None)
        state["reset"] = True
    return state


@SETTINGS
@given(lane_batches(), st.integers(1, 8))
def test_lanes_have_the_names_of_states_appended_one_by_one(
    batches: list[dict[str, Any]], every: int
) -> None:
    with Repository.init(":memory:") as repo, Repository.init(":memory:") as slow:
        lanes_of(repo, batches, every)
        for lane, run in enumerate("ab"):
            for batch in batches:
                observation = batch["observation"]
                first = observation["x"] if isinstance(observation, dict) else observation
                for step in range(first.shape[1]):
                    slow.commit(**lane_state(batch, lane, step), run=run)
        assert [repo.resolve(run) for run in "ab"] == [slow.resolve(run) for run in "ab"]


def same(a: Any, b: Any) -> bool:
    """Return whether two values are the same, bit by bit and type by type."""
    return reference.value_bytes(a) == reference.value_bytes(b)


@SETTINGS
@given(values)
def test_a_value_is_encoded_as_the_reference_does_and_comes_back(value: Any) -> None:
    encoded = encode_value(value)
    assert encoded == reference.value_bytes(value)
    assert same(decode_value(encoded), value)


NUMBERS = (bool, int, float, complex, np.generic)


def held(a: Any, b: Any) -> bool:
    """Return whether what was read back is what was recorded, but for the type of a number."""
    if isinstance(b, dict):
        return isinstance(a, dict) and a.keys() == b.keys() and all(held(a[k], b[k]) for k in b)
    if isinstance(b, tuple):
        return isinstance(a, tuple) and len(a) == len(b) and all(map(held, a, b))
    if isinstance(b, (*NUMBERS, np.ndarray)) and isinstance(a, (*NUMBERS, np.ndarray)):
        left, right = np.asarray(a), np.asarray(b)
        return left.shape == right.shape and bool(
            ((left == right) | ((left != left) & (right != right))).all()
        )
    return same(a, b)


@SETTINGS
@given(st.lists(states, min_size=1, max_size=6))
def test_what_is_read_is_what_was_recorded(chain: list[dict[str, Any]]) -> None:
    with Repository.init(":memory:") as repo:
        with repo.recorder() as rec:
            for state in chain:
                rec.append(**arguments(state))
        for step, state in enumerate(chain):
            found = repo.state(f"main@{step}").value
            assert held(found, state), (found, state)


@SETTINGS
@given(st.lists(states, min_size=1, max_size=5))
def test_what_was_read_has_the_same_name_when_it_is_recorded_again(
    chain: list[dict[str, Any]],
) -> None:
    with Repository.init(":memory:") as repo, Repository.init(":memory:") as again:
        for state in chain:
            oid = repo.commit(**arguments(state))
            assert again.commit(**arguments(repo.state().value)) == oid
