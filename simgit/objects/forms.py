"""Values without an encoding of their own, as plain values and a form. See object-format.md §6.1.

A *form* says what a plain value was: ``[path, name]`` or ``[path, name, parameter]``. The forms of
a state lie beside its values, in a field of their own, so that no value can be taken for another.
"""

from __future__ import annotations

import dataclasses
import datetime as dates
import enum
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any, Final
from zoneinfo import ZoneInfo

from simgit.objects.arrays import AnyArray, is_masked
from simgit.objects.lazy_numpy import np

Form = tuple[str, Any, Any]
"""The name of a form, its parameter (None without one), and the plain value."""

_DATES: Final = (dates.datetime, dates.date, dates.time)
_LONG: Final = ("longdouble", "clongdouble")


def form_of(value: Any) -> Form | None:
    """Return the form of a value that has no encoding, None if it has no form either.

    The plain value may hold values without an encoding in turn.
    """
    library = type(value).__module__.partition(".")[0]
    if isinstance(value, enum.Flag):
        return "flag", _class_name(value), value.value
    if isinstance(value, enum.Enum):
        return "enum", _class_name(value), value.name
    if library == "pandas":
        return _form_of_pandas(value)
    for kind, make in _FORMS:
        if isinstance(value, kind):
            return make(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return "dataclass", _class_name(value), {name: getattr(value, name) for name in names}
    if library == "torch" and hasattr(value, "detach"):
        return _form_of_tensor(value)
    if hasattr(value, "__array__"):
        return _form_of_array(np.asanyarray(value))
    return None


def _class_name(value: Any) -> str:
    return f"{type(value).__module__}:{type(value).__qualname__}"


# --- dates ---------------------------------------------------------------------------------------


def _form_of_date(value: Any) -> Form | None:
    """Return a date, time or datetime as ISO 8601, with the zone's name and the fold after it."""
    name = next(kind.__name__ for kind in _DATES if isinstance(value, kind))
    text = getattr(dates, name).isoformat(value)
    zone = getattr(value, "tzinfo", None)
    if isinstance(zone, ZoneInfo) and zone.key:
        text += f"[{zone.key}]"
    elif zone is not None and value.utcoffset() is None:
        return None
    if getattr(value, "fold", 0):
        text += "[fold]"
    return name, None, text


def _date(name: str) -> Callable[[Any, Any], Any]:
    def decode(text: Any, _: Any) -> Any:
        text, *marks = text.replace("]", "").split("[")
        value = getattr(dates, name).fromisoformat(text)
        zone = next((mark for mark in marks if mark != "fold"), None)
        if zone is not None:
            value = value.replace(tzinfo=ZoneInfo(zone))
        return value.replace(fold=1) if "fold" in marks else value

    return decode


def _form_of_pandas(value: Any) -> Form | None:
    for convert in ("to_datetime64", "to_timedelta64"):
        if hasattr(value, convert) and getattr(value, "tzinfo", None) is None:
            return "pandas", type(value).__name__, getattr(value, convert)()
    if isinstance(value, dates.datetime) and not getattr(value, "nanosecond", 0):
        return _form_of_date(value)
    return _form_of_array(np.asarray(value)) if hasattr(value, "__array__") else None


def _microseconds(value: dates.timedelta) -> int:
    return (value.days * 86400 + value.seconds) * 10**6 + value.microseconds


# --- paths ---------------------------------------------------------------------------------------


def _form_of_path(value: PurePath) -> Form:
    name = "windows path" if isinstance(value, PureWindowsPath) else "path"
    return name, None, str(value)


def _path(value: Any, _: Any) -> PurePath:
    return Path(value) if isinstance(Path(), PurePosixPath) else PurePosixPath(value)


def _windows_path(value: Any, _: Any) -> PurePath:
    return Path(value) if isinstance(Path(), PureWindowsPath) else PureWindowsPath(value)


# --- arrays --------------------------------------------------------------------------------------


def _form_of_array(value: Any) -> Form | None:
    """Return the form of an array or NumPy scalar whose dtype has no encoding."""
    if is_masked(value):
        return "masked", None, {"data": value.data, "mask": np.ma.getmaskarray(value)}
    array = np.asarray(value)
    dtype, shape = array.dtype, list(array.shape)
    if dtype.names:
        return "structured", shape, {name: np.asarray(array[name]) for name in dtype.names}
    if dtype.hasobject or dtype.kind == "T":
        return "object", shape, [*array.reshape(-1).tolist()]
    if dtype.type in (np.longdouble, np.clongdouble) and dtype.itemsize:
        return _form_of_long(array)
    if dtype.type is np.void and dtype.itemsize:
        return "void", dtype.itemsize, _bytes_of(array)
    if dtype.kind in "US" and not dtype.itemsize:
        return "text", f"{dtype.kind}0", np.zeros(array.shape, f"{dtype.kind}1")
    if dtype.itemsize in (1, 2, 4, 8) and dtype.isbuiltin == 2:
        return (
            "bits",
            dtype.name,
            np.ascontiguousarray(array).view(f"<u{dtype.itemsize}").reshape(shape),
        )
    return None


def _bytes_of(array: AnyArray) -> AnyArray:
    """Return the bytes of the elements, in a further axis."""
    raw = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
    return raw.reshape(*array.shape, array.dtype.itemsize)


def _form_of_long(array: AnyArray) -> Form:
    """Return an array of longdouble by its bytes; those that hold nothing are 0."""
    name = next(name for name in _LONG if array.dtype.type is getattr(np, name))
    raw = _bytes_of(array.astype(array.dtype.newbyteorder("="))).copy()
    bits = np.finfo(np.longdouble).nmant
    if bits == 63:  # of x87: 10 bytes of 12 or 16
        size = np.dtype(np.longdouble).itemsize
        raw.reshape(-1, size)[:, 10:] = 0
    return "longdouble", f"{name} of {sys.byteorder} endian, {bits} bits", raw


def _longdouble(value: Any, parameter: Any) -> Any:
    name = parameter.partition(" ")[0]
    bits = np.finfo(np.longdouble).nmant
    if parameter != f"{name} of {sys.byteorder} endian, {bits} bits":
        return value
    raw = np.ascontiguousarray(value, np.uint8)
    kind = {"longdouble": np.longdouble, "clongdouble": np.clongdouble}[name]
    return raw.view(kind).reshape(raw.shape[:-1])[()]


def _form_of_tensor(value: Any) -> Form | None:
    """Return the bits of a tensor of a dtype that NumPy does not have."""
    torch = sys.modules["torch"]
    name = str(value.dtype).removeprefix("torch.")
    plain = value.detach().cpu()
    if plain.is_sparse or plain.is_quantized:
        return None
    plain = plain.resolve_conj().resolve_neg().contiguous()
    try:
        return _form_of_array(plain.numpy()) or ("tensor", None, plain.numpy())
    except TypeError:
        raw = plain.reshape(-1).view(torch.uint8).numpy()
    size = plain.element_size()
    if size not in (1, 2, 4, 8):
        return None
    return "bits", name, raw.view(f"<u{size}").reshape(plain.shape)


def _bits(value: Any, name: Any) -> Any:
    """Return numbers of a dtype of ml_dtypes, if that is loaded; bfloat16 else as float32."""
    kinds = vars(sys.modules["ml_dtypes"]) if "ml_dtypes" in sys.modules else {}
    if isinstance(kinds.get(name), type):
        kind = np.dtype(kinds[name])
        # a column of other numbers may have widened the integers
        return np.asarray(value).astype(f"<u{kind.itemsize}").view(kind)[()]
    if name == "bfloat16":
        return (np.asarray(value).astype("<u4") << np.uint32(16)).view("<f4")[()]
    return value


def _structured(value: Any, shape: Any) -> Any:
    parts = {name: np.asarray(each) for name, each in value.items()}
    fields = [(name, each.dtype, each.shape[len(shape) :]) for name, each in parts.items()]
    array = np.empty(tuple(shape), fields)
    for name, each in parts.items():
        array[name] = each
    return array[()]


def _object(value: Any, shape: Any) -> Any:
    array = np.empty(len(value), object)
    for i, each in enumerate(value):
        array[i] = each
    return array.reshape(tuple(shape))


def _void(value: Any, size: Any) -> Any:
    raw = np.ascontiguousarray(value, np.uint8)
    return raw.view(f"V{size}").reshape(raw.shape[:-1])[()]


# --- and back ------------------------------------------------------------------------------------


def _loaded_class(name: str) -> Any:
    """Return a class of a module that is loaded already: nothing is imported or called."""
    module, _, path = name.partition(":")
    found: Any = sys.modules[module]
    for part in path.split("."):
        found = vars(found)[part]
    return found


def _enum(name: Any, kind: Any) -> Any:
    found = _loaded_class(kind)
    return found.__members__[name] if isinstance(found, enum.EnumMeta) else name


def _flag(value: Any, kind: Any) -> Any:
    found = _loaded_class(kind)
    is_plain = isinstance(found, enum.EnumMeta) and issubclass(found, enum.Flag)
    if not is_plain or found._missing_.__func__ is not enum.Flag._missing_.__func__:  # type: ignore[attr-defined]
        return value
    return found(value)


def _pandas(value: Any, name: Any) -> Any:
    is_known = name in ("Timestamp", "Timedelta") and "pandas" in sys.modules
    return getattr(sys.modules["pandas"], name)(value) if is_known else value


_FORMS: Final[tuple[tuple[type, Callable[[Any], Form | None]], ...]] = (
    (str, lambda value: ("text", None, value.encode("utf-8", "surrogatepass"))),
    (deque, lambda value: ("deque", value.maxlen, list(value))),
    (range, lambda value: ("range", None, [value.start, value.stop, value.step])),
    (slice, lambda value: ("slice", None, [value.start, value.stop, value.step])),
    (dates.date, _form_of_date),
    (dates.time, _form_of_date),
    (dates.timedelta, lambda value: ("timedelta", None, _microseconds(value))),
    (PurePath, _form_of_path),
    (Decimal, lambda value: ("decimal", None, str(value))),
    (Fraction, lambda value: ("fraction", None, [value.numerator, value.denominator])),
    (uuid.UUID, lambda value: ("uuid", None, str(value))),
    (SimpleNamespace, lambda value: ("namespace", None, vars(value))),
)

_RESTORE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "text": lambda value, _: value.decode("utf-8", "surrogatepass"),
    "set": lambda value, _: set(value),
    "frozenset": lambda value, _: frozenset(value),
    "deque": deque,
    "range": lambda value, _: range(*map(int, value)),
    "slice": lambda value, _: slice(*value),
    "map": lambda value, more: value | dict(map(tuple, restored(*more))),
    "date": _date("date"),
    "datetime": _date("datetime"),
    "time": _date("time"),
    "timedelta": lambda value, _: dates.timedelta(microseconds=int(value)),
    "path": _path,
    "windows path": _windows_path,
    "decimal": lambda value, _: Decimal(value),
    "fraction": lambda value, _: Fraction(*map(int, value)),
    "uuid": lambda value, _: uuid.UUID(value),
    "namespace": lambda value, _: SimpleNamespace(**value),
    "enum": _enum,
    "flag": _flag,
    "pandas": _pandas,
    "masked": lambda value, _: np.ma.MaskedArray(value["data"], value["mask"]),
    "structured": _structured,
    "object": _object,
    "void": _void,
    "longdouble": _longdouble,
    "bits": _bits,
}
"""What makes the value again; other forms (``dataclass``, unknown ones) leave it plain."""


def restored(value: Any, forms: Iterable[Sequence[Any]]) -> Any:
    """Return a plain value as what it was, where that is safe; else as it is.

    Nothing is imported, and no class of a user is called.

    Args:
        value: the plain value, which is not changed.
        forms: its forms, the paths below it.
    """
    own: list[Sequence[Any]] = []
    below: dict[Any, list[Any]] = {}
    for path, *form in forms:
        if path:
            below.setdefault(path[0], []).append([path[1:], *form])
        else:
            own.append(form)
    if isinstance(value, dict):
        value = {k: restored(v, below[k]) if k in below else v for k, v in value.items()}
    elif isinstance(value, (list, tuple)) and below:
        items = [restored(v, below[i]) if i in below else v for i, v in enumerate(value)]
        value = items if isinstance(value, list) else tuple(items)
    for name, *parameter in reversed(own):
        try:
            value = _RESTORE[name](value, parameter[0] if parameter else None)
        except Exception:  # a form that does not fit, of another version or a stranger
            continue
    return value


def restored_field(name: str, value: Any, forms: Any) -> Any:
    """Return a top-level field of a state with the forms of the state."""
    listed = forms if isinstance(forms, list) else []
    own = [
        [each[0][1:], *each[1:]]
        for each in listed
        if isinstance(each, list)
        and len(each) in (2, 3)
        and isinstance(each[0], list)
        and each[0][:1] == [name]
        and isinstance(each[1], str)
        and all(isinstance(part, (str, bytes, int)) for part in each[0])
    ]
    return restored(value, own) if own else value
