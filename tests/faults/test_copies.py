"""A copy of the directory made while a writer is at work opens whole, or is refused."""

from __future__ import annotations

from pathlib import Path

from . import copies


def test_a_copy_made_during_writes_is_whole_or_refused(tmp_path: Path) -> None:
    outcomes = copies.sweep(tmp_path, 24)
    assert sum(outcomes.values()) == 24
    assert outcomes[copies.REFUSED], "no copy was torn: the test shows nothing"
