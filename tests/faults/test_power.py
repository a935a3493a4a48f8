"""A power cut at any moment: what was acknowledged is there, and the repository opens."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import power


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    try:
        power.library(tmp_path)
    except power.NoCompiler as reason:
        pytest.skip(str(reason))
    return tmp_path


def test_a_power_cut_after_any_call_leaves_what_was_acknowledged(directory: Path) -> None:
    count, failures = power.sweep(directory, 0)
    assert not failures, failures[0]
    assert count > 300
