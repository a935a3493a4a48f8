"""The table of the matrix, and its place in a page."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
Result = dict[str, Any]
HEAD = (
    "driver", "exact", "snapshot, bytes", "stored, bytes", "snapshot, µs", "restore, ms",
    "step, µs", "recording, µs a step",
)  # fmt: skip


def tables(results: Sequence[Result], total: int) -> str:
    """Return a table of families, and one of environments, of ``total`` that are installed."""
    families: dict[str, list[Result]] = {}
    for result in results:
        families.setdefault(result["family"], []).append(result)
    examined = sum("error" not in result for result in results)
    exact = sum("error" not in r and r["exact"] == len(r["points"]) for r in results)
    lines = [f"Of {total} environments {examined} have been examined; {exact} are exact.", ""]
    lines += [row("family", "environments", *HEAD), rule(len(HEAD) + 2)]
    lines += [row(name, str(len(each)), *summary(each)) for name, each in families.items()]
    lines += ["", row("environment", *HEAD), rule(len(HEAD) + 1)]
    lines += [row(result["environment"], *cells(result)) for result in results]
    return "\n".join(lines) + "\n"


def row(*texts: str) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(texts)} |"


def rule(count: int) -> str:
    """Return the line under the head."""
    return "|" + "---|" * 2 + "--:|" * (count - 2)


def cells(result: Result) -> list[str]:
    """Return the cells of one environment."""
    if "error" in result:
        return [f"cannot be made: {result['error']}", *[""] * (len(HEAD) - 1)]
    return [
        f"{result['driver']}{' (trust)' if result['needs_trust'] else ''}",
        exactness([result]),
        whole(result["raw"]),
        whole(result["stored"]),
        whole(micro(result["snapshot"])),
        tenth(restore_ms(result)),
        whole(micro(result["step"])),
        tenth(overhead(result)),
    ]


def summary(results: Sequence[Result]) -> list[str]:
    """Return the cells of a family: medians."""
    good = [result for result in results if "error" not in result]
    names = sorted({result["driver"] for result in good})
    return [
        ", ".join(names),
        exactness(good),
        whole(median(r["raw"] for r in good)),
        whole(median(r["stored"] for r in good)),
        whole(median(micro(r["snapshot"]) for r in good)),
        tenth(median(restore_ms(r) for r in good)),
        whole(median(micro(r["step"]) for r in good)),
        tenth(median(overhead(r) for r in good)),
    ]


def exactness(results: Sequence[Result]) -> str:
    """Return how many points were exact, of how many; or that there is no telling."""
    if results and all(result["repeats"] for result in results):
        return f"not deterministic: {results[0]['repeats']}"
    points = sum(len(result["points"]) for result in results)
    return f"{sum(result['exact'] for result in results)} of {points}"


def restore_ms(result: Result) -> float | None:
    """Return the median time of a restore in milliseconds."""
    times = [p["seconds"] for p in result["points"] if "seconds" in p and p["differs"] is None]
    return statistics.median(times) * 1e3 if times else None


def overhead(result: Result) -> float | None:
    """Return what recording adds to a step, in microseconds."""
    if result["recorded_step"] is None:
        return None
    return max(0.0, (result["recorded_step"] - result["step"]) * 1e6)


def micro(seconds: float | None) -> float | None:
    """Return seconds in microseconds."""
    return None if seconds is None else seconds * 1e6


def median(values: Iterable[float | None]) -> float | None:
    """Return the median of the values that there are."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def whole(value: float | None) -> str:
    """Return a number without decimals, spaces between thousands."""
    return "–" if value is None else f"{value:,.0f}".replace(",", " ")


def tenth(value: float | None) -> str:
    """Return a number with one decimal."""
    return "–" if value is None else f"{value:,.1f}".replace(",", " ")


def put_into(page: Path, text: str) -> None:
    """Put the tables between the marks of a page."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"'{page}' has no '{BEGIN}' … '{END}'")
    page.write_text(f"{before}{BEGIN}\n{text}{END}{after}", "utf-8")
