"""Schedules of CronJobs: parsing, and the times that are due."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from simgit.errors import InvalidInput

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {
    name: i + 1
    for i, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
    )
}
_DAYS = {name: i for i, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
_EVERY = "@every "
_UNITS = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:h|ms|m|s|us|µs|ns)"
_WINDOWS = (90, 5400, 2 * 86400, 62 * 86400, 10 * 366 * 86400)
"""Seconds to look back, tried in turn, so that frequent schedules are found soon."""
_YEARS = 5
"""Years to look ahead: a schedule that has no time in them never has one."""


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """A parsed schedule; if days of month and of week are both restricted, either will do."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    zone: tzinfo

    def following(self, second: int, last: int) -> int | None:
        """Return the first time after the given one; the last run does not matter."""
        return self.next_after(second)

    def next_after(self, second: int) -> int | None:
        """Return the first time, in Unix seconds, after the given one; None if there is none."""
        try:
            return self._search(second)
        except (ValueError, OverflowError, OSError):
            return None  # beyond the years that a calendar has

    def last_until(self, second: int, after: int) -> int | None:
        """Return the last time up to the given one and after ``after``, None if there is none."""
        for window in _WINDOWS:
            begin = max(after, second - window)
            found = self._last_between(begin, second)
            if found is not None or begin == after:
                return found
        return None

    def _last_between(self, begin: int, end: int) -> int | None:
        found, following = None, self.next_after(begin)
        while following is not None and following <= end:
            found, following = following, self.next_after(following)
        return found

    def _search(self, second: int) -> int | None:
        day = datetime.fromtimestamp(second, self.zone).date()
        for _ in range(366 * _YEARS):
            if self._is_day(day):
                times = _times_of(self, day)
                at = bisect_right(times, second)
                if at < len(times):
                    return times[at]
            day += timedelta(days=1)
        return None

    def _is_day(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month = day.day in self.days
        of_week = day.isoweekday() % 7 in self.weekdays
        return of_month and of_week if self.any_day else of_month or of_week


@dataclass(frozen=True, slots=True)
class Every:
    """A fixed interval: so many seconds after the last run, or after the start."""

    seconds: int

    def following(self, second: int, last: int) -> int:
        """Return the first time after the given one, counted from the last run."""
        return last + ((second - last) // self.seconds + 1) * self.seconds

    def last_until(self, second: int, after: int) -> int | None:
        """Return the last time up to the given one, counted from ``after``; None without one."""
        found = self.following(second, after) - self.seconds
        return found if found > after else None


@lru_cache(maxsize=64)
def _times_of(schedule: CronSchedule, day: date) -> tuple[int, ...]:
    """Return the times of a day in order; a local time that occurs twice gives both."""
    midnight = datetime.combine(day, time(), schedule.zone)
    uneven = midnight.utcoffset() != (midnight + timedelta(days=1)).utcoffset()
    folds = (0, 1) if uneven else (0,)  # a change of daylight saving time
    times: set[int] = set()
    for hour in schedule.hours:
        for minute in schedule.minutes:
            local = datetime.combine(day, time(hour, minute), schedule.zone)
            seconds = (int(local.replace(fold=fold).timestamp()) for fold in folds)
            times.update(second for second in seconds if _is_real(local, second))
    return tuple(sorted(times))


def _is_real(local: datetime, second: int) -> bool:
    """Return False for a local time that does not occur, since the clock skips it."""
    return datetime.fromtimestamp(second, local.tzinfo).hour == local.hour


@lru_cache(maxsize=256)
def parse_schedule(text: str, zone: str = "") -> CronSchedule | Every:
    """Parse a CronJob's schedule in a time zone (UTC if none); raises InvalidInput."""
    if text.startswith(_EVERY):
        return Every(_duration(text))
    fields = _MACROS.get(text.strip().lower(), text).split()
    if len(fields) != 5 or len(text) > 500:
        raise _bad(text, "expected five fields")
    sets = [_parse_field(f, *rule, text) for f, rule in zip(fields, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = sets
    stars = any(_has_star(field) for field in (fields[2], fields[4]))
    return CronSchedule(minutes, hours, days, months, weekdays, stars, _zone(zone))


def _has_star(field: str) -> bool:
    """Return True if a field restricts nothing; with a step of two or more it does."""
    return any(re.fullmatch(r"[*?](/0*1)?", part) for part in field.split(","))


def _duration(text: str) -> int:
    """Return '@every 1h30m' in whole seconds, at least 1."""
    parts = re.fullmatch(rf"\+?((?:{_PART})+)", text[len(_EVERY) :])
    if parts is None or len(text) > 60:
        raise _bad(text, "expected a duration such as 1h30m")
    found = re.findall(r"([0-9.]+)([a-zµ]+)", parts[1])
    return max(1, int(sum(float(number) * _UNITS[unit] for number, unit in found)))


def _zone(name: str) -> tzinfo:
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise InvalidInput(f"unknown time zone '{name[:40]}'") from error


def _parse_field(
    field: str, low: int, high: int, names: dict[str, int], text: str
) -> frozenset[int]:
    values: set[int] = set()
    for part in field.split(","):
        values.update(_parse_part(part, low, high, names, text))
    return frozenset(value % 7 if names is _DAYS else value for value in values)


def _parse_part(part: str, low: int, high: int, names: dict[str, int], text: str) -> range:
    span, slash, step_text = part.partition("/")
    step = _number(step_text, {}, text) if slash else 1
    if span in ("*", "?"):
        first, last = low, high
    else:
        head, dash, tail = span.partition("-")
        first = _number(head, names, text)
        last = _number(tail, names, text) if dash else (high if slash else first)
    if not low <= first <= last <= high or step < 1:
        raise _bad(text, f"'{part[:20]}' is not in {low}-{high}")
    return range(first, last + 1, step)


def _number(text: str, names: dict[str, int], whole: str) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not (text.isascii() and text.isdigit() and len(text) < 5):
        raise _bad(whole, f"'{text[:20]}' is not a number")
    return int(text)


def _bad(text: str, why: str) -> InvalidInput:
    return InvalidInput(f"bad schedule '{text[:60]}': {why}", value=text)
