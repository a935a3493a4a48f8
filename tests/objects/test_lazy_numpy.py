"""NumPy comes with its first use, and is then as if it had been imported."""

from __future__ import annotations

import subprocess
import sys
import types

import numpy
import pytest

from simgit.errors import InvalidInput
from simgit.objects.arguments import check_argument
from simgit.objects.coerce import check_number, check_seed
from simgit.objects.lazy_numpy import is_loaded, np

APART = """
import sys, threading
import simgit.odb.database
from simgit.objects import lazy_numpy
from simgit.objects.arguments import check_argument
from simgit.objects.coerce import check_number, coerce
from simgit.objects.codec import encode_value
from simgit.objects.json_form import record_to_json, value_to_json
for value, annotation in ((1, "int"), (1.5, "float"), (True, "bool"), ([1], "Sequence[int]")):
    check_argument("x", value, annotation)
try:
    check_argument("x", object(), "int | float | Sequence")
except ValueError:
    pass
check_number(3, "x", whole=True), encode_value({"a" * 40: [1, "b", (2.5, None)]})
value_to_json({"a": [1, b"c"]}), record_to_json((1, "a"))
assert not lazy_numpy.is_loaded()
found, gate = [], threading.Barrier(4)
def use():
    gate.wait()
    found.append(lazy_numpy.np.zeros(3).sum())
threads = [threading.Thread(target=use) for _ in range(4)]
[each.start() for each in threads]
[each.join() for each in threads]
import numpy
assert found == [0.0] * 4 and lazy_numpy.is_loaded()
assert type(lazy_numpy.np) is type(sys) and lazy_numpy.np.ndarray is numpy.ndarray
assert "numpy.ma" not in sys.modules
print(coerce(numpy.arange(3), "x").tolist(), lazy_numpy.np.ma is numpy.ma)
"""


def test_nothing_plain_loads_it_and_threads_may_come_together() -> None:
    found = subprocess.run(
        [sys.executable, "-c", APART], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == "[0, 1, 2] True\n"


def test_it_is_numpy_to_those_that_use_it() -> None:
    assert np.float32 is numpy.float32 and np.pi == numpy.pi
    assert is_loaded() and type(np) is types.ModuleType
    assert np.ma.MaskedArray is numpy.ma.MaskedArray  # which numpy itself imports late
    assert np.random.default_rng is numpy.random.default_rng
    with pytest.raises(AttributeError, match="module 'numpy' has no attribute 'no_such_name'"):
        np.no_such_name  # noqa: B018


def test_numbers_of_numpy_count_as_numbers() -> None:
    for value in (numpy.int8(3), numpy.uint64(3), numpy.int64(3)):
        assert type(check_number(value, "x", whole=True)) is int
        check_argument("x", value, "int")
        check_argument("x", value, "float | None")
        check_seed(value)
    assert type(check_number(numpy.float32(0.5), "x")) is float
    check_argument("x", numpy.float16(0.5), "float")
    check_argument("x", numpy.True_, "bool")
    check_argument("x", numpy.arange(3), "Sequence[int]")
    for value, annotation in (
        (numpy.float32(1), "int"), (numpy.True_, "float"), (numpy.arange(3), "int"),
        (numpy.float32("nan"), "float"), (numpy.array([0.5]), "Sequence[int]"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            check_argument("x", value, annotation)
    for value in (numpy.True_, True, numpy.float64(1), "1", None):
        with pytest.raises(InvalidInput):
            check_number(value, "x", whole=True)
