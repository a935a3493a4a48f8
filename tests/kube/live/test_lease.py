"""The lease of a cluster: one session at a time, taken over only when nobody renews it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simgit.errors import ClusterError, SimgitWarning
from simgit.kube.live.api import Api
from simgit.kube.live.lease import ClusterLease, holder_of
from simgit.testing.apiserver import ApiFault, ApiServer
from tests.support.served import connect

LEASES = "leases.coordination.k8s.io"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def api(server: ApiServer, tmp_path: Path) -> Iterator[Api]:
    with connect(server, tmp_path) as api:
        yield api


def lease(api: Api) -> ClusterLease:
    return ClusterLease(api, renew=3600)  # the thread does not renew it: tests do


def others(
    server: ApiServer, holder: str = "other_77_abcd", version: int = 0, process: Any = None
) -> None:
    server.delete(LEASES, "simgit", "default") if server.objects(LEASES) else None
    spec: dict[str, Any] = {"holderIdentity": holder, "leaseDurationSeconds": 30}
    spec["leaseTransitions"] = version
    metadata: dict[str, Any] = {"name": "simgit", "namespace": "default"}
    if process is not None:
        metadata["annotations"] = {"simgit.io/process": json.dumps(process)}
    server.create(
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
         "spec": spec}
    )  # fmt: skip


def test_it_is_taken_renewed_and_given_back(server: ApiServer, api: Api) -> None:
    assert holder_of(api) is None
    with lease(api) as held:
        [first] = server.objects(LEASES)
        assert first["spec"]["holderIdentity"] == held.holder
        assert "process" in (holder_of(api) or "")
        server.advance(10)
        held.renew()
        [second] = server.objects(LEASES)
        assert second["spec"]["renewTime"] > first["spec"]["renewTime"]
        assert second["spec"]["acquireTime"] == first["spec"]["acquireTime"]
        assert second["spec"]["leaseTransitions"] == 1
        held.check()
    assert server.objects(LEASES) == []


def test_one_that_lives_is_not_taken(server: ApiServer, api: Api) -> None:
    others(server)
    renewals = iter(range(1, 9))
    api.clock.after_sleep = lambda: others(server, version=next(renewals))  # type: ignore[attr-defined]
    with pytest.raises(ClusterError) as caught:
        lease(api).take()
    assert str(caught.value) == (
        "the cluster is in use by simgit on 'other', process 77: one session at a time "
        "(Lease 'simgit' in namespace 'default')"
    )
    assert server.objects(LEASES)[0]["spec"]["holderIdentity"] == "other_77_abcd"


def test_one_that_is_not_renewed_is_taken_after_its_time_and_a_renewal(
    server: ApiServer, api: Api
) -> None:
    others(server)
    began = server.now
    held = ClusterLease(api, renew=10)
    with pytest.warns(SimgitWarning) as told:
        held.take()
    assert [str(each.message) for each in told] == [
        "the cluster is held by simgit on 'other', process 77, which does not answer: "
        "waiting for 28 s, until its lease has expired"
    ]
    assert 40 < server.now - began < 45
    held.check()
    held.release()


TAKE = """
import sys
from simgit.kube.live.api import Api
from simgit.kube.live.lease import ClusterLease
ClusterLease(Api("loopback", kubeconfig=sys.argv[1]), renew=3600).take()
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_one_of_a_killed_process_is_taken_at_once(
    server: ApiServer, api: Api, tmp_path: Path
) -> None:
    config = server.kubeconfig(tmp_path / "kubeconfig")
    with subprocess.Popen(
        [sys.executable, "-c", TAKE, str(config)],
        cwd=Path(__file__).parents[3], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        [taken] = server.objects(LEASES)
        assert holder_of(api) == f"simgit on '{socket.gethostname()}', process {process.pid}"
        process.kill()
    began = server.now
    assert holder_of(api) is None
    with lease(api) as held:
        held.check()
    assert server.now - began < 1
    # where its number may be another process's, only the time tells
    told = json.loads(taken["metadata"]["annotations"]["simgit.io/process"])
    for other in (
        {"machine": f"{told['machine']}-rebooted"}, {"numbers": "pid:[1]"}, {"start": ""},
        {"pid": "x"}, {"pid": 10**30},
    ):  # fmt: skip
        others(server, process={**told, **other})
        assert "process 77" in (holder_of(api) or "")
    others(server, process=told)
    assert holder_of(api) is None


@pytest.mark.slow
def test_one_that_this_process_could_not_give_back_is_taken_at_once(
    server: ApiServer, api: Api
) -> None:
    held = lease(api)
    held.take()
    with pytest.raises(ClusterError, match="in use by"):
        api.clock.after_sleep = held.renew  # type: ignore[attr-defined]
        lease(api).take()
    api.clock.after_sleep = lambda: None  # type: ignore[attr-defined]
    server.faults = [ApiFault("503", times=None)]
    held.release()
    server.faults = []
    began = server.now
    with lease(api) as second:
        assert server.now - began < 1
        second.check()


def test_of_two_that_take_it_one_is_refused(server: ApiServer, api: Api, tmp_path: Path) -> None:
    with connect(server, tmp_path) as other, lease(api) as held:
        second = lease(other)
        other.clock.after_sleep = held.renew  # type: ignore[attr-defined]
        with pytest.raises(ClusterError, match="in use by"):
            second.take()
        held.check()


def test_a_lost_lease_ends_the_step(server: ApiServer, api: Api) -> None:
    held = lease(api)
    held.take()
    others(server)
    server.advance(31)
    with pytest.raises(ClusterError) as caught:
        held.check()
    assert str(caught.value) == (
        "the lease of the cluster is lost: it was taken over by simgit on 'other', process 77"
    )
    held.release()
    assert server.objects(LEASES)[0]["spec"]["holderIdentity"] == "other_77_abcd"


def test_a_machine_that_slept_keeps_a_lease_that_nobody_took(server: ApiServer, api: Api) -> None:
    with lease(api) as held:
        server.advance(3600)
        held.check()


def test_a_lease_that_was_taken_while_the_machine_slept_is_lost(
    server: ApiServer, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monotonic clock of Linux stops meanwhile."""
    held = lease(api)
    held.take()
    stopped = api.clock.monotonic()
    monkeypatch.setattr(api.clock, "monotonic", lambda: stopped)
    others(server)
    server.advance(100)
    with pytest.raises(ClusterError, match="lost: it was taken over by simgit on 'other'"):
        held.check()
    held.release()


@pytest.mark.parametrize("kind", ["reset", "reset-after", "500", "429"])
def test_a_renewal_that_fails_is_tried_again(server: ApiServer, api: Api, kind: str) -> None:
    with lease(api) as held:
        server.faults = [ApiFault(kind, match=lambda method, _: method == "PUT")]
        server.advance(10)
        held.renew()
        held.renew()
        server.advance(10)
        held.renew()
        held.check()
        assert server.objects(LEASES)[0]["spec"]["holderIdentity"] == held.holder
    assert server.objects(LEASES) == []


def test_without_renewals_it_is_lost_when_it_has_expired(server: ApiServer, api: Api) -> None:
    held = lease(api)
    held.take()
    server.faults = [ApiFault("503", times=None)]
    server.advance(20)
    held.check()
    server.advance(20)
    with pytest.raises(ClusterError, match="could not be renewed"):
        held.check()
    server.faults = []
    held.release()
    assert server.objects(LEASES) == []


@pytest.mark.parametrize("kind", ["reset", "reset-after", "503"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_taking_that_fails_is_tried_again_or_leaves_nothing(
    server: ApiServer, api: Api, kind: str, method: str
) -> None:
    server.faults = [ApiFault(kind, match=lambda m, _: m == method)]
    held = lease(api)
    try:
        held.take()
    except ClusterError:
        assert method == "GET"
    else:
        held.check()
        held.release()
    assert server.objects(LEASES) == []


@pytest.mark.parametrize("kind", ["reset", "reset-after", "503"])
def test_a_release_that_fails_raises_nothing(server: ApiServer, api: Api, kind: str) -> None:
    held = lease(api)
    held.take()
    server.faults = [ApiFault(kind, match=lambda method, _: method == "DELETE")]
    held.release()
    assert server.objects(LEASES) == []
