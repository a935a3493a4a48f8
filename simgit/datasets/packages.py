"""Optional packages: imported when they are needed, with an error that says what to install."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from simgit.errors import NotFound

_EXTRAS: Final = {"pyarrow": "data", "duckdb": "sql", "h5py": "hdf5", "torch": "torch"}


def needed(name: str, what: str) -> Any:
    """Return a package of others.

    Args:
        name: the package, a module of it, or a module of this package that imports it.
        what: what needs it, as a message begins.

    Raises:
        NotFound: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS and package != name.partition(".")[0]:
            raise
        extra = _EXTRAS.get(package)
        install = f"'simgit[{extra}]'" if extra else package
        raise NotFound(f"{what} needs {package}: pip install {install}") from None
