"""Values without an encoding of their own: plain values with forms, and back."""

from __future__ import annotations

import dataclasses
import datetime as dates
import enum
import json
import os
import subprocess
import sys
import uuid
from collections import OrderedDict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PureWindowsPath
from types import MappingProxyType, SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simgit import InvalidInput, Repository
from simgit.objects.codec import encode_value
from simgit.objects.coerce import coerce
from simgit.objects.columns import ABSENT
from simgit.objects.forms import restored
from simgit.objects.json_form import parse_json, value_to_json
from simgit.objects.simplify import Simplifier, stored_forms

Phase = enum.Enum("Phase", "RED GREEN")


class Mask(enum.Flag):
    A = 1
    B = 2


class Odd(enum.Flag):
    A = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        raise AssertionError("code of a user's class ran")


@dataclasses.dataclass
class Settings:
    rate: float
    tags: set[str]


Pair = namedtuple("Pair", "left right")

SAME: list[Any] = [
    {1, "a", (2, dates.date(2020, 1, 2))},
    frozenset([frozenset([1]), frozenset()]),
    set(),
    dates.datetime(2020, 1, 2, 3, 4, 5, 6),
    dates.datetime(2020, 1, 2, tzinfo=dates.UTC),
    dates.datetime(2020, 1, 2, tzinfo=dates.timezone(dates.timedelta(seconds=-3723))),
    dates.datetime(2020, 7, 2, tzinfo=ZoneInfo("Europe/Berlin")),
    dates.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    dates.datetime(2020, 10, 25, 2, 30, fold=1),
    dates.datetime.max,
    dates.date.min,
    dates.time(1, 2, 3, 4),
    dates.time(1, tzinfo=dates.UTC),
    dates.timedelta.max,
    dates.timedelta.min,
    dates.timedelta(microseconds=-1),
    Path("/a/b"),
    Path(os.fsdecode(b"/a/\xff")),
    PureWindowsPath("c:/x"),
    Phase.GREEN,
    Mask.A | Mask.B,
    Mask(0),
    Decimal("1.50"),
    Decimal("-Infinity"),
    Decimal("1E+999999"),
    Fraction(-(10**30), 3),
    uuid.UUID(int=5),
    deque([1, {2}], 3),
    deque(),
    range(2, 2**70, 3),
    slice(1, None, -1),
    SimpleNamespace(a=1, b={2}),
    "\ud800 half",
    {None: 1, True: 2, 1.5: {3}, (1, 2): 4, "a": 5},
    {2**70: 1},
    {"\udfff": 1},
    {Phase.RED: 1},
    np.longdouble(1) / 3,
    (np.arange(6, dtype=np.longdouble) / 7).reshape(2, 3),
    np.array([1 + 2j], np.clongdouble),
    np.array([(1, 2.5), (3, -0.0)], [("a", "<i4"), ("b", "<f8")]),
    np.array([(((1, 2),), "x")], [("a", [("b", "<i4", (2,))]), ("c", "<U3")]),
    np.array((1, 2.5), [("a", "<i4"), ("b", "<f8")])[()],
    np.array([[1, "x"], [None, {2}]], object),
    np.array([b"abcd"], "V4"),
    np.ma.MaskedArray([1.5, 2], [False, True]),
    [{"deep": ({1}, [dates.date(2020, 1, 2)])}],
]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, (np.ndarray, np.generic)):
        if isinstance(a, np.ma.MaskedArray):
            return same(a.data, b.data) and same(a.mask, b.mask)
        if a.dtype.hasobject:
            return type(a) is type(b) and a.shape == b.shape and same(a.tolist(), b.tolist())
        return (type(a), a.dtype, a.shape) == (type(b), b.dtype, b.shape) and bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, deque):
        return (a, a.maxlen) == (b, b.maxlen)
    if isinstance(a, dates.datetime):
        return (a, a.fold, a.isoformat(), str(a.tzinfo)) == (
            b,
            b.fold,
            b.isoformat(),
            str(b.tzinfo),
        )
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize("value", SAME, ids=lambda v: type(v).__name__)
def test_a_value_with_a_form_comes_back_as_what_it_was(tmp_path: Path, value: Any) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(observation=[value], action={"x": value}, info={"a": value, "b": [0, value]})
        with repo.recorder("r") as recorder:
            recorder.append(value, value, info={"a": value}, reset={"options": {"x": value}})
    with Repository.open(tmp_path) as repo:
        state, other = repo.state(), repo.state("r")
        assert same(state.observation[0], value) and same(state.action["x"], value)
        assert same(state.info["a"], value) and same(state.info["b"][1], value)
        assert same(other.observation, value) and same(other.action, value)
        assert same(other.reset["options"]["x"], value)
        again = repo.commit(**state.value, run="again")
        assert again == state.oid, "the same value has the same oid"
        text = json.dumps(value_to_json(state.value), allow_nan=False)
        back = parse_json(text.encode())
        assert same(back["action"]["x"], value) and same(back["info"]["b"][1], value)
        assert repo["main"].column("info")["a"] is not None


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (Settings(0.5, {"x"}), {"rate": 0.5, "tags": {"x"}}),
        (Pair(1, {2}), (1, {2})),
        (MappingProxyType({"a": {1}}), {"a": {1}}),
        (OrderedDict(b={1}), {"b": {1}}),
        (torch.tensor([1.5, -0.0], dtype=torch.bfloat16), np.array([1.5, -0.0], "<f4")),
        (torch.tensor(2.0, dtype=torch.bfloat16), np.float32(2)),
        ({np.int64(3): 1, np.uint8(4): {2}}, {3: 1, 4: {2}}),
        (np.zeros(2, "U0"), np.zeros(2, "U1")),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_cannot_come_back_as_it_was_comes_back_as_the_nearest(value: Any, back: Any) -> None:
    with Repository.init(":memory:") as repo:
        repo.commit(info={"x": value, "force": {1}})
        assert same(repo.state().info["x"], back)


@pytest.mark.slow
def test_an_enum_comes_back_by_name_where_its_class_is_not_loaded(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(info={"phase": Phase.GREEN, "mask": Mask.B, "odd": Odd.A})
        assert repo["main"].column("info.phase") == ["GREEN"]
        assert repo.state().info == {"phase": Phase.GREEN, "mask": Mask.B, "odd": 1}
    code = "import simgit, sys; print(simgit.Repository.open(sys.argv[1]).state().info)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "{'mask': 2, 'odd': 1, 'phase': 'GREEN'}"


HOSTILE = [
    [["info", "a"], "enum", "os:system"],
    [["info", "a"], "enum", "os:environ.get"],
    [["info", "a"], "flag", "builtins:int"],
    [["info", "a"], "dataclass", "os:system"],
    [["info", "a"], "unknown"],
    [["info", "a"], "set", [1]],
    [["info", "a", "b", 0], "set"],
    [["info", 7], "date"],
    [["info", "a"], "datetime"],
    [["info", "a"], "structured", [1 << 60]],
    [["info", "a"], "fraction"],
    [["info"], "range"],
    [["info", ["x"]], "set"],
    ["info"],
    [[], "set"],
    [["info", "a"], 3],
    {"x": 1},
    None,
]


@pytest.mark.parametrize("form", HOSTILE, ids=str)
@pytest.mark.parametrize("value", ["GREEN", 3, [1, 0], {"b": "x"}, [[]]], ids=str)
def test_a_form_that_does_not_fit_leaves_the_value_as_it_is(form: Any, value: Any) -> None:
    from simgit.objects.forms import restored_field

    for forms in ([form], form):
        found = restored_field("info", {"a": value}, forms)
        assert found == {"a": value} or type(found["a"]) in (set, dict, list)


def test_nothing_that_could_be_stored_before_has_a_form(tmp_path: Path) -> None:
    class Small(enum.IntEnum):
        ONE = 1

    class Text(str):
        pass

    plain = [
        Pair(1, 2), Small.ONE, Text("x"), OrderedDict(a=1), np.array([1]).view(np.recarray), np.str_("a"),
        np.datetime64(5, "ns"), bytearray(b"x"), np.bool_(1), True, {1: 2, b"a": 3},
        torch.zeros(2), [["info", "a"], "set"],
    ]  # fmt: skip
    for value in plain:
        found = Simplifier().simplify(value, "value")
        assert found.forms == [] and encode_value(found.value) == encode_value(value)


KEYS = st.one_of(st.text(max_size=3), st.integers(-5, 2**64 - 1), st.binary(max_size=2))
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=4),
    st.binary(max_size=4), st.complex_numbers(),
)  # fmt: skip
PLAIN = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
    max_leaves=8,
)  # fmt: skip
HASHABLE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(st.characters(), max_size=3), st.dates(),
    st.datetimes(), st.times(), st.timedeltas(), st.uuids(), st.fractions(),
    st.decimals(allow_nan=False), st.sampled_from(Phase), st.just(Path("a/b")),
)  # fmt: skip
ANY = st.recursive(
    HASHABLE | LEAVES.filter(lambda v: v == v),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(HASHABLE, inner, max_size=3),
        st.sets(HASHABLE, max_size=3), st.frozensets(HASHABLE, max_size=3),
        st.lists(inner, max_size=3).map(lambda v: deque(v, 3)),
    ),
    max_leaves=10,
)  # fmt: skip


@given(PLAIN)
def test_the_slow_path_gives_the_bytes_of_the_fast_one(value: Any) -> None:
    try:
        fast = encode_value(coerce(value, "value"))
    except InvalidInput:
        return
    found = Simplifier().simplify(value, "value")
    assert found.forms == [] and encode_value(found.value) == fast


@given(ANY)
def test_any_value_of_forms_comes_back(value: Any) -> None:
    found = Simplifier().simplify(value, "value")
    encode_value(found.value)
    assert restored(found.value, found.forms) == value


@given(st.dictionaries(HASHABLE, st.sets(HASHABLE, max_size=3), max_size=4))
def test_equal_values_have_equal_encodings_whatever_their_order(value: Any) -> None:
    turned = dict(reversed([(key, set(sorted(each, key=str))) for key, each in value.items()]))  # noqa: C414
    one, two = (Simplifier().simplify(each, "value") for each in (value, turned))
    assert encode_value(one.value) == encode_value(two.value) and stored_forms(
        {"x": one.forms}
    ) == stored_forms({"x": two.forms})


class Loud:
    """Raises whatever is done with it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __bool__(self) -> bool:
        raise RuntimeError("no")


class LoudMap(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise SystemError("no")


class LoudArray:
    def __array__(self, *given: Any, **more: Any) -> Any:
        raise ZeroDivisionError("no")


def rings() -> list[Any]:
    ring: dict[str, Any] = {}
    ring |= {"a": ring, "b": ring, "c": [ring, ring]}
    loop: list[Any] = []
    loop += [loop, loop]
    space = SimpleNamespace()
    space.a = space.b = space
    settings = Settings(1, set())
    settings.rate = settings.tags = settings  # type: ignore[assignment]
    array = np.empty(2, object)
    array[:] = [array, array]
    return [ring, loop, space, settings, array]


NOTHING = [
    object(), len, lambda: 0, sys, int, (i for i in ()), Ellipsis, NotImplemented, iter([]),
    Loud(), LoudMap(a=1), LoudArray(), *rings(), ValueError("x"), np.random.default_rng(),
    [[object()]], {object()}, {"a": {len: 1}}, memoryview, threading_lock := __import__("threading").Lock(),
]  # fmt: skip


@pytest.mark.parametrize("value", NOTHING, ids=lambda v: type(v).__name__)
def test_what_has_no_form_is_left_out_or_refused(value: Any) -> None:
    left: list[tuple[str, str]] = []
    found = Simplifier(lambda *each: left.append(each)).simplify({"x": value, "y": {1}}, "info")
    assert found.value["y"] == [1] and left and all(path.startswith("info.x") for path, _ in left)
    encode_value(found.value)
    with pytest.raises(InvalidInput, match=r"^info\.x"):
        Simplifier().simplify({"x": value}, "info")
    alone = Simplifier(lambda *each: None).simplify(value, "observation").value
    if alone is not ABSENT:
        encode_value(alone)


def test_other_libraries_numbers_come_back() -> None:
    kinds = pytest.importorskip("ml_dtypes")
    with Repository.init(":memory:") as repo:
        for name in ("bfloat16", "float8_e4m3fn", "int4"):
            value = np.array([1, -2, 3], getattr(kinds, name))
            repo.commit(info={"x": value, "one": value[0]})
            assert same(repo.state().info["x"], value) and same(repo.state().info["one"], value[0])


def test_times_of_pandas_keep_their_nanoseconds() -> None:
    pandas = pytest.importorskip("pandas")
    values = [
        pandas.Timestamp("2020-01-01 00:00:00.000000001"), pandas.Timedelta(5, "ns"),
        pandas.Timestamp("2020-01-01", tz="Europe/Berlin").to_pydatetime(), pandas.NaT,
    ]  # fmt: skip
    with Repository.init(":memory:") as repo:
        for value in values[:3]:
            repo.commit(info={"x": value})
            assert repo.state().info["x"] == value
        repo.commit(info={"x": pandas.NaT, "s": pandas.Series(["a", None])})
        assert np.isnat(repo.state().info["x"])
