"""What sessions create is noted before, removed afterwards, and nothing else ever is."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simgit.errors import SimgitWarning
from simgit.kube.live.api import Api
from simgit.kube.live.cleanup import (
    RUN,
    Created,
    is_our_name,
    label_value,
    leftovers,
    remove,
    run_of,
    shielded,
    terminable,
)
from simgit.testing.apiserver import TOKEN, ApiFault, ApiServer
from tests.support.served import connect

MAPS = "/api/v1/namespaces/default/configmaps"
HERE = "http://here"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def api(server: ApiServer, tmp_path: Path) -> Iterator[Api]:
    with connect(server, tmp_path) as api:
        yield api


def config_map(name: str, *, run: str | None = "run", **metadata: Any) -> Any:
    labels = {} if run is None else {RUN: run}
    return {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": labels, **metadata},
    }  # fmt: skip


def names(server: ApiServer) -> list[str]:
    return [each["metadata"]["name"] for each in server.objects("configmaps")]


# The file


def test_what_is_noted_is_there_for_the_next_session(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "left"
    created = Created(file, HERE)
    created.note("/a/b/c")
    created.note("/a/b/d")
    created.note("/a/b/c", "uid")
    found = {each["path"]: each["uid"] for each in Created(file, HERE).entries()}
    assert found == {"/a/b/d": None, "/a/b/c": "uid"}
    created.gone("/a/b/d")
    created.gone("/a/b/d")
    assert [each["path"] for each in Created(file, HERE).entries()] == ["/a/b/c"]
    created.gone("/a/b/c")
    assert not file.exists() and list(file.parent.iterdir()) == []


def test_clusters_and_processes_share_the_file(tmp_path: Path) -> None:
    file = tmp_path / "left"
    here, there = Created(file, HERE), Created(file, "http://there")
    late = Created(file, HERE)
    here.note("/a/b/1")
    there.note("/a/b/1")
    late.note("/a/b/2")
    assert [each["path"] for each in Created(file, HERE).entries()] == ["/a/b/1", "/a/b/2"]
    here.gone("/a/b/1")
    assert [each["path"] for each in Created(file, HERE).entries()] == ["/a/b/2"]
    assert [each["path"] for each in Created(file, "http://there").entries()] == ["/a/b/1"]


def _note_many(file: Path, first: int) -> None:
    created = Created(file, HERE)
    for number in range(first, first + 25):
        created.note(f"/a/b/{number}")
        if number % 2:
            created.gone(f"/a/b/{number}")


@pytest.mark.slow
def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "left"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_note_many, args=(file, 25 * n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    found = {each["path"] for each in Created(file, HERE).entries()}
    assert found == {f"/a/b/{number}" for number in range(0, 100, 2)}


def test_damaged_lines_are_of_no_use_and_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "left"
    good = json.dumps({"server": HERE, "path": "/a/b/c", "uid": None})
    file.write_text(f'{{"server\n[]\nnull\n{good}\n{{"path": 1}}\n')
    assert [each["path"] for each in Created(file, HERE).entries()] == ["/a/b/c"]


# Removal


def test_what_was_created_is_removed_and_forgotten(
    server: ApiServer, api: Api, tmp_path: Path
) -> None:
    created = Created(tmp_path / "left", api.url)
    for name in "abc":
        created.note(f"{MAPS}/{name}")
        made = api.create(MAPS, config_map(name))
        if name != "c":  # its answer was lost
            created.note(f"{MAPS}/{name}", made["metadata"]["uid"])
    created.note(f"{MAPS}/never")
    server.create(config_map("other"))
    assert remove(api, created) == []
    assert not (tmp_path / "left").exists()
    assert "other" in names(server) and not set("abc") & set(names(server))


def test_what_is_not_ours_stays(server: ApiServer, api: Api, tmp_path: Path) -> None:
    server.create(config_map("theirs", run=None), config_map("anew"))
    [uid] = [
        each["metadata"]["uid"]
        for each in server.objects("configmaps")
        if each["metadata"]["name"] == "theirs"
    ]
    created = Created(tmp_path / "left", api.url)
    created.note(f"{MAPS}/theirs", uid)  # as a stranger's file may say
    created.note(f"{MAPS}/anew", "uid of one that was deleted")
    created.note("/api/v1/namespaces/kube-system")
    created.note(f"{MAPS}/none")
    assert remove(api, created) == []
    another = "another's has this name"
    assert created.absent == {
        f"{MAPS}/theirs": another, f"{MAPS}/anew": another,
        "/api/v1/namespaces/kube-system": another, f"{MAPS}/none": "it does not exist",
    }  # fmt: skip
    assert {"theirs", "anew"} <= set(names(server))
    assert created.entries() == []
    assert [r for r in server.requests if r.method == "DELETE"] == []


def test_a_trace_that_a_killed_session_delivered_is_removed_and_no_other_file(
    api: Api, tmp_path: Path
) -> None:
    (tmp_path / "nodes").mkdir()
    ours = tmp_path / "nodes" / f"simgit-{'0a' * 16}.sktrace"
    others = [tmp_path / "mine.sktrace", tmp_path / "simgit-0a.sktrace"]
    created = Created(tmp_path / "left", api.url)
    for each in (ours, *others):
        each.write_text("a trace")
        created.note(f"file://{each}")
    gone = f"file://{ours.with_name(ours.name.replace('0a', '0b'))}"
    created.note(gone)
    assert remove(api, created) == []
    assert not ours.exists() and all(each.exists() for each in others)
    assert created.absent == {
        gone: "it does not exist", **{f"file://{each}": "it is not simgit's" for each in others}
    }  # fmt: skip
    assert not (tmp_path / "left").exists()


def test_what_another_session_removed_meanwhile_is_read_again(tmp_path: Path) -> None:
    mine, other = (Created(tmp_path / "left", HERE) for _ in range(2))
    mine.note("/a/b/c")
    other.read()
    other.gone("/a/b/c")
    other.note("/a/b/d", "uid")
    mine.read()
    assert [each["path"] for each in mine.entries()] == ["/a/b/d"]
    other.gone("/a/b/d")
    mine.read()
    assert mine.entries() == []


def test_one_of_the_same_name_that_came_in_between_stays(server: ApiServer, api: Api) -> None:
    server.create(config_map("a"))
    found = api.get(f"{MAPS}/a")
    server.delete("configmaps", "a", "default")
    server.create(config_map("a"))
    assert api.delete(f"{MAPS}/a", uid=found["metadata"]["uid"]) is False
    assert "a" in names(server)


def test_what_a_finalizer_holds_is_reported_and_kept_in_the_file(
    server: ApiServer, api: Api, tmp_path: Path
) -> None:
    server.create(config_map("held", finalizers=["example.com/hold"]), config_map("free"))
    created = Created(tmp_path / "left", api.url)
    created.note(f"{MAPS}/held")
    created.note(f"{MAPS}/free")
    began = server.now
    assert remove(api, created) == [
        f"{MAPS}/held: still being deleted (finalizers: example.com/hold)"
    ]
    assert server.now - began <= 60
    assert [each["path"] for each in Created(tmp_path / "left", api.url).entries()] == [
        f"{MAPS}/held"
    ]
    assert "held" in names(server) and "free" not in names(server)
    assert remove(api, Created(tmp_path / "left", api.url), force=True) == []
    assert "held" not in names(server) and not (tmp_path / "left").exists()


def test_what_creates_more_goes_first_and_namespaces_last(server: ApiServer, api: Api) -> None:
    server.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {RUN: "r"}}},
        config_map("a"),
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {
            "name": "d", "namespace": "n", "labels": {RUN: "r"}}, "spec": {
            "replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}},
    )  # fmt: skip
    created = Created(None, api.url)
    for path in ("/api/v1/namespaces/n", f"{MAPS}/a", "/apis/apps/v1/namespaces/n/deployments/d"):
        created.note(path)
    assert remove(api, created) == []
    deleted = [r.path.split("/")[-1].split("?")[0] for r in server.requests if r.method == "DELETE"]
    assert deleted == ["d", "a", "n"]


def test_pods_that_nobody_ends_do_not_hold_a_namespace_of_ours(tmp_path: Path) -> None:
    def space(name: str, **metadata: Any) -> Any:
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}

    def pod(namespace: str) -> Any:
        spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "node1"}
        metadata = {"name": "p", "namespace": namespace}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    with ApiServer(kwok=False, nodes=1) as server, connect(server, tmp_path) as api:
        server.create(space("virtual-a", labels={RUN: "r"}), pod("virtual-a"), pod("theirs"))
        server.delete("pods", "p", "theirs")
        created = Created(None, api.url)
        created.note("/api/v1/namespaces/virtual-a")
        created.note("/api/v1/namespaces/theirs")
        assert remove(api, created) == []
        spaces = {each["metadata"]["name"] for each in server.objects("namespaces")}
        assert "virtual-a" not in spaces and "theirs" in spaces
        assert [each["metadata"]["namespace"] for each in server.objects("pods")] == ["theirs"]


@pytest.mark.parametrize("kind", ["reset", "reset-after", "500", "429", "504"])
def test_a_fault_on_the_way_is_overcome(server: ApiServer, api: Api, kind: str) -> None:
    server.create(config_map("a"))
    created = Created(None, api.url)
    created.note(f"{MAPS}/a")
    for number in range(1, 4):
        server.faults = [ApiFault(kind, at=len(server.requests) + number)]
        assert remove(api, created) == []
        assert "a" not in names(server)
        server.create(config_map("a"))
        created.note(f"{MAPS}/a")


def test_a_server_that_is_gone_costs_the_time_and_no_error(
    server: ApiServer, api: Api, tmp_path: Path
) -> None:
    server.create(config_map("a"))
    created = Created(tmp_path / "left", api.url)
    created.note(f"{MAPS}/a")
    server.faults = [ApiFault("reset", times=None)]
    [told] = remove(api, created, seconds=5)
    assert told.startswith(f"{MAPS}/a: ")
    server.faults = []
    assert remove(api, Created(tmp_path / "left", api.url)) == []
    assert "a" not in names(server)


# Finding


def test_leftovers_are_found_by_label_annotation_and_simulation(
    server: ApiServer, api: Api
) -> None:
    sim = "simgit-main-3-0a1b"

    def webhook(name: str, simulation: str) -> Any:
        return {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name, "labels": {"simkube.io/simulation": simulation}},
        }  # fmt: skip

    def namespace(name: str, **metadata: Any) -> Any:
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}

    server.create(
        config_map("root"), config_map("theirs", run=None),
        webhook(f"sk-{sim}-mutatepods", sim), webhook("sk-mine-mutatepods", "mine"),
        webhook("sk-simgit-mutatepods", "simgit-mine"),
        namespace("virtual-a", labels={RUN: "x"}), namespace("virtual-b", annotations={RUN: "y"}),
        namespace("virtual-c", labels={"simkube.io/simulation": sim}), namespace("virtual-d"),
    )  # fmt: skip
    found = [(each["kind"], each["name"], each["run"]) for each in leftovers(api)]
    assert found == [
        ("MutatingWebhookConfiguration", f"sk-{sim}-mutatepods", sim),
        ("ConfigMap", "root", "run"),
        ("Namespace", "virtual-a", "x"),
        ("Namespace", "virtual-b", "y"),
        ("Namespace", "virtual-c", sim),
    ]
    assert leftovers(api)[1]["path"] == f"{MAPS}/root"


def test_names_and_labels() -> None:
    assert is_our_name("simgit-main1234-12-0a1b")
    for other in ("simgit-main", "simgit-main-1-0A1B", "my-simgit-main-1-0a1b", "simgit--1-0a1b"):
        assert not is_our_name(other)
    assert label_value("train/cpu-slight-dqn-1@3") == "train-cpu-slight-dqn-1-3"
    assert label_value("/" * 70) == "run"
    assert label_value("ä" * 3 + "a" * 99) == "a" * 60
    assert run_of({"metadata": None}) is None


# Signals


def test_the_first_signal_waits_for_the_end_and_a_second_does_not() -> None:
    reached = []
    with pytest.warns(match="cleaning up"), pytest.raises(KeyboardInterrupt), shielded():
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(1)
    assert reached == [1]
    with pytest.warns(match="cleaning up"), pytest.raises(KeyboardInterrupt), shielded():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(2)
    assert reached == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_sigterm_ends_a_block_as_ctrl_c_does() -> None:
    with pytest.raises(KeyboardInterrupt), terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_may_not_be_listed_is_said(server: ApiServer, api: Api) -> None:
    listed = {"apiGroups": [""], "resources": ["nodes", "configmaps"], "verbs": ["list"]}
    server.set_tokens({TOKEN: [listed]})
    with pytest.warns(SimgitWarning, match="not looked for: namespaces is forbidden"):
        assert leftovers(api) == []
