"""Times as they are written: dates, and how long ago something was."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from simgit.errors import InvalidInput

_SECONDS: Final = {
    "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400,
    "month": 30 * 86400, "year": 365 * 86400,
}  # fmt: skip
_SHORT: Final = {
    "s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day",
    "w": "week",
}  # fmt: skip
_AGO: Final = re.compile(r"(\d{1,9}|an?)[ .]*([a-z]+?)s?(?:[ .]+ago)?")
_CLOCK: Final = re.compile(r"(?:(today|yesterday)[ .]+)?(\d{1,2}):(\d\d)(?::(\d\d))?")


def parse_time(text: str, now: int) -> int:
    """Return a time in nanoseconds since 1970.

    Without an offset it is local time, as listings show it.

    Args:
        text: ``2026-11-28``, ``2026-11-28 12:00``, ``12:00``, ``now``, ``today``, ``yesterday``,
            ``2 hours ago``, ``90m``; units are seconds, minutes, hours, days, weeks, months of 30
            days, years of 365.
        now: the present time, in nanoseconds since 1970.

    Raises:
        InvalidInput: the text is not a time.
    """
    words = " ".join(text.lower().split())
    present = datetime.fromtimestamp(now / 1e9)
    if words == "now":
        return now
    if words == "yesterday":
        return now - 86400 * 10**9
    if words == "today":
        return _nanoseconds(present.replace(hour=0, minute=0, second=0, microsecond=0))
    try:
        if clock := _CLOCK.fullmatch(words):
            day = present - timedelta(days=clock[1] == "yesterday")
            hour, minute, second = int(clock[2]), int(clock[3]), int(clock[4] or 0)
            return _nanoseconds(day.replace(hour=hour, minute=minute, second=second, microsecond=0))
        if (ago := _AGO.fullmatch(words)) and (unit := _SHORT.get(ago[2], ago[2])) in _SECONDS:
            count = int(ago[1]) if ago[1].isdecimal() else 1
            return now - count * _SECONDS[unit] * 10**9
        if re.match(r"\d{4}-\d\d?-\d\d?", words):
            return _nanoseconds(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError, OSError):
        pass  # such as 25:00, or 30 February
    raise InvalidInput(
        f"'{text}' is not a time; write '2026-11-28', '2026-11-28 12:00', 'yesterday' or "
        "'2 hours ago'",
        text=text,
    )


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 10**6) * 1000
