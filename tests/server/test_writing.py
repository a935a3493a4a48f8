"""Writing: each request is one operation that undo takes back; conflicts; requests sent twice."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from tests.support.web import Client

STATE = {"observation": [1.0, 2.0], "action": 1, "reward": 0.5}

WRITES: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "branch": ("POST", "runs", {"json": {"name": "new/x", "start": "main@2", "overrides": {"lr": 1}, "seed": 3}}, 201),
    "preset": ("POST", "runs", {"json": {"name": "preset/a", "overrides": {"lr": 1}, "metadata": {"n": 1}}}, 201),
    "settings": ("PATCH", "runs/sweep/1", {"json": {"overrides": {"lr": 9}, "metadata": {"note": "x"}, "labels": ["a"]}}, 200),
    "unset": ("PATCH", "runs/sweep/1", {"json": {"unset": ["lr"]}}, 200),
    "status": ("PATCH", "runs/sweep/1", {"json": {"status": "completed"}}, 200),
    "rename": ("PATCH", "runs/sweep/1", {"json": {"name": "other/name", "status": "paused"}}, 200),
    "delete": ("DELETE", "runs/sweep/1", {}, 200),
    "delete some": ("DELETE", "runs?where=config.lr > 0.1", {"headers": {"If-Match": '"1"'}}, 200),
    "tag": ("PUT", "tags/v2", {"json": {"at": "main@1", "message": "x"}}, 200),
    "delete tag": ("DELETE", "tags/v1", {}, 200),
    "one state": ("POST", "states/main", {"json": STATE}, 201),
    "states": ("POST", "states/sweep/1", {"json": [STATE, STATE]}, 201),
    "states of a new run": ("POST", "states/fresh", {"json": [{"observation": [0.0, 0.0], "seed": 1}, STATE]}, 201),
    "attach": ("PUT", "attachments/main?name=x", {"content": b"abc"}, 200),
    "attach JSON": ("PUT", "attachments/main?name=x", {"json": {"a": [1, 2.5]}}, 200),
    "detach": ("DELETE", "attachments/main@2?name=pic", {}, 200),
}  # fmt: skip


def refs(repo: Repository) -> Any:
    """Return all that operations change."""
    with repo.odb.read() as txn:
        return [*txn.scan("refs")], [*txn.scan("attachments")]


@pytest.mark.parametrize("what", WRITES)
def test_each_write_is_one_operation_that_undo_takes_back(client: Client, what: str) -> None:
    method, path, more, status = WRITES[what]
    before, newest = refs(client.repo), client.repo.operations(1)[0].number
    found = client.request(method, path, **more)
    assert found.status_code == status, found.text
    after = refs(client.repo)
    assert after != before
    (made,) = [each for each in client.repo.operations() if each.number > newest]
    assert (made.command, made.arguments[0]) == ("http", method)
    assert found.json()["operation"] == made.number
    undone = client.post("undo", json={"operation": made.number})
    assert undone.json()["undone"]["number"] == made.number, undone.text
    assert {k for k, _ in refs(client.repo)[0]} == {k for k, _ in before[0]}
    assert refs(client.repo)[1] == before[1]
    assert client.post("redo").status_code == 200
    assert {k for k, _ in refs(client.repo)[0]} == {k for k, _ in after[0]}
    if status == 201:
        assert client.get(found.headers["location"].removeprefix("/v1/")).status_code == 200


def test_what_was_written_is_there(client: Client) -> None:
    made = client.post("runs", json={"name": "b", "start": "main@2", "overrides": {"lr": 1}}).json()
    assert made["branch_point"] == client.repo.resolve("main@2").hex()
    preset = client.post("runs", json={"name": "preset/a", "overrides": {"lr": 1}}).json()
    assert (preset["oid"], preset["config"]) == (None, {"lr": 1})
    changed = client.request(
        "PATCH", "runs/b", json={"overrides": {"x.y": 2}, "labels": ["good"]}
    ).json()
    assert changed["config"] == {"lr": 1, "x": {"y": 2}}
    assert changed["metadata"]["labels"] == ["good"]
    client.request("PUT", "attachments/b?name=data", json={"a": {"$bytes": "AP8="}})
    assert client.repo.attachment("b", "data") == {"a": b"\0\xff"}
    client.request(
        "PUT", "attachments/b?name=film", content=b"x" * 5000, headers={"Content-Type": "video/mp4"}
    )
    assert client.get("attachments/b?name=film").content == b"x" * 5000


def test_states_are_the_same_however_they_are_sent(client: Client) -> None:
    states = [
        {"observation": [0.0, 1.5], "seed": 3},
        {
            "observation": [1.0, 2.0],
            "action": 1,
            "reward": 0.5,
            "terminated": True,
            "info": {"lives": 2},
        },
    ]
    lines = "".join(json.dumps(each) + "\n" for each in states).encode()
    columns = {
        "observation": np.array([[0.0, 1.5], [1.0, 2.0]]), "seed": np.array([3, 0]), "seed.mask": np.array([False, True]),
    }  # fmt: skip
    sent = {
        "a": {"json": states}, "c": {"content": lines, "headers": {"Content-Type": "application/x-ndjson"}},
    }  # fmt: skip
    found = {name: client.post(f"states/{name}", **more) for name, more in sent.items()}
    found["b"] = [client.post("states/b", json=each) for each in states][-1]
    assert {each.status_code for each in found.values()} == {201}
    assert len({each.json()["oid"] for each in found.values()}) == 1
    assert found["a"].json()["oids"] == [oid.hex() for oid in client.repo.trajectory("a").oids]
    out = io.BytesIO()
    np.savez(out, **columns)
    npz = client.post(
        "states/d", content=out.getvalue(), headers={"Content-Type": "application/x-npz"}
    )
    assert npz.status_code == 201, npz.text
    assert client.repo.state("d@0").oid == client.repo.state("a@0").oid
    assert [*client.repo.trajectory("d").observations[1]] == [1.0, 2.0]


@pytest.mark.parametrize("run", ["main", "new"])
def test_all_states_of_a_request_are_recorded_or_none(client: Client, run: str) -> None:
    before = refs(client.repo)
    bad = [STATE, STATE, {**STATE, "reward": "much"}]
    found = client.post(f"states/{run}", json=bad)
    assert (found.status_code, found.json()["index"]) == (422, 2), found.text
    unknown = client.post(f"states/{run}", json={"rewrad": 1})
    assert "did you mean 'reward'?" in unknown.json()["detail"]
    stale = client.post(f"states/{run}", json=STATE, headers={"If-Match": '"0"'})
    assert stale.status_code == 412
    strip = [(key, value) for key, value in refs(client.repo)[0] if key != b"runs/main"]
    assert strip == [(key, value) for key, value in before[0] if key != b"runs/main"]
    assert client.repo.runs["main"].step == 5
    assert client.repo.runs["main"].writer is None


@pytest.mark.slow
def test_a_run_that_moved_is_412_and_a_sealed_or_written_one_409(client: Client) -> None:
    tip = client.repo.resolve("main").hex()
    for method, path, more in (
        ("POST", "states/main", {"json": STATE}), ("PATCH", "runs/main", {"json": {"metadata": {"a": 1}}}),
        ("DELETE", "runs/main?force=true", {}),
    ):  # fmt: skip
        old = client.request(method, path, headers={"If-Match": '"0"'}, **more)
        assert (old.status_code, old.json()["tip"]) == (412, tip)
    moved = client.post("states/main", json=STATE, headers={"If-Match": f'"{tip}"'})
    assert moved.status_code == 201
    with client.repo.recorder("sweep/1"):
        busy = client.post("states/sweep/1", json=STATE)
        assert (busy.status_code, busy.json()["type"]) == (409, "Conflict")
    client.repo.set_status("sweep/1", "completed")
    assert client.post("states/sweep/1", json=STATE).status_code == 409
    assert (
        client.post("runs", json={"name": "main", "start": "main@1"}).json()["type"]
        == "AlreadyExists"
    )
    assert client.post("runs", json={"name": "main"}).status_code == 409


def test_runs_are_deleted_in_bulk_only_as_many_as_were_shown(client: Client) -> None:
    path = "runs?where=config.lr > 0.1"
    assert client.request("DELETE", path).status_code == 428
    client.repo.branch("sweep/2", "main@3", overrides={"lr": 0.3})
    other = client.request("DELETE", path, headers={"If-Match": '"1"'})
    assert (other.status_code, other.json()["count"]) == (412, 2)
    done = client.request("DELETE", path, headers={"If-Match": '"2"'})
    assert done.json()["deleted"] == ["sweep/1", "sweep/2"]
    assert client.post("undo").status_code == 200
    assert [*client.repo.runs] == ["main", "sweep/1", "sweep/2"]


def test_undo_names_what_is_in_its_way(client: Client) -> None:
    made = client.request("PATCH", "runs/sweep/1", json={"overrides": {"lr": 9}}).json()[
        "operation"
    ]
    client.repo.configure("sweep/1", {"lr": 10})
    found = client.post("undo", json={"operation": made})
    assert (found.status_code, found.json()["type"]) == (409, "Conflict")
    stale = client.post("undo", headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["newest"]) == (412, client.repo.operations(1)[0].number)
    restored = client.post("restore/1")
    assert restored.status_code == 200 and restored.json()["changed"]


def test_a_request_that_is_sent_twice_is_done_once(client: Client) -> None:
    key = {"Idempotency-Key": "k1"}
    first, second = (client.post("states/main", json=STATE, headers=key) for _ in range(2))
    assert second.status_code == 201 and second.content == first.content
    assert second.headers["idempotency-replayed"] == "true"
    assert client.repo.runs["main"].step == 6
    other = client.post("states/main", json=[STATE, STATE], headers=key)
    assert other.status_code == 422
    bad = [
        client.post("runs", json={"name": "a b"}, headers={"Idempotency-Key": "k2"})
        for _ in range(2)
    ]
    assert [each.status_code for each in bad] == [422, 422]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "runs", b'{"name": "a", "name": "b"}'), ("POST", "runs", b'{"name": "a", "strat": "main"}'),
     ("POST", "runs", b'{"name": 5}'), ("POST", "runs", b"{"), ("POST", "runs", b""), ("POST", "runs", b'{"name": "../x"}'),
     ("POST", "runs", b'{"name": "a", "overrides": {"x": 1e999}}'), ("POST", "states/main", b"[]"), ("POST", "states/main", b"5"),
     ("POST", "states/main", b"\xff"), ("PATCH", "runs/main", b'{"status": "done"}'), ("POST", "states/main", b"[" * 100_000)],
)  # fmt: skip
def test_a_malformed_body_changes_nothing(
    client: Client, method: str, path: str, body: bytes
) -> None:
    before = refs(client.repo)
    found = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert found.status_code == 422, found.text
    assert refs(client.repo) == before
