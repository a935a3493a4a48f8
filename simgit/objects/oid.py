"""Object ids: 32 bytes, shown as hex. See docs/object-format.md §1."""

from __future__ import annotations

from typing import Final

from blake3 import blake3

from simgit.errors import InvalidInput, shown

OID_SIZE: Final = 32
SHORT: Final = 8
"""The fewest hex digits of an abbreviated oid."""


class Oid(bytes):
    """The hash that names an object: 32 bytes, shown as hex."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Oid:
        """Wrap 32 raw bytes.

        Raises:
            InvalidInput: ``raw`` has another length.
        """
        if not isinstance(raw, (bytes, bytearray, memoryview)) or len(raw) != OID_SIZE:
            got = len(raw) if isinstance(raw, bytes) else shown(raw)
            raise InvalidInput(f"an oid must have {OID_SIZE} bytes, got {got}")
        return super().__new__(cls, raw)

    @classmethod
    def from_hex(cls, text: str) -> Oid:
        """Parse 64 hex digits.

        Raises:
            InvalidInput: ``text`` is not 64 hex digits.
        """
        try:
            raw = bytes.fromhex(text)
        except (ValueError, TypeError):
            raw = b""
        if len(raw) != OID_SIZE or len(text) != 2 * OID_SIZE:
            raise InvalidInput(
                f"{shown(text)} is not an oid: it must have {2 * OID_SIZE} hex digits"
            )
        return cls(raw)

    def short(self, digits: int = SHORT) -> str:
        """Return the first ``digits`` hex digits.

        Raises:
            InvalidInput: ``digits`` is not a number of digits.
        """
        if not isinstance(digits, int):
            raise InvalidInput(f"digits must be an integer, got {shown(digits)}", path="digits")
        return self.hex()[:digits]

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"Oid('{self.short(12)}…')"


def object_header(kind: str, length: int) -> bytes:
    """Return the bytes that are hashed before an object's payload."""
    return b"%s %d\0" % (kind.encode(), length)


def hash_object(kind: str, payload: bytes) -> Oid:
    """Return the oid of a payload of the given kind."""
    return Oid(blake3(object_header(kind, len(payload)) + payload).digest())
