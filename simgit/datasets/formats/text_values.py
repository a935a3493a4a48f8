"""Times and other values that foreign files have as texts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def nanoseconds(value: Any) -> int | None:
    """Return a time as nanoseconds since 1970 (UTC); None if it is not one of 64 bits.

    Args:
        value: a ``datetime``, or a text in ISO 8601; UTC if it names no zone.
    """
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if not isinstance(time, datetime):
        return None
    since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH
    found = (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000
    return found if -(1 << 63) <= found < 1 << 63 else None
