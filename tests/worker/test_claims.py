"""Claims: one holder at any time."""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from pathlib import Path

import pytest

from simgit import Conflict, IntegrityError, InvalidInput
from simgit.errors import TransportError
from simgit.remotes import layout
from simgit.remotes.remote import Remote
from simgit.remotes.transport import Transport
from simgit.remotes.transport.memory import MemoryTransport
from simgit.worker import Claim, claim
from tests.remotes.faulty import FaultyTransport
from tests.support.patience import PATIENCE
from tests.worker.test_kills import start

_number = itertools.count()


@pytest.fixture
def url() -> str:
    return f"memory://claims-{next(_number)}"


def of(transport: Transport) -> Remote:
    from simgit.remotes.connection import Connection

    connection = Connection.open(transport)
    connection.make()
    return Remote(connection)


def test_one_gets_it_and_nobody_else(url: str) -> None:
    with Remote.open(url) as remote:
        first = claim(remote, "jobs/1")
        assert isinstance(first, Claim) and first.is_held and not first.lost.is_set()
        assert claim(remote, "jobs/1") is None and claim(url, "jobs/1") is None
        other = claim(remote, "jobs/1/part")
        assert other is not None
        other.release()
        first.finish()
        assert not first.is_held
        assert claim(remote, "jobs/1") is None  # it is done
        again = claim(remote, "jobs/1/part")  # it was given back
        assert again is not None
        again.release()


def test_a_block_that_fails_gives_it_back(url: str) -> None:
    with Remote.open(url) as remote:
        found = claim(remote, "jobs/1")
        assert found is not None
        with pytest.raises(KeyError), found:
            raise KeyError
        second = claim(remote, "jobs/1")
        assert second is not None
        with second:
            pass
        assert claim(remote, "jobs/1") is None


@pytest.mark.slow
def test_it_is_held_while_it_is_renewed_and_taken_over_after_that(url: str) -> None:
    transport = MemoryTransport(url.removeprefix("memory://"))
    cut = FaultyTransport(transport)
    first = claim(of(cut), "jobs/1", interval=0.3)
    assert first is not None
    with Remote.open(url) as remote:
        for _ in range(15):
            assert claim(remote, "jobs/1", interval=0.3) is None and first.is_held
            time.sleep(0.1)

        def down(number: int, name: str, key: str) -> None:
            raise TransportError("down", kind="unreachable", retryable=True)

        cut.before = down
        second = None
        while second is None:
            second = claim(remote, "jobs/1", interval=0.3)
            assert second is None or not first.is_held  # the old holder knows it before
            time.sleep(0.01)
        assert not first.is_held and second.is_held
        cut.before = None
        with pytest.raises(Conflict):
            first.renew()
        with pytest.raises(Conflict, match="lost"):
            first.finish()
        assert second.is_held
        second.finish()


def test_an_answer_that_is_lost_does_not_lose_the_claim(url: str) -> None:
    calls: list[tuple[str, str]] = []
    for at in range(8):  # 0: none is lost
        if at and (at > len(calls) or calls[at - 1][0] not in ("put_new", "put_if")):
            continue
        transport = MemoryTransport(f"{url}-{at}".removeprefix("memory://"))
        of(transport).close()
        faulty = FaultyTransport(transport, "lose", at)
        remote = of(faulty)
        found = claim(remote, "jobs/1")
        assert found is not None
        found.renew()
        found.renew()
        found.finish()
        calls = calls or list(faulty.names)
        assert claim(remote, "jobs/1") is None
    assert sum(name in ("put_new", "put_if") for name, _ in calls) >= 4


def test_threads_race_and_one_wins(url: str) -> None:
    with Remote.open(url) as remote:
        remote._connection.make()
        for number in range(20):
            found: list[Claim] = []
            gate = threading.Barrier(4)

            def grab(name: str, found: list[Claim] = found, gate: threading.Barrier = gate) -> None:
                gate.wait()
                if (got := claim(remote, name)) is not None:
                    found.append(got)

            threads = [threading.Thread(target=grab, args=(f"jobs/{number}",)) for _ in range(4)]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            assert len(found) == 1
            found[0].finish()


@pytest.mark.slow
def test_of_processes_that_race_one_is_inside_and_a_killed_one_is_followed(tmp_path: Path) -> None:
    url, folder = tmp_path / "remote", tmp_path / "here"
    folder.mkdir()
    words = ("grab", str(url), "jobs/1", "0.4", str(folder))
    first = start(*words, "hang", stdout=subprocess.PIPE)
    assert first.stdout is not None and first.stdout.readline() == "inside\n"
    others = [start(*words, "go") for _ in range(8)]
    time.sleep(3.0)
    assert len((folder / "order").read_text().split()) == 1  # it is alive, and renews
    first.kill()
    first.wait()
    first.stdout.close()
    (folder / "inside").unlink()
    for each in others:
        assert each.wait(PATIENCE) == 0
    order = (folder / "order").read_text().split()
    assert len(order) == len(set(order)) == 9


def test_names_and_objects_that_cannot_be_are_refused(url: str) -> None:
    with Remote.open(url) as remote:
        for name in ("", "a b", "x/", "../x"):
            with pytest.raises(InvalidInput):
                claim(remote, name)
        with pytest.raises(InvalidInput):
            claim(remote, "x", interval=0.0)
        found = claim(remote, "jobs/ä")
        assert found is not None
        found.release()
        transport = remote._connection.transport
        assert layout.key_of_claim("jobs/ä") in [each.key for each in transport.list("claims")]
        transport.put(layout.key_of_claim("bad"), b"rubbish")
        with pytest.raises(IntegrityError):
            claim(remote, "bad")


def test_storage_that_ignores_conditions_is_refused(url: str) -> None:
    class Careless(MemoryTransport):
        def put_new(self, key: str, data: bytes) -> str:
            return self.put(key, data)

        def put_if(self, key: str, data: bytes, etag: str) -> str:
            return self.put(key, data)

    from simgit.remotes.connection import Connection

    transport = Careless(url.removeprefix("memory://"))
    transport.conditional = "etag"
    remote = Remote(Connection.open(transport, single_writer=True))
    with pytest.raises(InvalidInput, match="nobody can claim"):
        claim(remote, "jobs/1")


@pytest.mark.slow
def test_a_worker_can_claim(tmp_path: Path) -> None:
    import simgit

    with simgit.worker.open(tmp_path / "r", "worker/0") as work:
        done = []
        for number in (1, 2, 1):
            found = claim(work, f"jobs/{number}")
            if found is not None:
                with found, work.recorder(f"job-{number}") as recorder:
                    recorder.append(number)
                    done.append(number)
        assert done == [1, 2]
    assert not [each for each in threading.enumerate() if each.name == "simgit-claim"]
