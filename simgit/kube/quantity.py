"""Kubernetes quantities: grammar, exact arithmetic, the form in which the API server stores them.

A quantity is a whole number of billionths: Kubernetes rounds finer values up (away from zero).
Large ones are capped at 2**63 - 1. It prints in the form in which it was written.
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
_MAX_INT32 = 2**31 - 1
_KEPT_DIGITS, _KEPT_BINARY_DIGITS = 18, 14
"""How many digits the API server's parser reads exactly in 64 bits, suffix included."""

_PATTERN = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?"
    r"(?P<suffix>[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?",
    re.ASCII,
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_NAME = {power: name for name, power in _DECIMAL.items()}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_BINARY_NAME = {power: name for name, power in _BINARY.items()}


@dataclass(frozen=True, slots=True, order=True)
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
        return sign + _format_powers(abs(self.nano), -9, self.form)


def parse_quantity(text: object) -> Quantity:
    """Return the quantity that a manifest holds: a string, or a number as JSON allows it.

    Raises InvalidInput for what is not in Kubernetes' grammar.
    """
    return _parse_text(_text_of(text))


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
    """Return a quantity of a resource list as it reads back from the API server.

    It is '17' for '17000m', '32Gi' for '32768Mi', '1m' for '0.1m'; but '1.250' stays as written.
    Raises InvalidInput like ``parse_quantity``.
    """
    return _stored(_text_of(text))


@lru_cache(maxsize=4096)
def _stored(text: str) -> str:
    """Return the text itself where the API server's parser keeps it, or else the canonical one.

    Kept are whole numbers with a binary suffix that are no multiple of 8; and other numbers that
    are a multiple of a thousandth to a power of 1000, begin with no fraction below 1, and do not
    end with a thousand too many. Both need few enough digits.
    """
    sign, whole, part, suffix = _split(text)
    digits = whole + part
    if suffix in _BINARY:
        most = _KEPT_BINARY_DIGITS - 3 * _BINARY[suffix] // 10
        if not part and len(whole) <= most and int(whole) % 8:
            return text
        nano = _parse_text(text).nano
        milli = -(-abs(nano) // _NANO_PER_MILLI)
        return str(Quantity(milli * _NANO_PER_MILLI * (-1 if nano < 0 else 1), "binary"))
    power, form = _power(suffix)
    power -= len(part)
    is_plain = len(digits) <= _KEPT_DIGITS and digits[0] != "0" and not digits.endswith("000")
    if is_plain and power >= -3 and power % 3 == 0:
        return text
    number = int(digits)
    if power < -3:
        number, power = _times_ten(number, max(power + 3, -_MAX_EXPONENT)), -3
    return ("-" if sign == "-" and number else "") + _format_powers(number, power, form)


def _text_of(text: object) -> str:
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        text = repr(text)
    if not isinstance(text, str):
        raise _bad(text, f"expected a string or a number, got {type(text).__name__}")
    if len(text) > _MAX_TEXT:
        raise _bad(text[:16] + "…", f"longer than {_MAX_TEXT} characters")
    return text.strip(" ")  # as the API server does


def _bad(text: object, why: str) -> InvalidInput:
    return InvalidInput(f"bad quantity {text!r}: {why}", value=text)


@lru_cache(maxsize=4096)
def _parse_text(text: str) -> Quantity:
    sign, whole, part, suffix = _split(text)
    digits = int(whole + part)
    form: Form = "binary"
    if suffix in _BINARY:
        nano = _times_ten(digits << _BINARY[suffix], 9 - len(part))
    else:
        power, form = _power(suffix)
        power = max(-_MAX_EXPONENT, min(_MAX_EXPONENT, power))
        nano = _times_ten(digits, power + 9 - len(part))
    return Quantity(_bounded(-nano if sign == "-" else nano), form)


def _split(text: str) -> tuple[str, str, str, str]:
    """Return sign, whole part without leading zeros ('0' for none), fraction and suffix."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise _bad(text, "expected a number, perhaps with a suffix such as m, k, Gi or e3")
    whole, part = match["whole"], match["part"] or ""
    if not whole and not part:
        raise _bad(text, "it has no digits")
    return match["sign"], whole.lstrip("0") or "0", part, match["suffix"] or ""


def _power(suffix: str) -> tuple[int, Form]:
    """Return the power of ten of a decimal suffix or an exponent, and the form."""
    if suffix in _DECIMAL:
        return _DECIMAL[suffix], "decimal"
    exponent = int(suffix[1:])
    if abs(exponent) > _MAX_INT32:
        raise _bad(suffix, "its exponent is out of range")
    return exponent, "exponent"


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


def _format_powers(number: int, power: int, form: Form) -> str:
    """Return number * 10**power with the largest suffix that leaves a whole number."""
    if not number:
        return "0"
    while number % 10 == 0:
        number, power = number // 10, power + 1
    number, power = number * 10 ** (power % 3), power - power % 3
    if form != "exponent" and power in _DECIMAL_NAME:
        return f"{number}{_DECIMAL_NAME[power]}"
    return f"{number}e{power}" if power else str(number)
