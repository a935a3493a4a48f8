"""A repository that is deleted, or becomes another one, while a server has it open."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simgit import Repository, StorageError
from simgit.server.jobs import Jobs
from simgit.server.watch import Viewer, Watch
from tests.support.web import Client


async def told_until_its_end(
    watch: Watch, last: int | None, then: Callable[[], Any], kind: str = "none"
) -> list[str]:
    """Return the events of a viewer whose stream ends after something happened, or a kind of event."""
    viewer, found = Viewer(watch, (), ()), []
    assert await asyncio.to_thread(watch.listen, viewer)
    async for event in viewer.events(last):
        if not found:
            await asyncio.to_thread(then)
        found.append(event.decode())
        if found[-1].startswith(f"event: {kind}\n"):
            watch.end()
    return found


def test_another_repository_in_its_place_is_seen(repo: Repository, tmp_path: Path) -> None:
    for step in range(5):
        repo.commit(float(step))
    watch = Watch(repo, Jobs(repo.directory))
    with Repository.init(tmp_path / "new") as new:
        new.commit(7.0)

        def replace() -> None:
            watch._repo = new  # as a handle is one of the new file that follows it

        asyncio.run(told_until_its_end(watch, None, replace))
        numbers = [number for number, _ in watch.operations]
        assert numbers == [each.number for each in reversed(new.operations())]
        assert numbers[-1] < repo.operations()[0].number
        # who comes again with the last number of the old one is told what is new
        last = repo.operations()[0].number
        found = asyncio.run(
            told_until_its_end(watch, last, lambda: new.tag("later", "main"), "operation")
        )
        assert new.operations()[0].number < last and '"later"' in found[-1]


@pytest.mark.slow
def test_a_repository_that_was_deleted_is_not_served(tmp_path: Path) -> None:
    repo = Repository.init(tmp_path / "r")
    repo.commit(1.0)
    client = Client(repo)
    assert client.json("runs")
    asyncio.run(
        told_until_its_end(client.service.watch, None, lambda: shutil.rmtree(tmp_path / "r"))
    )
    with Repository.init(tmp_path / "r"):  # the next one has another
        for found in (client.get("runs"), client.get("events"), client.post("runs", json={})):
            assert found.status_code == 503
            assert (
                "was deleted while it was served: start the server again" in found.json()["detail"]
            )
        with pytest.raises(StorageError, match="store was deleted while it was open"):
            repo.commit(2.0)
    client.close()
