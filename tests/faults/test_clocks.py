"""Whatever the clock says, nothing is lost and the order stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.examples import share

from . import clocks


@pytest.mark.slow
def test_a_clock_that_jumps_changes_nothing_of_what_is_held(tmp_path: Path) -> None:
    for seed in range(share(6)):
        failures = clocks.session(seed, tmp_path)
        assert not failures, failures[0]
