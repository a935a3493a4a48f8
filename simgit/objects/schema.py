"""Schemas: the named, typed fields of a state's row, and how they follow from values.

Everything here works on coerced values (see ``coerce``). Source: docs/object-format.md §5.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from functools import cache, cached_property
from typing import Any, Final, NamedTuple

from simgit.errors import IntegrityError
from simgit.objects.arrays import MAX_NDIM, AnyArray, dtype_from_text
from simgit.objects.lazy_numpy import np
from simgit.objects.oid import Oid, hash_object

NONE, BOOL, INT, FLOAT, COMPLEX, FIXED, ARRAY, TREE, MAP, TUPLE, STR, BYTES, VALUE = range(13)
_NAMES = "none bool int float complex fixed array tree map tuple str bytes value"
TYPE_NAMES: Final = tuple(_NAMES.split(" "))
FIXED_LIMIT: Final = 256
"""The size in bytes from which on an array stands in the row as its oid."""
MAX_FIELDS: Final = 1024
MAX_NESTING: Final = 16
MAX_KEY: Final = 1000
"""The longest key, in bytes, of a map of fields; a dict with a longer one is a value."""
MAX_EXTENT: Final = 1 << 31
"""The bound of the product of a fixed field's dimensions, zeros left out."""
RESERVED: Final = {
    "reward": FLOAT,
    "terminated": BOOL,
    "truncated": BOOL,
    "files": TREE,
    "message": STR,
}
"""The top-level fields that have one type from the start."""

Path = tuple[str, ...]

_WIDTHS: Final = {BOOL: 1, INT: 8, FLOAT: 8, COMPLEX: 16, ARRAY: 32, TREE: 32}
_PYTHON_DTYPES: Final = {BOOL: "|b1", INT: "<i8", FLOAT: "<f8", COMPLEX: "<c16"}
_KIND_RANKS: Final = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


@cache
def _python_dtype(code: int) -> np.dtype[Any] | None:
    return np.dtype(_PYTHON_DTYPES[code]) if code in _PYTHON_DTYPES else None


class FieldType(NamedTuple):
    """The type of one field: a code, and the dtype, shape or length that it needs."""

    code: int
    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] = ()
    length: int = 0

    @property
    def width(self) -> int:
        """The field's bytes in the fixed part of a row."""
        if self.code == FIXED:
            assert self.dtype is not None
            return math.prod(self.shape) * self.dtype.itemsize
        return _WIDTHS.get(self.code, 0)

    @property
    def variable(self) -> bool:
        """True if the field lies in the variable part of a row."""
        return self.code >= STR

    @property
    def storage_dtype(self) -> np.dtype[Any] | None:
        """The dtype of the elements, for the types that are numbers."""
        return self.dtype if self.code == FIXED else _python_dtype(self.code)

    def rank(self) -> tuple[int, int] | None:
        """The order among numeric types, None for others."""
        dtype = self.storage_dtype
        if dtype is None or dtype.kind not in _KIND_RANKS:
            return None
        return _KIND_RANKS[dtype.kind], dtype.itemsize

    def __str__(self) -> str:
        if self.code == FIXED:
            return f"{self.dtype}{list(self.shape)}" if self.shape else str(self.dtype)
        return f"tuple{self.length}" if self.code == TUPLE else TYPE_NAMES[self.code]


class FieldNode:
    """A field with those below it, while a schema is derived."""

    __slots__ = ("children", "type")

    def __init__(self, type: FieldType, children: dict[str, FieldNode] | None = None) -> None:
        self.type = type
        self.children = {} if children is None else children

    def size(self) -> int:
        """Return the number of fields, this one included."""
        return 1 + sum(child.size() for child in self.children.values())


class Schema:
    """The ordered fields of a row. Equal schemas have equal oids."""

    def __init__(self, fields: tuple[tuple[Path, FieldType], ...] = ()) -> None:
        self.fields: Final = fields

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(self.fields)

    def __repr__(self) -> str:
        return f"Schema({self.fields!r})"

    @cached_property
    def payload(self) -> bytes:
        """The schema's encoding."""
        parts = [struct.pack("<H", len(self.fields))]
        for path, kind in self.fields:
            parts.append(struct.pack("<B", len(path)))
            for component in path:
                name = component.encode()
                parts.append(struct.pack("<H", len(name)) + name)
            parts.append(_encode_type(kind))
        return b"".join(parts)

    @cached_property
    def oid(self) -> Oid:
        """The schema's hash."""
        return hash_object("schema", self.payload)

    @cached_property
    def root(self) -> FieldNode:
        """The fields as a tree; treat it as read-only."""
        root = FieldNode(FieldType(MAP))
        for path, kind in self.fields:
            node = root
            for component in path[:-1]:
                node = node.children[component]
            node.children[path[-1]] = FieldNode(kind)
        return root

    @cached_property
    def presence_size(self) -> int:
        """The number of bytes of the presence bits."""
        return (len(self.fields) + 7) // 8

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """The offset of each field's fixed bytes in the row."""
        offsets, at = [], self.presence_size
        for _, kind in self.fields:
            offsets.append(at)
            at += kind.width
        return tuple(offsets)

    @cached_property
    def fixed_size(self) -> int:
        """The number of bytes of presence bits and fixed part together."""
        return self.presence_size + sum(kind.width for _, kind in self.fields)

    @cached_property
    def variable(self) -> tuple[int, ...]:
        """The indices of the variable fields."""
        return tuple(i for i, (_, kind) in enumerate(self.fields) if kind.variable)

    @cached_property
    def arrays(self) -> tuple[int, ...]:
        """The indices of the fields that hold the oid of an array."""
        return tuple(i for i, (_, kind) in enumerate(self.fields) if kind.code == ARRAY)

    @cached_property
    def index(self) -> dict[Path, int]:
        """Path to index."""
        return {path: i for i, (path, _) in enumerate(self.fields)}

    def extended(self, value: dict[str, Any]) -> Schema:
        """Return the schema of a state with this coerced value whose parent has this schema."""
        children = dict(self.root.children)
        if "files" in value:
            children["files"] = FieldNode(FieldType(TREE))  # an oid, not just bytes
        root = _join(FieldNode(FieldType(MAP), children), value)
        for name, child in root.children.items():
            if child.size() > MAX_FIELDS + 1:
                root.children[name] = FieldNode(FieldType(VALUE))
        fields = tuple(sorted(_flatten(root, ()), key=lambda item: _path_key(item[0])))
        return self if fields == self.fields else Schema(fields)

    @classmethod
    def decode(cls, payload: bytes) -> Schema:
        """Return the schema that ``payload`` encodes.

        Raises:
            IntegrityError: it is malformed, or not in canonical form.
        """
        try:
            fields = tuple(_decode_fields(payload))
        except (struct.error, UnicodeDecodeError, IndexError):
            raise IntegrityError("malformed schema: truncated or not UTF-8") from None
        schema = cls(fields)
        _check_fields(fields)
        if schema.payload != payload:
            raise IntegrityError("malformed schema: not in canonical form")
        return schema


def may_have(payload: bytes, name: str) -> bool:
    """Return False if the schema that ``payload`` encodes has no such top-level field.

    It is not decoded, and so True may be wrong: the bytes may stand within a longer name.
    """
    return struct.pack("<BH", 1, len(name.encode())) + name.encode() in payload


def _path_key(path: Path) -> tuple[bytes, ...]:
    return tuple(component.encode() for component in path)


def _flatten(node: FieldNode, prefix: Path) -> Iterator[tuple[Path, FieldType]]:
    for name, child in node.children.items():
        path = (*prefix, name)
        yield path, child.type
        yield from _flatten(child, path)


def _encode_type(kind: FieldType) -> bytes:
    if kind.code == FIXED:
        assert kind.dtype is not None
        name = kind.dtype.str.encode()
        head = struct.pack("<BB", FIXED, len(name)) + name
        return head + struct.pack(f"<B{len(kind.shape)}I", len(kind.shape), *kind.shape)
    if kind.code == TUPLE:
        return struct.pack("<BB", TUPLE, kind.length)
    return struct.pack("<B", kind.code)


def _decode_fields(payload: bytes) -> Iterator[tuple[Path, FieldType]]:
    (count,) = struct.unpack_from("<H", payload)
    at = 2
    for _ in range(count):
        components = payload[at]
        at += 1
        path = []
        for _ in range(components):
            (size,) = struct.unpack_from("<H", payload, at)
            path.append(payload[at + 2 : at + 2 + size].decode())
            at += 2 + size
        kind, at = _decode_type(payload, at)
        yield tuple(path), kind


def _decode_type(payload: bytes, at: int) -> tuple[FieldType, int]:
    code = payload[at]
    at += 1
    if code == TUPLE:
        return FieldType(TUPLE, length=payload[at]), at + 1
    if code != FIXED:
        if code > VALUE:
            raise IntegrityError(f"malformed schema: unknown type {code} of a field")
        return FieldType(code), at
    size = payload[at]
    dtype = dtype_from_text(payload[at + 1 : at + 1 + size].decode())
    at += 1 + size
    ndim = payload[at]
    shape = struct.unpack_from(f"<{ndim}I", payload, at + 1)
    kind = FieldType(FIXED, dtype, shape)
    if ndim > MAX_NDIM or kind.width >= FIXED_LIMIT or _extent(shape) >= MAX_EXTENT:
        raise IntegrityError("malformed schema: a fixed field is too wide")
    return kind, at + 1 + 4 * ndim


def _check_fields(fields: tuple[tuple[Path, FieldType], ...]) -> None:
    """Check order, uniqueness, and that every field's parent can have it."""
    keys = [_path_key(path) for path, _ in fields]
    if any(a >= b for a, b in itertools.pairwise(keys)):
        raise IntegrityError("malformed schema: its fields are out of order")
    types: dict[Path, FieldType] = dict(fields)
    for path, _ in fields:
        if not path:
            raise IntegrityError("malformed schema: a field has no name")
        above = types.get(path[:-1]) if len(path) > 1 else FieldType(MAP)
        if above is None or above.code not in (MAP, TUPLE):
            raise IntegrityError(
                f"malformed schema: field '{'.'.join(path)}' lies in no map or tuple"
            )
        if above.code == TUPLE and path[-1] not in {str(i) for i in range(above.length)}:
            raise IntegrityError(
                f"malformed schema: field '{'.'.join(path)}' is not an element of its tuple"
            )


def natural(value: Any) -> FieldNode:
    """Return the natural type of a coerced value, with the fields below it (§5.1)."""
    node = _natural(value, 0, [MAX_FIELDS])
    return FieldNode(FieldType(VALUE)) if node is None else node


def _natural(value: Any, depth: int, room: list[int]) -> FieldNode | None:
    """Return the natural type; None where it would have too many fields or nest too deep."""
    room[0] -= 1
    if room[0] < -1 or depth > MAX_NESTING:
        return None
    if _is_map(value):
        return _natural_container(FieldType(MAP), value, depth, room)
    if type(value) is tuple and len(value) < 256:
        elements = {str(i): item for i, item in enumerate(value)}
        return _natural_container(FieldType(TUPLE, length=len(value)), elements, depth, room)
    return FieldNode(leaf_type(value))


def _is_map(value: Any) -> bool:
    """Return True for a dict whose entries are fields."""
    return type(value) is dict and all(
        type(key) is str and len(key) <= MAX_KEY and len(key.encode()) <= MAX_KEY for key in value
    )


def _extent(shape: tuple[int, ...]) -> int:
    return math.prod(size for size in shape if size)


def _natural_container(
    kind: FieldType, items: dict[str, Any], depth: int, room: list[int]
) -> FieldNode | None:
    node = FieldNode(kind)
    for name, item in items.items():
        child = _natural(item, depth + 1, room)
        if child is None:
            return None
        node.children[name] = child
    return node


_LEAVES: Final = {
    type(None): NONE,
    bool: BOOL,
    float: FLOAT,
    complex: COMPLEX,
    str: STR,
    bytes: BYTES,
}


def leaf_type(value: Any) -> FieldType:
    """Return the natural type of a coerced value that is not flattened."""
    kind = type(value)
    if kind in _LEAVES:
        return FieldType(_LEAVES[kind])
    if kind is int:
        return FieldType(INT if -(1 << 63) <= value < 1 << 63 else VALUE)
    if isinstance(value, (np.ndarray, np.generic)):
        if value.nbytes >= FIXED_LIMIT or _extent(value.shape) >= MAX_EXTENT:
            return FieldType(ARRAY)
        return FieldType(FIXED, value.dtype, value.shape)
    return FieldType(VALUE)


def exact_cast(array: AnyArray, dtype: np.dtype[Any]) -> AnyArray | None:
    """Return ``array`` in ``dtype`` if casting back gives the same bits, else None."""
    if array.dtype == dtype:
        return array
    source, target = array.dtype.kind, dtype.kind
    integers = source in "iu"
    if not ((integers and target in "iuf") or (source == target and source in "fc")):
        return None
    with np.errstate(all="ignore"):
        out = array.astype(dtype)
        if integers and target == "f":
            # converting an out-of-range float to an integer gives other values on other machines
            bits = 8 * array.dtype.itemsize - (source == "i")
            if not np.isfinite(out).all() or (out.astype("<f8") >= 2.0**bits).any():
                return None
        back = out.astype(array.dtype)
    if integers and target in "iu" and ((out < 0) != (array < 0)).any():
        return None  # -1 and 255 have the same bits
    return out if back.tobytes() == array.tobytes() else None


def as_numeric(value: Any) -> AnyArray | None:
    """Return a number, NumPy scalar or array as an array, None for anything else."""
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    code = _LEAVES.get(type(value))
    if type(value) is int and -(1 << 63) <= value < 1 << 63:
        code = INT
    dtype = None if code is None else _python_dtype(code)
    return None if dtype is None else np.asarray(value, dtype)


def fits(kind: FieldType, value: Any) -> bool:
    """Return True if a coerced value fits a field (§5.2)."""
    code = kind.code
    if code == VALUE:
        return True
    if code == ARRAY:
        return isinstance(value, (np.ndarray, np.generic))
    if code == MAP:
        return _is_map(value)
    if code == TUPLE:
        return type(value) is tuple and len(value) == kind.length
    if code in (NONE, STR, BYTES):
        return _LEAVES.get(type(value)) == code
    if code == TREE:
        return isinstance(value, bytes) and len(value) == 32
    return _fits_number(kind, value)


def _fits_number(kind: FieldType, value: Any) -> bool:
    array = as_numeric(value)
    dtype = kind.storage_dtype
    if array is None or dtype is None or array.shape != kind.shape:
        return False
    return exact_cast(array, dtype) is not None


def _join(node: FieldNode | None, value: Any) -> FieldNode:
    """Return the type of a field after it meets a coerced value (§5.2)."""
    if node is None:
        return natural(value)
    if fits(node.type, value):
        return _join_below(node, value)
    wanted = natural(value)
    have, want = node.type.rank(), wanted.type.rank()
    same_shape = node.type.shape == wanted.type.shape
    if have is not None and want is not None and same_shape and want > have:
        return wanted
    if {node.type.code, wanted.type.code} <= {FIXED, ARRAY}:
        return FieldNode(FieldType(ARRAY))
    return FieldNode(FieldType(VALUE))


def _join_below(node: FieldNode, value: Any) -> FieldNode:
    if node.type.code == MAP:
        items = value
    elif node.type.code == TUPLE:
        items = {str(i): item for i, item in enumerate(value)}
    else:
        return node
    children = dict(node.children)
    for name, item in items.items():
        children[name] = _join(children.get(name), item)
    return FieldNode(node.type, children)
