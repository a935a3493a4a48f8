"""Kubernetes quantities: grammar, exact arithmetic, the API server's canonical form.

A quantity is a whole number of billionths: Kubernetes rounds finer values up (away from zero)
and caps large ones at 2**63 - 1. It prints in the form in which it was written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from simgit.errors import InvalidInput

Form = Literal["binary", "decimal", "exponent"]

NANO = 10**9
_NANO_PER_MILLI = 10**6
_CAP = (2**63 - 1) * NANO
_MAX_TEXT = 128
_MAX_EXPONENT = 200  # far beyond the cap on one side and below a billionth on the other

_PATTERN = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?"
    r"(?P<suffix>[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?",
    re.ASCII,
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_NAME = {power: name for name, power in _DECIMAL.items()}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_BINARY_NAME = {power: name for name, power in _BINARY.items()}


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount in billionths of its unit, and the form in which it is written."""

    nano: int
    form: Form = "decimal"

    @property
    def milli(self) -> int:
        """Thousandths of the unit (millicores of a CPU), rounded up."""
        return -(-self.nano // _NANO_PER_MILLI)

    @property
    def units(self) -> int:
        """Whole units (bytes of a memory), rounded up."""
        return -(-self.nano // NANO)

    def __add__(self, other: Quantity) -> Quantity:
        """Return the sum; a zero takes the other's form, as in the API server."""
        return Quantity(_bounded(self.nano + other.nano), self.form if self.nano else other.form)

    def __sub__(self, other: Quantity) -> Quantity:
        """Return the difference, in the form of the left side."""
        return Quantity(_bounded(self.nano - other.nano), self.form)

    def __str__(self) -> str:
        """Return the canonical text, as it reads back from the API server."""
        units, rest = divmod(abs(self.nano), NANO)
        sign = "-" if self.nano < 0 else ""
        if self.form == "binary" and units >= 1024 and not rest:
            return sign + _format_binary(units)
        return sign + _format_powers(abs(self.nano), self.form == "exponent")


def parse_quantity(text: object) -> Quantity:
    """Return the quantity that a manifest holds: a string, or a number as JSON allows it.

    Raises InvalidInput for what is not in Kubernetes' grammar.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        text = repr(text)
    if not isinstance(text, str):
        raise _bad(text, f"expected a string or a number, got {type(text).__name__}")
    if len(text) > _MAX_TEXT:
        raise _bad(text[:16] + "…", f"longer than {_MAX_TEXT} characters")
    return _parse_text(text)


def millicores(text: object) -> int:
    """Return a CPU quantity in thousandths of a core, rounded up."""
    return parse_quantity(text).milli


def byte_count(text: object) -> int:
    """Return a memory quantity in bytes, rounded up."""
    return parse_quantity(text).units


def from_millicores(amount: int) -> str:
    """Return millicores as a canonical quantity: '17' for 17000, '500m' for 500."""
    return str(Quantity(amount * _NANO_PER_MILLI))


def from_bytes(amount: int) -> str:
    """Return bytes as a canonical quantity with a binary suffix: '32Gi' for 34359738368."""
    return str(Quantity(amount * NANO, "binary"))


def canonical(text: object) -> str:
    """Return a quantity as the API server stores it: '17' for '17000m', '32Gi' for '32768Mi'."""
    return str(parse_quantity(text))


def _bad(text: object, why: str) -> InvalidInput:
    return InvalidInput(f"bad quantity {text!r}: {why}", value=text)


@lru_cache(maxsize=4096)
def _parse_text(text: str) -> Quantity:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise _bad(text, "expected a number, perhaps with a suffix such as m, k, Gi or e3")
    whole, part = match["whole"], match["part"] or ""
    if not whole and not part:
        raise _bad(text, "it has no digits")
    nano, form = _scale(int(whole + part), -len(part), match["suffix"] or "")
    return Quantity(_bounded(-nano if match["sign"] == "-" else nano), form)


def _scale(digits: int, power: int, suffix: str) -> tuple[int, Form]:
    """Return digits * 10**power * suffix in billionths, rounded up, and the form."""
    if suffix in _BINARY:
        return _times_ten(digits << _BINARY[suffix], power + 9), "binary"
    if suffix in _DECIMAL:
        return _times_ten(digits, power + 9 + _DECIMAL[suffix]), "decimal"
    exponent = max(-_MAX_EXPONENT, min(_MAX_EXPONENT, int(suffix[1:])))
    return _times_ten(digits, power + 9 + exponent), "exponent"


def _times_ten(digits: int, power: int) -> int:
    scale: int = 10 ** abs(power)
    return digits * scale if power >= 0 else -(-digits // scale)


def _bounded(nano: int) -> int:
    return max(-_CAP, min(_CAP, nano))


def _format_binary(units: int) -> str:
    power = 0
    while power < 60 and units % 1024 == 0:
        units //= 1024
        power += 10
    return f"{units}{_BINARY_NAME.get(power, '')}"


def _format_powers(nano: int, exponent: bool) -> str:
    """Return the amount with the largest suffix that leaves a whole number."""
    if not nano:
        return "0"
    power = -9
    while nano % 1000 == 0 and power < 18:
        nano //= 1000
        power += 3
    if exponent:
        return f"{nano}e{power}" if power else str(nano)
    return f"{nano}{_DECIMAL_NAME[power]}"
