"""A power cut at any moment: what was acknowledged is there, and the repository opens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.examples import share

from . import loop, power


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    try:
        power.library(tmp_path)
    except power.NoCompiler as reason:
        pytest.skip(str(reason))
    return tmp_path


@pytest.mark.slow
def test_a_power_cut_after_any_call_leaves_what_was_acknowledged(directory: Path) -> None:
    step = max(1, 8 // share(8))
    count, failures = power.sweep(directory, 0, step=step)
    assert not failures, failures[0]
    assert count > 300 // step


@pytest.mark.slow
def test_a_file_system_on_a_loop_device_holds_what_was_acknowledged(tmp_path: Path) -> None:
    if not loop.available(tmp_path):
        pytest.skip("no loop device can be had here")
    cuts, failures = loop.sweep(tmp_path, 0)
    assert not failures, failures[0]
    assert cuts >= 2
