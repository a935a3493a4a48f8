"""Writes tests/golden/vectors.json: python tests/golden/make_vectors.py

Every vector has an input in a form that any language can read (see ``neutral``), the payload in
hex and the oid. A ``chain`` is a run of states, each the only child of the one before: for each
state the schema that it has, its payload and its oid.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import json
import math
import struct
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from simgit import Oid, Repository
from simgit.objects.forms import restored_field
from simgit.objects.kinds import (
    Array,
    Binding,
    Blob,
    Entry,
    Named,
    Run,
    Spec,
    StateObject,
    Tag,
    Tree,
    ValueObject,
)
from simgit.objects.schema import TYPE_NAMES, FieldType, Schema
from simgit.recording.states import coerce_fields

FILE = Path(__file__).with_name("vectors.json")
A, B, C = (Oid(bytes([n]) * 32) for n in (0xAA, 0xBB, 0xCC))


def bits(value: float) -> str:
    """Return a float's bits, most significant first, in hex."""
    return struct.pack(">d", value).hex()


def neutral(value: Any) -> Any:
    """Return a value as JSON: None, bools, strings, lists as they are, others as one-key maps."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        return {"array": [array.dtype.str, list(array.shape), array.tobytes().hex()]}
    if isinstance(value, int):
        return {"int": str(value)}
    if isinstance(value, float):
        return {"float": bits(value)}
    if isinstance(value, complex):
        return {"complex": [bits(value.real), bits(value.imag)]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, tuple):
        return {"tuple": [neutral(item) for item in value]}
    if isinstance(value, dict):
        return {"map": [[neutral(key), neutral(item)] for key, item in value.items()]}
    return [neutral(item) for item in value]


def plain(data: Any) -> Any:
    """Return the value that ``neutral`` made ``data`` of."""
    if isinstance(data, list):
        return [plain(item) for item in data]
    if not isinstance(data, dict):
        return data
    ((form, content),) = data.items()
    if form == "array":
        dtype, shape, raw = content
        return np.frombuffer(bytes.fromhex(raw), dtype).reshape(shape)
    if form == "map":
        return {plain(key): plain(item) for key, item in content}
    if form == "tuple":
        return tuple(plain(item) for item in content)
    if form == "complex":
        return complex(*(struct.unpack(">d", bytes.fromhex(part))[0] for part in content))
    if form == "float":
        return struct.unpack(">d", bytes.fromhex(content))[0]
    return int(content) if form == "int" else bytes.fromhex(content)


VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "false": False,
    **{
        f"integer {n}": n
        for n in (
            0,
            1,
            127,
            128,
            255,
            256,
            65535,
            65536,
            2**32 - 1,
            2**32,
            2**63 - 1,
            2**63,
            2**64 - 1,
            2**64,
            -1,
            -32,
            -33,
            -128,
            -129,
            -32768,
            -32769,
            -(2**31),
            -(2**31) - 1,
            -(2**63),
            -(2**63) - 1,
            10**30,
        )
    },
    **{
        f"float {n!r}": n for n in (0.0, -0.0, 1.5, 0.1, 1.0, math.inf, -math.inf, math.nan, 5e-324)
    },
    "a NaN with other bits": struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0],
    "complex": complex(1.5, -0.0),
    **{f"a string of {n} characters": "x" * n for n in (0, 1, 31, 32, 255, 256, 65536)},
    "a string of other characters": "é\0\U0001f600",
    **{f"{n} bytes": b"\x01" * n for n in (0, 1, 255, 256)},
    **{f"a list of {n}": [None] * n for n in (0, 1, 15, 16)},
    "a tuple": (1, "a", (2.5,)),
    "an empty tuple": (),
    "a tuple of 16 bytes": (1,) * 15,
    **{f"a map of {n}": {f"k{i:02}": i for i in range(n)} for n in (0, 1, 15, 16)},
    "a map with keys of all kinds": {"b": 1, "a": 2, b"a": 3, 7: 4, -7: 5, 300: 6, "": 7},
    "nested": {
        "list": [1, [2, (3, {"x": None})]],
        "array": np.array([[1, 2]], "<i2"),
        "scalar": np.float32(0.5),
    },
}
DTYPES = [
    "|b1",
    "|i1",
    "|u1",
    "<i2",
    "<u2",
    "<i4",
    "<u4",
    "<i8",
    "<u8",
    "<f2",
    "<f4",
    "<f8",
    "<c8",
    "<c16",
    "<M8[ns]",
    "<M8[D]",
    "<m8[25s]",
    "<M8",
    "|S3",
    "<U3",
]
ARRAYS: dict[str, Any] = {
    **{dtype: np.array([0, 1, 1], "<i8").astype(dtype) for dtype in DTYPES},
    "shape ()": np.array(2.5),
    "no elements": np.zeros((3, 0, 2), "<f4"),
    "three dimensions": np.arange(24, dtype="<u2").reshape(2, 3, 4),
    "not a number": np.array([math.nan, -0.0, math.inf], "<f4"),
}
FIELDS = (
    *(
        ((name,), FieldType(code))
        for code, name in enumerate(TYPE_NAMES)
        if name not in ("fixed", "tuple")
    ),
    (("map", "é"), FieldType(2)),
    (("fixed",), FieldType(5, np.dtype("<f4"), (2, 3))),
    (("scalar",), FieldType(5, np.dtype("<M8[ns]"))),
    (("tuple",), FieldType(9, length=2)),
    (("tuple", "0"), FieldType(3)),
    (("tuple", "1"), FieldType(8)),
    (("tuple", "1", "x"), FieldType(10)),
)
OBJECTS: dict[str, Named | Schema] = {
    "no bytes": Blob(b""),
    "three bytes": Blob(b"abc"),
    "a directory": Tree((Entry("b", "blob", A), Entry("a.txt", "blob", B), Entry("é", "tree", C))),
    "an empty map": Tree(()),
    "a map with integer keys": Tree(
        (Entry("10", "value", A), Entry("-2", "array", B), Entry("9", "tree", C)), "intmap"
    ),
    "a list": Tree(tuple(Entry(str(i), "value", A) for i in range(12)), "list"),
    "a tuple": Tree((Entry("0", "array", A),), "tuple"),
    "no fields": Schema(),
    "every type of field": Schema(
        tuple(sorted(FIELDS, key=lambda f: tuple(c.encode() for c in f[0])))
    ),
    "no fields at all": Spec({}),
    "an environment": Spec({"id": "CartPole-v1", "arguments": {"n": 3, "x": [1.5]}}),
    "a root": StateObject(A, (), B, b"row"),
    "a state": StateObject(A, (B,), None, b""),
    "a merge": StateObject(A, (C, B), None, b"row"),
    "an empty record": Run(),
    "a record": Run({"lr": 0.1, "net": {"layers": (64, 64)}}, A, B, 2**70, {"host": "x"}),
    "an attachment": Binding(A, "blob", B, "video.mp4"),
    "an attached array": Binding(A, "array", B, "é"),
    "an annotation": Tag(A, "v1", "the first", "me <me@x>", 1_700_000_000_000_000_000),
}
CHAINS: dict[str, list[dict[str, Any]]] = {
    "cart pole": [
        {"observation": np.array([0.1, 0, 0, 0], "<f4"), "info": {}, "reset": {"seed": 7}},
        {
            "observation": np.array([0.2, 0, 0, 1], "<f4"),
            "action": 1,
            "reward": 1.0,
            "terminated": False,
            "truncated": False,
            "info": {},
        },
        {
            "observation": np.array([0.3, 0, 0, 1], "<f4"),
            "action": 0,
            "reward": 1.0,
            "terminated": True,
            "truncated": False,
            "info": {"why": "fell"},
        },
        {
            "observation": np.array([0.1, 0, 0, 0], "<f4"),
            "info": {},
            "reset": {"seed": 2**70, "options": {"low": -0.05}},
        },
    ],
    "every natural type": [
        {
            "observation": {
                "none": None,
                "bool": True,
                "int": -5,
                "float": 0.5,
                "complex": 1j,
                "fixed": np.arange(4, dtype="<i2"),
                "scalar": np.uint8(3),
                "array": np.arange(300, dtype="|u1"),
                "map": {"é": 1, "B": 2, "a": 3},
                "tuple": (1, (2.5,)),
                "str": "é",
                "bytes": b"\0",
                "list": [1, 2],
                "big": 2**63,
                "date": np.datetime64(5, "ns"),
            },
            "message": "a remark",
        }
    ],
    "fields come and go": [
        {"info": {"a": 1}},
        {"info": {"b": "x"}},
        {"info": {}},
        {"action": 1},
        {"info": {"a": None}},
    ],
    "numbers widen": [{"action": v} for v in (True, 1, 2.5, 3, 2**53 + 1, 1j)],
    "numpy numbers widen": [
        {"action": v} for v in (np.uint8(200), np.int8(-1), np.zeros(2), np.int8(5))
    ],
    "integers and floats": [
        {"action": v} for v in (np.int16(5), np.int64(70000), np.float32(0.5), np.float64(0.1), 3)
    ],
    "shapes change": [{"observation": np.arange(n, dtype="<f4")} for n in (3, 3, 4, 100, 0)],
    "types change": [
        {"observation": v} for v in ("a", b"a", {"x": 1}, (1, 2), None.__class__.__name__)
    ],
    "containers change": [
        {"observation": v} for v in ({"x": {"y": 1}}, {"x": (1, 2)}, {"x": {"y": 2}}, {"z": 3})
    ],
    "keys that are no names": [
        {"info": {1: 2}},
        {"info": {"x" * 1001: 1}},
        {"info": {"x" * 1000: 1}},
    ],
    "floats by their bits": [{"reward": v} for v in (0.0, -0.0, math.nan, math.inf)],
    "values with forms": [
        {
            "info": {
                "a set": {2, 1, "b", datetime.date(2020, 1, 2)},
                "any keys": {None: 1, 1.5: {3}},
                "when": datetime.datetime(2020, 1, 2, 3, 4, 5, 6, datetime.UTC),
                "delay": datetime.timedelta(1, 2, 3),
                "exact": [decimal.Decimal("1.50"), fractions.Fraction(1, 3)],
                "half": "\ud800",
                "masked": np.ma.MaskedArray([1, 2], [False, True]),
                "rows": np.array([(1, 2.5)], [("a", "<i4"), ("b", "<f8")]),
                "objects": np.array([[1, "x"]], object),
            }
        },
        {"action": {"path": PurePosixPath("/a/b"), "range": range(3)}, "reward": np.ones(2, "<f4")},
        {"info": {}},
    ],
    "a map grows": [{"info": {f"k{i}": i for i in range(1024)}}, {"info": {"more": 1}}],
}


def describe(thing: Named | Schema) -> Any:
    """Return an object's content in the neutral form."""
    if isinstance(thing, Schema):
        return [
            {
                "path": list(path),
                "type": TYPE_NAMES[kind.code],
                **(
                    {"dtype": kind.dtype.str, "shape": list(kind.shape)}
                    if kind.dtype is not None
                    else {}
                ),
                **({"length": kind.length} if kind.code == 9 else {}),
            }
            for path, kind in thing.fields
        ]
    if isinstance(thing, Tree):
        entries = [[entry.name, entry.kind, entry.oid.hex()] for entry in thing.entries]
        return {"form": thing.form, "entries": entries}
    content = dict(vars(thing))
    content.pop("oid", None)
    content.pop("payload", None)
    return {
        key: value.hex()
        if isinstance(value, bytes)
        else [p.hex() for p in value]
        if key == "parents"
        else neutral(value)
        for key, value in content.items()
    }


def vector(kind: str, description: str, given: Any, payload: bytes, oid: Oid) -> dict[str, Any]:
    """Return one vector."""
    return {
        "kind": kind,
        "description": description,
        "input": given,
        "payload": payload.hex(),
        "oid": oid.hex(),
    }


def without_forms(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state with its plain values, and their forms if it has any."""
    fields = coerce_fields(**state)
    return fields if fields.keys() & {"forms", "rewards"} else state


def arguments(state: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``commit`` for a state, which may have plain values and forms."""
    given = {
        name: restored_field(name, value, state.get("forms", []))
        for name, value in state.items()
        if name not in ("forms", "rewards")
    }
    given |= {"reset": given["reset"] or True} if "reset" in given else {}
    return given | ({"reward": state["rewards"]} if "rewards" in state else {})


def chain(description: str, states: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the vector of a run of states."""
    out = []
    with Repository.init(":memory:") as repo:
        for state in states:
            oid = repo.commit(**arguments(state))
            found = repo.object(oid)
            schema = repo.state().schema
            out.append(
                {"schema": schema.payload.hex(), "payload": found.payload.hex(), "oid": oid.hex()}
            )
    return {
        "kind": "chain",
        "description": description,
        "input": [neutral(without_forms(s)) for s in states],
        "states": out,
    }


def make() -> list[dict[str, Any]]:
    """Return all vectors."""
    found = [
        vector("value", name, neutral(v), ValueObject(v).payload, ValueObject(v).oid)
        for name, v in VALUES.items()
    ]
    found += [
        vector("array", name, neutral(v), Array(v).payload, Array(v).oid)
        for name, v in ARRAYS.items()
    ]
    for name, thing in OBJECTS.items():
        kind = "schema" if isinstance(thing, Schema) else thing.kind
        found.append(vector(kind, name, describe(thing), thing.payload, thing.oid))
    return found + [chain(name, states) for name, states in CHAINS.items()]


def text() -> str:
    """Return the file's content: one vector a line."""
    lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in make())
    return f"[\n{lines}\n]\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
