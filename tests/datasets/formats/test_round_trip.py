"""Every value of the object format, out to each lossless format and in again: the same oids."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from simgit import IntegrityError, Repository
from tests.datasets.formats.cases import everything, read, write
from tests.support.examples import share

LOSSLESS = ("jsonl", "parquet", "arrow")
_BITS = st.integers(0, 2**64 - 1).map(lambda bits: np.uint64(bits).view("<f8"))
_DTYPES = st.sampled_from(
    [
        "|b1",
        "|i1",
        "|u1",
        "<i2",
        "<i4",
        "<i8",
        "<u8",
        "<f2",
        "<f4",
        "<f8",
        "<c8",
        "<c16",
        "<M8[s]",
        "<M8[D]",
        "<M8[25s]",
        "<m8[ns]",
        "|S3",
        "<U2",
    ]
)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@st.composite
def _arrays(draw: Any) -> Any:
    shape = draw(st.sampled_from([(), (2,), (3, 1), (0,), (70,), (5, 9)]))
    dtype = np.dtype(draw(_DTYPES))
    size = int(np.prod(shape)) * dtype.itemsize
    if dtype.kind in "SU":
        return draw(hnp.arrays(dtype, shape, elements=st.just("a" if dtype.kind == "U" else b"a")))
    raw = draw(st.binary(min_size=size, max_size=size))
    array = np.frombuffer(raw, dtype).reshape(shape)
    array = array.view("u1") % 2 != 0 if dtype.kind == "b" and shape else array
    return array.copy() if shape else array[()] if dtype.kind != "b" else np.bool_(raw[0] % 2)


_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**80), 2**80), st.floats(), _BITS.map(float),
    st.complex_numbers(), _TEXT, st.binary(max_size=5), _arrays(), st.sampled_from([0.0, -0.0]),
)  # fmt: skip
_VALUES = st.recursive(
    _LEAVES,
    lambda below: st.one_of(
        st.lists(below, max_size=3), st.lists(below, max_size=3).map(tuple),
        st.dictionaries(_TEXT, below, max_size=3), st.sets(st.integers(), max_size=3),
        st.dictionaries(st.one_of(_TEXT, st.integers(0, 9), st.binary(max_size=2)), below, max_size=2),
    ),
    max_leaves=6,
)  # fmt: skip
_STATES = st.fixed_dictionaries(
    {"observation": _VALUES},
    optional={
        "action": _VALUES, "reward": st.one_of(st.floats(), st.just(-0.0)),
        "terminated": st.booleans(), "info": st.dictionaries(_TEXT, _VALUES, max_size=3),
        "reset": st.one_of(st.just(True), st.fixed_dictionaries({"seed": st.integers(0, 9)})),
        "message": _TEXT,
    },
)  # fmt: skip
_COLUMNS = st.lists(_arrays(), min_size=1, max_size=3).flatmap(
    lambda few: st.lists(st.sampled_from(few), min_size=1, max_size=9)
)
"""Observations that vary less: a field that keeps its type, and sometimes not."""


def _goes_around(name: str, states: list[dict[str, Any]]) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        for state in states:
            recorder.append(**state)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs"
        write(repo, name, path, "main")
        read(other, path)
    assert other.runs["main"].oid == repo.runs["main"].oid


@pytest.mark.parametrize("name", LOSSLESS)
@given(states=st.lists(_STATES, min_size=1, max_size=5))
@settings(max_examples=share(100))
def test_any_values_come_back_with_their_oids(name: str, states: list[dict[str, Any]]) -> None:
    _goes_around(name, [s for s in states if s["observation"] is not None] or [{"message": ""}])


@pytest.mark.parametrize("name", LOSSLESS)
@given(values=_COLUMNS, nested=st.sampled_from(["observation", "info"]))
@settings(max_examples=share(100))
def test_columns_of_arrays_come_back_with_their_oids(
    name: str, values: list[Any], nested: str
) -> None:
    wrapped = [{"observation": each} if nested == "observation" else {"info": {"x": each}}
               for each in values]  # fmt: skip
    _goes_around(name, wrapped)


@pytest.mark.parametrize("name", LOSSLESS)
def test_branches_share_their_history(name: str, tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    names = everything(repo)
    exported = write(repo, name, tmp_path / "runs", *names)
    assert exported.written == 47
    assert read(other, tmp_path / "runs").states == 47
    assert [other.runs[n].oid for n in names] == [repo.runs[n].oid for n in names]


@pytest.mark.parametrize("name", LOSSLESS)
def test_half_a_file_is_damaged_and_nothing_is_imported(name: str, tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    write(repo, name, tmp_path / "runs", *everything(repo))
    data = (tmp_path / "runs").read_bytes()
    (tmp_path / "runs").write_bytes(data[: len(data) // 2])
    with pytest.raises(IntegrityError):
        read(other, tmp_path / "runs")
    assert dict(other.runs) == {}
