"""Groups of large arrays: each is stored as its difference to a prediction from the one before.

    group = header ‖ zstd(key frame ‖ difference ‖ difference …)

All arrays of a group have one dtype and shape. The predictor is chosen for each group: nothing,
the array before, or the array before moved by one along its first or last axis (frame stacks).
The difference is XOR, so that it is exact for every dtype; items wider than a byte are
byte-transposed, so that bytes which change alike stand together.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from simgit.errors import IntegrityError
from simgit.objects.arrays import MAX_NDIM, AnyArray, array_header, dtype_from_text
from simgit.objects.compression import compress, decompress
from simgit.objects.lazy_numpy import np

if TYPE_CHECKING:
    import numpy.typing as npt

GROUP_ARRAYS: Final = 128
GROUP_BYTES: Final = 16 << 20
"""The most raw bytes of a group (which holds one array in any case)."""
LEVEL: Final = 6
"""zstd's level: for frames that differ little, half the bytes of level 3 in a quarter more time."""
_PLAIN, _PREVIOUS, _FIRST_AXIS, _LAST_AXIS = range(4)
_HEAD: Final = struct.Struct("<HBBQ")  # arrays, predictor, contiguous steps, raw bytes of one
Bytes: TypeAlias = "npt.NDArray[np.uint8]"
Bytes2D: TypeAlias = "npt.NDArray[np.uint8]"


class ArrayGroup(NamedTuple):
    """The header of a group."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    predictor: int
    steps: npt.NDArray[np.int64]  # relative to the first
    start: int  # of the frame

    @property
    def nbytes(self) -> int:
        """The size of one array in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def group_size(nbytes: int) -> int:
    """Return the number of arrays of ``nbytes`` bytes that a group holds."""
    return max(1, min(GROUP_ARRAYS, GROUP_BYTES // max(nbytes, 1)))


def encode_group(arrays: list[AnyArray], steps: list[int], level: int = LEVEL) -> bytes:
    """Return the bytes of a group of arrays of one dtype and shape.

    Args:
        arrays: at most ``GROUP_ARRAYS``, at least one.
        steps: for each the step that has it, ascending.
        level: zstd's level.
    """
    dtype, shape = arrays[0].dtype, arrays[0].shape
    flat = [array.reshape(-1).view(np.uint8) for array in arrays]
    predictor = _choose(flat, dtype, shape)
    stack = _differences(flat, predictor, dtype, shape)
    relative = np.array(steps, np.int64) - steps[0]
    contiguous = bool((relative == np.arange(len(steps))).all())
    listed = b"" if contiguous else relative.astype("<u4").tobytes()
    head = _HEAD.pack(len(arrays), predictor, contiguous, stack.shape[1])
    return head + array_header(dtype, shape) + listed + compress(_interleave(stack, dtype), level)


def _items(dtype: np.dtype[Any]) -> int:
    return dtype.itemsize if dtype.itemsize in (2, 4, 8, 16) else 1


def _interleave(stack: Bytes2D, dtype: np.dtype[Any]) -> memoryview | bytes:
    size = _items(dtype)
    if size == 1:
        return stack.reshape(-1).data
    return stack.reshape(len(stack), -1, size).transpose(0, 2, 1).tobytes()


def _choose(flat: list[Bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Return the predictor that leaves the fewest bytes different, judged by the last two."""
    if len(flat) < 2:
        return _PLAIN
    before, after = flat[-2:]
    costs = {_PLAIN: np.count_nonzero(after) // 2}
    for predictor in _candidates(shape):
        costs[predictor] = np.count_nonzero(after != _predict(before, predictor, dtype, shape))
        if costs[predictor] * 16 < len(after):
            break  # good enough: the others cannot save much
    return min(costs, key=lambda each: (costs[each], each))


def _candidates(shape: tuple[int, ...]) -> list[int]:
    found = [_PREVIOUS]
    if len(shape) > 2 and 1 < shape[0] <= 16:
        found.append(_FIRST_AXIS)
    if len(shape) > 2 and 1 < shape[-1] <= 16:
        found.append(_LAST_AXIS)
    return found


def _predict(before: Any, predictor: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    """Return the prediction from one array's bytes."""
    if predictor == _PREVIOUS:
        return before
    pixels = before.reshape(*shape, dtype.itemsize)
    axis = 0 if predictor == _FIRST_AXIS else len(shape) - 1
    moved = np.concatenate(
        [pixels.take(range(1, shape[axis]), axis), pixels.take([-1], axis)], axis
    )
    return moved.reshape(-1)


def _differences(
    flat: list[Bytes], predictor: int, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> Bytes2D:
    """Return the first array, and for each other one its difference to the prediction."""
    if predictor == _PLAIN:
        return np.stack(flat)
    stack = np.empty((len(flat), len(flat[0])), np.uint8)
    stack[0] = flat[0]
    for i in range(1, len(flat)):
        # one pass, since large frames do not fit the processor's cache
        np.bitwise_xor(flat[i], _predict(flat[i - 1], predictor, dtype, shape), out=stack[i])
    return stack


def group_header(data: bytes) -> ArrayGroup:
    """Return the header of a group.

    Raises:
        IntegrityError: it is damaged.
    """
    try:
        count, predictor, contiguous, nbytes = _HEAD.unpack_from(data)
        at = _HEAD.size
        size = data[at]
        dtype = dtype_from_text(data[at + 1 : at + 1 + size].decode())
        ndim = data[at + 1 + size]
        at += 2 + size
        shape = struct.unpack_from(f"<{min(ndim, MAX_NDIM)}Q", data, at)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise IntegrityError("malformed group of arrays: truncated") from None
    at += 8 * len(shape)
    if (
        ndim > MAX_NDIM
        or not 0 < count <= GROUP_ARRAYS
        or math.prod(shape) * dtype.itemsize != nbytes
    ):
        raise IntegrityError("malformed group of arrays")
    if predictor > _LAST_AXIS or (predictor > _PREVIOUS and (len(shape) < 3 or not nbytes)):
        raise IntegrityError("malformed group of arrays: unknown predictor")
    steps = np.arange(count)
    if not contiguous:
        if len(data) < at + 4 * count:
            raise IntegrityError("malformed group of arrays")
        steps = np.frombuffer(data, "<u4", count, at).astype(np.int64)
        at += 4 * count
    return ArrayGroup(dtype, shape, predictor, steps, at)


def decode_group(data: bytes, upto: int | None = None) -> AnyArray:
    """Return the arrays of a group, stacked; those after the ``upto``-th may be wrong.

    Raises:
        IntegrityError: the group is damaged.
    """
    group = group_header(data)
    count, nbytes = len(group.steps), math.prod(group.shape) * group.dtype.itemsize
    raw = decompress(data[group.start :], count * nbytes)
    size = _items(group.dtype)
    flat = np.frombuffer(raw, np.uint8)
    if size > 1:
        flat = flat.reshape(count, size, -1).transpose(0, 2, 1)
    stack = np.ascontiguousarray(flat).reshape(count, nbytes)
    if group.predictor != _PLAIN:
        stack = stack if stack.flags.writeable else stack.copy()
        for i in range(1, count if upto is None else upto + 1):
            predicted = _predict(stack[i - 1], group.predictor, group.dtype, group.shape)
            np.bitwise_xor(stack[i], predicted, out=stack[i])
    return stack.view(group.dtype).reshape(count, *group.shape)


def unstack(stack: AnyArray) -> list[AnyArray]:
    """Return the arrays of a stack, as arrays also where their shape is ()."""
    return [stack[i, ...] for i in range(len(stack))]
