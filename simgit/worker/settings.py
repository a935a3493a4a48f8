"""Settings of a worker, and the environment variables by which the command line passes them on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from simgit.errors import InvalidInput, shown
from simgit.objects.coerce import check_number
from simgit.refs.names import check_ref_name

PREFIX: Final = "SIMGIT_WORKER_"
"""What the environment variables begin with that ``simgit worker run`` sets."""
_UNITS: Final = {
    "": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40,
}  # fmt: skip
_NUMBERS: Final = ("push_seconds", "grace", "max_wait")
_SIZES: Final = ("push_bytes", "max_unpushed")


def byte_count(value: Any, name: str) -> int:
    """Return a number of bytes, given as one or as a text such as ``16MiB`` or ``2 GB``.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(value, str):
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]i?|)b?", value.strip().lower())
        if not found:
            raise InvalidInput(
                f"{name} must be a number of bytes such as 16MiB, got {shown(value)}", name=name
            )
        value = int(float(found[1]) * _UNITS[found[2]])
    return int(check_number(value, name, 1, whole=True))


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of a worker; ``simgit.worker.open`` explains them."""

    url: str
    name: str
    directory: Path | None = None
    push_bytes: int = 16 << 20
    push_seconds: float = 300.0
    grace: float = 25.0
    max_unpushed: int = 1 << 30
    max_wait: float | None = None
    endpoint: str = ""
    region: str = ""
    profile: str = ""
    keep: str | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InvalidInput: one of them cannot be.
        """
        check_ref_name(self.name, "a worker")
        check_number(self.push_seconds, "push_seconds", 0)
        check_number(self.grace, "grace", 0)
        if self.max_wait is not None:
            check_number(self.max_wait, "max_wait", 0)
        if self.keep == "tail":
            raise InvalidInput(
                "keep='tail' needs states that are read from the remote where they are needed, "
                "which this version cannot do; use keep='all', or leave it out"
            )
        if self.keep not in (None, "all"):
            raise InvalidInput(f"keep must be 'all' or None, got {shown(self.keep)}", name="keep")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> WorkerSettings:
        """Return settings from arguments; those that are None come from ``simgit worker run``.

        Raises:
            InvalidInput: one of them cannot be, or URL or name are missing.
        """
        told = {
            each.name: value
            for each in fields(cls)
            if (value := os.environ.get(PREFIX + ("REMOTE" if each.name == "url" else
                                                  each.name.upper()))) is not None
        }  # fmt: skip
        found: dict[str, Any] = {**told, **{k: v for k, v in given.items() if v is not None}}
        for name in ("url", "name"):
            if name not in found:
                raise InvalidInput(
                    f"a worker needs the {'URL of its remote' if name == 'url' else 'name'}: pass "
                    "it to simgit.worker.open, or start the program with 'simgit worker run'"
                )
        for name in _NUMBERS:
            if isinstance(found.get(name), str):
                found[name] = _number(found[name], name)
        found |= {name: byte_count(found[name], name) for name in _SIZES if name in found}
        url = os.fspath(found["url"])
        found["url"] = url if "://" in url else str(Path(url).expanduser().resolve())
        if found.get("directory") is not None:
            found["directory"] = Path(found["directory"]).expanduser().resolve()
        return cls(**found)


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"{name} must be a number, got {shown(text)}", name=name) from None
