"""NumPy arrays as bytes: dtype, shape and elements. See docs/object-format.md §3."""

from __future__ import annotations

import math
import re
import struct
import sys
from functools import lru_cache
from typing import Any, Final, TypeAlias

from simgit.errors import IntegrityError, InvalidInput
from simgit.objects.lazy_numpy import is_loaded, np

MAX_NDIM: Final = 32
_DTYPE: Final = (
    r"\|b1|\|[iu]1|<[iu][248]|<f[248]|<c(?:8|16)|<[mM]8(?:\[[0-9]*[A-Za-zμ]+\])?"
    r"|\|S[1-9][0-9]{0,8}|<U[1-9][0-9]{0,8}"
)

AnyArray: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


@lru_cache(maxsize=256)
def _is_known(dtype: str) -> bool:
    return re.fullmatch(_DTYPE, dtype) is not None


def is_arraylike(value: object) -> bool:
    """Return True for an array, a NumPy scalar, or an object with ``__array__`` or DLPack."""
    if is_loaded() and isinstance(value, (np.ndarray, np.generic)):
        return not isinstance(value, (np.str_, np.bytes_))
    return hasattr(value, "__array__") or hasattr(value, "__dlpack__")


def is_masked(array: object) -> bool:
    """Return True for a masked array; the class of these is not imported for the question."""
    return "numpy.ma" in sys.modules and isinstance(array, np.ma.MaskedArray)


def to_array(value: Any, path: str = "value") -> AnyArray:
    """Return ``value`` as an array of a storable dtype: native order converted, C order.

    Accepts anything with ``__array__`` or DLPack (torch, JAX); tensors are detached first.

    Raises:
        InvalidInput: its dtype cannot be stored.
    """
    array = value if isinstance(value, np.ndarray) else _import_array(value, path)
    dtype = storable_dtype(array.dtype, path)
    if array.ndim > MAX_NDIM:
        raise InvalidInput(
            f"{path}: an array can have {MAX_NDIM} dimensions at most, got {array.ndim}", path=path
        )
    if is_masked(array):
        raise InvalidInput(
            f"{path}: a masked array cannot be stored; fill it first with array.filled()", path=path
        )
    # order="C" and not ascontiguousarray, which makes 0-d arrays 1-d
    array = np.asarray(array, dtype=dtype, order="C")
    return _plain_bools(array) if dtype.kind == "b" else array


def _plain_bools(array: AnyArray) -> AnyArray:
    """Return booleans whose bytes are 0 or 1, which a view of other bytes need not have."""
    raw = array.view(np.uint8)
    return array if not raw.size or raw.max() <= 1 else raw != 0


def as_scalar(array: AnyArray) -> Any:
    """Return an array of shape () as the NumPy scalar that is written in the same way.

    Strings remain arrays: NumPy's scalars of them are Python's own strings and bytes.
    """
    return array if array.ndim or array.dtype.kind in "SU" else array[()]


def _import_array(value: Any, path: str) -> AnyArray:
    try:
        if hasattr(value, "detach"):
            value = value.detach()
        if hasattr(value, "cpu"):
            value = value.cpu()
        if hasattr(value, "__array__"):
            return np.asarray(value)
        return np.from_dlpack(value)
    except Exception as error:  # another library's code can raise anything
        raise InvalidInput(f"{path}: cannot convert to an array: {error}", path=path) from None


def storable_dtype(dtype: np.dtype[Any], path: str = "value") -> np.dtype[Any]:
    """Return the little-endian form of ``dtype``.

    Raises:
        InvalidInput: the dtype cannot be stored (object, structured, longdouble, empty strings).
    """
    little = dtype.newbyteorder("<")
    if dtype.hasobject or dtype.names or not _is_known(little.str):
        raise InvalidInput(f"{path}: dtype '{dtype}' cannot be stored", path=path)
    return little


def is_storable(array: Any) -> bool:
    """Return True for an array or NumPy scalar that is stored without a form."""
    try:
        return bool(storable_dtype(array.dtype)) and not is_masked(array)
    except InvalidInput:
        return False


@lru_cache(maxsize=256)
def dtype_from_text(text: str) -> np.dtype[Any]:
    """Parse a canonical dtype string.

    Raises:
        IntegrityError: it is not a dtype, or not in canonical form.
    """
    if not _is_known(text):
        raise IntegrityError(f"unknown dtype '{text}'")
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError):
        raise IntegrityError(f"unknown dtype '{text}'") from None
    if dtype.str != text:
        raise IntegrityError(f"dtype '{text}' is not in canonical form")
    return dtype


def array_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the bytes before the elements in an array's payload: dtype and shape."""
    name = dtype.str.encode()
    return struct.pack(f"<B{len(name)}sB{len(shape)}Q", len(name), name, len(shape), *shape)


def encode_array(array: AnyArray) -> bytes:
    """Return the payload of an array that ``to_array`` returned."""
    return array_header(array.dtype, array.shape) + array.tobytes()


def split_array(
    payload: bytes, length: int | None = None
) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return dtype, shape and the offset of the elements.

    Args:
        payload: an array's payload, or only the bytes before its elements.
        length: the length of the whole payload, if ``payload`` is not all of it.

    Raises:
        IntegrityError: the payload is malformed, or its length disagrees with its header.
    """
    length = len(payload) if length is None else length
    try:
        (size,) = struct.unpack_from("<B", payload)
        dtype = dtype_from_text(payload[1 : 1 + size].decode())
        (ndim,) = struct.unpack_from("<B", payload, 1 + size)
        if ndim > MAX_NDIM:
            raise IntegrityError(f"malformed array: {ndim} dimensions, but {MAX_NDIM} are the most")
        shape = struct.unpack_from(f"<{ndim}Q", payload, 2 + size)
    except (struct.error, UnicodeDecodeError):
        raise IntegrityError("malformed array: its header is truncated") from None
    offset = 2 + size + 8 * ndim
    if math.prod(shape) * dtype.itemsize != length - offset or max(shape, default=0) > 1 << 62:
        raise IntegrityError(
            f"malformed array: {dtype} {list(shape)} cannot have {length - offset} bytes"
        )
    return dtype, shape, offset


def decode_array(payload: bytes) -> AnyArray:
    """Return the array; it is read-only, since it shares the payload's memory.

    Raises:
        IntegrityError: see ``split_array``.
    """
    dtype, shape, offset = split_array(payload)
    count = math.prod(shape)
    try:
        if count == 0:
            return np.zeros(shape, dtype)
        flat = np.frombuffer(payload, dtype, count, offset)
        return flat.reshape(shape)
    except ValueError as error:
        raise IntegrityError(f"malformed array: {dtype} {list(shape)}: {error}") from None
