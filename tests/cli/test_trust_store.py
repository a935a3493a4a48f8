"""The user's list of trusted repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from simgit import InvalidInput, StorageError
from simgit.cli.permission import TrustFile


def test_what_is_added_is_trusted_until_it_is_removed(tmp_path: Path) -> None:
    known = TrustFile(tmp_path / "config" / "trusted")
    one, two = tmp_path / "one\nline" / ".simgit", tmp_path / "zwei ü" / ".simgit"
    assert known.directories() == [] and not known.has(one)
    for each in (one, two, one):
        known.add(each)
    assert known.directories() == [one, two] and known.has(one) and known.has(two)
    assert known.remove(one) and not known.remove(one)
    assert known.directories() == [two] and not known.has(one)


def test_a_repository_in_memory_was_made_by_this_process(tmp_path: Path) -> None:
    assert TrustFile(tmp_path / "trusted").has(None)


def test_a_damaged_or_unreadable_list_is_an_error_and_no_trust(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_text("/home/eve\n")
    with pytest.raises(InvalidInput, match="must have a JSON string on each line"):
        TrustFile(damaged).has(tmp_path)
    with pytest.raises(StorageError, match="cannot read"):
        TrustFile(tmp_path).has(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot"):
        TrustFile(tmp_path / "file" / "trusted").add(tmp_path)
