"""Writes and syncs that fail: a clear error, all old data, and the next command works."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.examples import share

from . import io_errors
from .test_power import directory

__all__ = ["directory"]


@pytest.mark.slow
def test_a_call_that_fails_is_an_error_of_ours_and_the_next_command_works(directory: Path) -> None:
    failures = io_errors.sweep(directory, 0, max(1, 72 // share(8)))
    assert not failures, failures[0]
