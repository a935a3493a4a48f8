"""Edits, filters, differences, tables and JSON of traces."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit.errors import InvalidInput, NotFound
from simgit.kube.manifest import lookup
from simgit.kube.trace.check import trace_warnings
from simgit.kube.trace.diff import diff_traces
from simgit.kube.trace.edit import (
    cut,
    filter_objects,
    filter_time,
    parse_duration,
    rehash,
    set_replicas,
    set_requests,
    workload,
)
from simgit.kube.trace.json_form import trace_from_json, trace_to_json
from simgit.kube.trace.model import Event, Lifecycle, Trace
from simgit.kube.trace.sktrace import load_trace, trace_id
from simgit.kube.trace.timeline import timeline
from simgit.kube.trace.workload_table import workload_table
from tests.support.paths import REAL_TRACES

needs_traces = pytest.mark.skipif(not REAL_TRACES.exists(), reason="real traces are absent")


def deployment(name: str, cpu: str = "17", replicas: int = 3, namespace: str = "default") -> Any:
    requests = {"cpu": cpu, "memory": "2Gi"}
    containers = ({"name": "c", "resources": {"requests": requests}},)
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "template": template},
    }


WEB, DB = deployment("web"), deployment("db", namespace="data")
TRACE = Trace(
    events=(
        Event(100, (WEB, DB)),
        Event(160, (deployment("web", replicas=5),)),
        Event(200, (), (DB,)),
    ),
    index={"apps/v1.Deployment": {"default/web": 1, "data/db": 2}},
    lifecycles={("apps/v1.Deployment", "data/db"): {2**64 - 1: (Lifecycle(1, 5), Lifecycle())}},
)


def real(name: str) -> Trace:
    return load_trace((REAL_TRACES / f"{name}.sktrace").read_bytes())


def test_an_edit_reads_as_a_person_would_say_it() -> None:
    edited = set_requests(TRACE, workload("web"), cpu="16500m")
    assert [str(change) for change in diff_traces(TRACE, edited)] == ["web: cpu 17 → 16500m"]


def test_an_edit_shares_what_it_does_not_change() -> None:
    edited = set_requests(TRACE, workload("web"), cpu="1")
    assert edited.events[0].applied[1] is DB
    assert edited.events[2] is TRACE.events[2]
    assert lookup(WEB, ("spec", "template", "spec", "containers", 0, "resources", "requests")) == {
        "cpu": "17",
        "memory": "2Gi",
    }


def test_replicas_are_set_in_every_event() -> None:
    edited = set_replicas(TRACE, workload("web"), 9)
    assert [m["spec"]["replicas"] for m in edited.applied() if m["metadata"]["name"] == "web"] == [
        9,
        9,
    ]
    assert {str(c) for c in diff_traces(TRACE, edited)} == {
        "web: replicas 3 → 9",
        "web: replicas 5 → 9",
    }


@pytest.mark.parametrize("replicas", [-1, 2**31, True])
def test_bad_replicas_are_refused(replicas: int) -> None:
    with pytest.raises(InvalidInput, match="replicas"):
        set_replicas(TRACE, workload("web"), replicas)


def test_unknown_workloads_containers_and_bad_quantities_are_refused() -> None:
    with pytest.raises(NotFound, match="no such workload"):
        set_requests(TRACE, workload("nope"), cpu="1")
    with pytest.raises(NotFound, match="no such workload"):
        set_requests(TRACE, workload("web", namespace="data"), cpu="1")
    with pytest.raises(NotFound, match="no container 'x' in 'default/web'"):
        set_requests(TRACE, workload("web"), container="x", cpu="1")
    with pytest.raises(InvalidInput, match="bad quantity"):
        set_requests(TRACE, workload("web"), cpu="1Q")


def test_filters_keep_index_and_lifecycles_in_step() -> None:
    web = filter_objects(TRACE, namespaces=["default"])
    assert [m["metadata"]["name"] for m in web.applied()] == ["web", "web"]
    assert web.index == {"apps/v1.Deployment": {"default/web": 1}}
    assert web.lifecycles == {}
    assert len(web.events) == 3
    assert list(filter_objects(TRACE, kinds=["CronJob"]).applied()) == []
    assert list(filter_objects(TRACE, kinds=["Deployment"], names=["db"]).applied()) == [DB]


def test_a_range_of_time_starts_with_what_exists_then() -> None:
    late = filter_time(TRACE, 70, 200)
    assert late.events == (
        Event(170, (deployment("web", replicas=5), DB)),
        Event(200, (), (DB,)),
    )
    assert filter_time(TRACE, 0, 60).events == (TRACE.events[0],)


def test_a_duration_cuts_and_adds_an_empty_event() -> None:
    assert cut(TRACE, 60).events == (TRACE.events[0], Event(160))
    assert cut(TRACE, 1000).events[-1] == Event(1100)


def test_durations_are_read() -> None:
    assert [parse_duration(t) for t in ("90", "90s", "5m", "1h30m", "1d")] == [
        90,
        90,
        300,
        5400,
        86400,
    ]
    for bad in ("", "m", "5x", "-5s", "1h 3m", "1.5h", "٣"):
        with pytest.raises(InvalidInput):
            parse_duration(bad)


def test_rehashing_clears_the_warnings() -> None:
    assert len(trace_warnings(TRACE)) == 2
    assert trace_warnings(rehash(TRACE)) == []


def test_the_table_tells_what_is_asked_for_and_when() -> None:
    web, db = workload_table(TRACE)
    assert (web.name, web.replicas, web.cpu, web.memory, web.versions) == ("web", 5, "17", "2Gi", 2)
    assert (web.first, web.last, web.deleted) == (0, 60, None)
    assert (db.namespace, db.deleted) == ("data", 100)


def test_the_timeline_tells_what_each_event_does() -> None:
    rows = timeline(TRACE)
    assert [row.offset for row in rows] == [0, 60, 100]
    assert rows[0].created == ("default/web", "data/db")
    assert rows[1].changed == ("web: replicas 3 → 5",)
    assert rows[2].deleted == ("data/db",)


def test_diff_tells_of_objects_that_come_and_go_and_of_times() -> None:
    lines = [str(c) for c in diff_traces(TRACE, cut(filter_objects(TRACE, names=["web"]), 10))]
    assert lines == [
        "trace: seconds 100 → 10",
        "trace: events 3 → 2",
        "web: versions 2 → 1",
        "db: object db → none",
    ]
    assert diff_traces(TRACE, TRACE) == []


def test_json_is_exact_in_both_directions() -> None:
    text = trace_to_json(TRACE)
    assert trace_from_json(text) == TRACE
    assert str(2**64 - 1) in json.loads(text)["pod_lifecycles"][0]["specs"]
    numbers = json.loads(text)
    numbers["index"]["apps/v1.Deployment"]["default/web"] = 2**64 - 1
    changed = trace_from_json(json.dumps(numbers))
    assert changed.index["apps/v1.Deployment"]["default/web"] == 2**64 - 1


@needs_traces
@pytest.mark.parametrize("name", ["cronjob", "dsb-scaling"])
def test_real_traces_survive_json(name: str) -> None:
    trace = real(name)
    assert trace_id(trace_from_json(trace_to_json(trace))) == trace_id(trace)


@needs_traces
def test_the_real_table() -> None:
    table = workload_table(real("dsb-scaling"))
    assert len(table) == 27
    assert {row.namespace for row in table} == {"dsb"}


@pytest.mark.parametrize(
    "text",
    [b"\xff\xfe[", b'"\xff"', "", "[1", "[]", "NaN", '{"a":1,"a":2}', "[" * 100_000, "1" * 5000],
)
def test_bad_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidInput):
        trace_from_json(text)


@given(st.sampled_from(["index", "pod_lifecycles", "events"]), st.text(max_size=12))
def test_hostile_json_raises_only_our_error(key: str, value: str) -> None:
    plain = json.loads(trace_to_json(TRACE))
    for hostile in (value, [value], {value: value}, [{"specs": {value: value}}]):
        with contextlib.suppress(InvalidInput):
            trace_from_json(json.dumps(plain | {key: hostile}))
