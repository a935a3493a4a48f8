"""HDF5 files by h5py: nested arrays, and files of strangers read with care.

An HDF5 file can name other files (external links, external storage, virtual data sets), and declare
sizes that it does not have. Neither is followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from simgit.datasets.packages import needed
from simgit.errors import IntegrityError

_MOST: Final = 2 << 30
"""The most bytes of one data set."""
_FREE: Final = 16 << 20
_RATIO: Final = 1000
"""How many times its stored bytes a larger data set may be."""
_LARGE: Final = 4096
"""The bytes from which on a data set is compressed."""
_DEPTH: Final = 16


def write_nested(group: Any, name: str, data: Any) -> None:
    """Write arrays under a name: a dict or tuple becomes a group, texts an array of strings."""
    h5py = needed("h5py", "HDF5")
    if isinstance(data, (dict, tuple)):
        inner = group.create_group(name, track_order=True)
        pairs = data.items() if isinstance(data, dict) else enumerate(data)
        for key, each in pairs:
            write_nested(inner, str(key) if isinstance(data, dict) else f"_index_{key}", each)
        return
    if isinstance(data, list):
        kind = h5py.string_dtype(encoding="utf-8")
        group.create_dataset(name, data=data, dtype=kind)
        return
    array = np.ascontiguousarray(data)
    if array.nbytes >= _LARGE:
        group.create_dataset(
            name, data=array, chunks=True, compression="gzip", compression_opts=1, shuffle=True
        )
    else:  # by the lower level, which takes a fifth of the time: episodes may be short and many
        kind = h5py.h5t.py_create(array.dtype, logical=True)
        made = h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create_simple(array.shape))
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, array)


def write_number(group: Any, name: str, value: int) -> None:
    """Write an integer as an attribute."""
    h5py = needed("h5py", "HDF5")
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    made = h5py.h5a.create(group.id, name.encode(), h5py.h5t.NATIVE_INT64, space)
    made.write(np.array(value, np.int64))


_ERRORS: Final = (
    OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, MemoryError,
    OverflowError, NotImplementedError,
)  # fmt: skip
"""What h5py raises where a file is damaged."""


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """Raise h5py's errors as simgit's."""
    try:
        yield
    except _ERRORS as error:
        raise IntegrityError(f"{what}: {error or type(error).__name__}") from None


class Hdf5Reader:
    """A file of a stranger, open for reading."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            IntegrityError: it is not an HDF5 file, or a link.
        """
        if path.is_symlink() or not path.is_file():
            raise IntegrityError(f"'{path.name}' is missing, or not a regular file")
        self._h5py = needed("h5py", "HDF5")
        with _damage(f"'{path.name}' is not an HDF5 file, or damaged"):
            self._file = self._h5py.File(path, "r")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(*_ERRORS):  # of a damaged file
            self._file.close()

    def names(self, group: Any = None) -> list[str]:
        """Return the names in a group, or in the root.

        Raises:
            IntegrityError: they are damaged.
        """
        with _damage("malformed HDF5 file"):
            return [str(each) for each in (self._file if group is None else group)]

    def group(self, name: str) -> Any:
        """Return a group of the root.

        Raises:
            IntegrityError: there is none.
        """
        found = self._member(self._file, name)
        if not isinstance(found, self._h5py.Group):
            raise IntegrityError(f"malformed HDF5 file: group '{name}' is missing")
        return found

    def number(self, group: Any, name: str) -> int | None:
        """Return an attribute that is an integer, None if there is none.

        Raises:
            IntegrityError: it is damaged.
        """
        with _damage(f"malformed HDF5 file: '{name}'"):
            found = group.attrs.get(name)
            return int(found) if isinstance(found, (int, np.integer)) else None

    def read(self, group: Any, name: str, depth: int = 0) -> Any:
        """Return a data set, or a group as a dict of what is in it; texts are a list.

        Raises:
            IntegrityError: it leads out of the file, is larger than its bytes allow, or is of a
                kind that is not data.
        """
        found = self._member(group, name)
        if isinstance(found, self._h5py.Group):
            if depth > _DEPTH:
                raise IntegrityError("malformed HDF5 file: groups are nested too deep")
            return {key: self.read(found, key, depth + 1) for key in self.names(found)}
        if not isinstance(found, self._h5py.Dataset):
            raise IntegrityError(f"malformed HDF5 file: '{name}' is not data")
        return self._data(found, name)

    def _member(self, group: Any, name: str) -> Any:
        with _damage(f"malformed HDF5 file: '{name}'"):
            link = group.get(name, getlink=True)
            if not isinstance(link, self._h5py.HardLink):
                raise IntegrityError(f"malformed HDF5 file: '{name}' is missing, or a link")
            return group[name]

    def _data(self, found: Any, name: str) -> Any:
        with _damage(f"malformed HDF5 file: '{name}'"):
            if found.is_virtual or found.external:
                raise IntegrityError(f"malformed HDF5 file: '{name}' lies in another file")
            stored = found.id.get_storage_size()
            if found.nbytes > _MOST or found.nbytes > max(_FREE, _RATIO * stored):
                raise IntegrityError(f"malformed HDF5 file: '{name}' is too large for its bytes")
            if found.dtype.kind == "O":
                return self._texts(found, name)
            if found.dtype.kind not in "biufcS":
                raise IntegrityError(f"malformed HDF5 file: '{name}' has data of {found.dtype}")
            return found[()]

    def _texts(self, found: Any, name: str) -> list[Any]:
        if self._h5py.check_string_dtype(found.dtype) is not None and found.ndim == 1:
            return [str(text) for text in found.asstr()[()]]
        inner = self._h5py.check_vlen_dtype(found.dtype)
        if inner is not None and np.dtype(inner).kind in "biuf" and found.ndim == 1:
            return list(found[()])
        raise IntegrityError(f"malformed HDF5 file: '{name}' has data of an unknown kind")
