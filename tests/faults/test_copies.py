"""A copy of the directory made while a writer is at work is whole, refused, or found by fsck."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from . import copies


@pytest.mark.slow
def test_a_copy_made_during_writes_is_whole_refused_or_found_by_fsck(tmp_path: Path) -> None:
    outcomes = Counter[str]()
    for seed in range(10):  # a busy machine may not tear any of the first copies
        outcomes += copies.sweep(tmp_path / str(seed), copies.AT_ONCE, seed)
        if seed >= 2 and outcomes[copies.REFUSED]:
            return
    raise AssertionError(f"no copy was torn, so nothing was shown: {outcomes}")
