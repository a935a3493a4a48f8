"""The in-memory storage keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simgit.storage.base import Storage
from simgit.storage.memory import MemoryStorage
from simgit.testing.storage_contract import StorageContract


class TestMemoryStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        storage = MemoryStorage()
        yield storage
        storage.close()


def test_it_has_no_path_and_no_size() -> None:
    storage = MemoryStorage()
    assert storage.path is None
    assert not storage.read_only
    assert storage.size() == 0
