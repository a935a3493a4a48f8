"""Names that a stranger chose do nothing but stand there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simgit.server.static import files

pytest.importorskip("playwright.sync_api")


@pytest.mark.slow
def test_no_name_changes_what_all_objects_have(recorded: Path, visit: Callable[..., Any]) -> None:
    page = visit(recorded).page
    base = f"/page/{files()[0]}"
    polluted = page.evaluate(
        """async (base) => {
          const { nest } = await import(`${base}/parts/form.js`);
          nest([[["__proto__", "polluted"], 1], [["a", "constructor", "prototype", "polluted"], 1]]);
          return [({}).polluted, JSON.stringify(nest([[["a", "b"], 1], [["a", "c"], 2]]))];
        }""",
        base,
    )
    assert polluted == [None, '{"a":{"b":1,"c":2}}']


@pytest.mark.slow
def test_a_downloaded_table_has_no_formulas(recorded: Path, visit: Callable[..., Any]) -> None:
    page = visit(recorded).page
    text = page.evaluate(
        """async (base) => {
          const { toCsv } = await import(`${base}/parts/download.js`);
          const curve = (run) => ({ run, field: "reward", x: [0], width: 1, mean: [1], min: [1], max: [1], line: [1] });
          return await toCsv(["=1+1", "@SUM(A1)", "\\t=2", "plain"].map(curve), "step").text();
        }""",
        f"/page/{files()[0]}",
    )
    names = [line.split(",")[0] for line in text.splitlines()[1:]]
    assert names == ["'=1+1", "'@SUM(A1)", "'\t=2", "plain"]
