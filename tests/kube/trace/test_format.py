"""Trace files are read exactly, written verbatim, and never trusted."""

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit.errors import InvalidInput, NotFound
from simgit.kube.task.catalogue import catalogue
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.check import trace_warnings
from simgit.kube.trace.files import parse_trace, read_trace_file, trace_paths, write_trace_file
from simgit.kube.trace.model import Event, Lifecycle, Trace
from simgit.kube.trace.sktrace import canonical_bytes, dump_trace, load_trace, trace_id
from simgit.kube.trace.spec_hash import hash_value, pod_spec_hash
from tests.support.paths import REAL_TRACES

needs_traces = pytest.mark.skipif(not REAL_TRACES.exists(), reason="real traces are absent")
REAL = ["cronjob", "dsb-scaling"]


def real(name: str) -> bytes:
    return (REAL_TRACES / f"{name}.sktrace").read_bytes()


def minimal(**changes: Any) -> dict[str, Any]:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "d"}}
    event = {"ts": 0, "applied_objs": [pod], "deleted_objs": []}
    base = {"version": 2, "config": {"trackedObjects": {}}, "events": [event]}
    return base | {"index": {}, "pod_lifecycles": {}} | changes


def load(**changes: Any) -> Trace:
    return load_trace(msgpack.packb(minimal(**changes)))


@needs_traces
@pytest.mark.parametrize("name", REAL)
def test_a_real_trace_round_trips_verbatim(name: str) -> None:
    assert dump_trace(load_trace(real(name))) == real(name)


@needs_traces
@pytest.mark.parametrize("name", REAL)
def test_the_canonical_form_is_a_trace_with_the_same_identity(name: str) -> None:
    trace = load_trace(real(name))
    again = load_trace(canonical_bytes(trace))
    assert again == trace
    assert trace_id(again) == trace_id(trace)
    assert canonical_bytes(again) == canonical_bytes(trace)


@needs_traces
@pytest.mark.parametrize("name", REAL)
def test_the_hashes_of_a_real_trace_are_those_that_we_compute(name: str) -> None:
    assert trace_warnings(load_trace(real(name))) == []


@needs_traces
def test_lifecycles_of_the_real_cronjob_are_read() -> None:
    ((key, by_spec),) = load_trace(real("cronjob")).lifecycles.items()
    assert key == ("batch/v1.CronJob", "default/hello-simkube")
    assert [life.seconds for life in by_spec[10855072724872030168]] == [30, 30, 30]


def test_known_hashes() -> None:
    assert hash_value({}) == 15130871412783076140
    assert hash_value(None) == 13646096770106105413


@needs_traces
def test_the_recorded_hash_of_a_real_pod_is_that_of_its_template_as_admitted() -> None:
    (manifest,) = load_trace(real("cronjob")).applied()
    spec = dict(manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"])
    for_five_minutes = {"effect": "NoExecute", "operator": "Exists", "tolerationSeconds": 300}
    keys = [f"node.kubernetes.io/{name}" for name in ("not-ready", "unreachable")]
    spec |= {
        "enableServiceLinks": True,
        "nodeName": "any",
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
        "serviceAccountName": "default",
        "tolerations": [{"key": key, **for_five_minutes} for key in keys],
    }
    assert pod_spec_hash(spec) == 10855072724872030168


def test_pod_spec_hashes_leave_out_what_differs_between_equal_pods() -> None:
    plain = {"containers": [{"name": "c", "ports": [{"containerPort": 1}]}]}
    access = [{"name": "kube-api-access-x1"}]
    placed = {"containers": [{"name": "c", "volumeMounts": access}], "nodeName": "n"}
    assert pod_spec_hash(plain) == pod_spec_hash(placed | {"volumes": access})


def test_the_order_of_maps_is_not_part_of_the_identity() -> None:
    plain = minimal()
    turned = dict(reversed(plain.items()))
    assert trace_id(load_trace(msgpack.packb(plain))) == trace_id(load_trace(msgpack.packb(turned)))


def test_stale_hashes_are_warnings() -> None:
    trace = load(index={"v1.Pod": {"d/p": 7}})
    assert trace_warnings(trace) == ["index.v1.Pod.d/p is stale"]


def test_the_old_spellings_are_read() -> None:
    tracked = {"trackedObjects": {"/v1.Pod": {"podSpecTemplatePath": ""}}}
    trace = load(config=tracked, index={"/v1.Pod": {"d/p": 7}})
    assert trace.config == {"trackedObjects": {"v1.Pod": {"podSpecTemplatePaths": ("",)}}}
    assert trace.tracks("v1.Pod", "d/p")


def test_all_three_lifecycles_are_read() -> None:
    lives = ["Empty", {"Running": 5}, {"Finished": [5, 9]}]
    data = minimal(pod_lifecycles={("v1.Pod", "d/p"): {2**64 - 1: lives}})
    trace = load_trace(msgpack.packb(data))
    expected = (Lifecycle(), Lifecycle(5), Lifecycle(5, 9))
    assert trace.lifecycles == {("v1.Pod", "d/p"): {2**64 - 1: expected}}
    assert load_trace(canonical_bytes(trace)) == trace


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"events": [{"ts": 0, "applied_objs": [{}], "deleted_objs": []}]}, "apiVersion"),
        ({"events": 3}, "events"),
        ({"events": [{"applied_objs": [], "deleted_objs": []}]}, "events[0].ts"),
        ({"events": [{"ts": True, "applied_objs": [], "deleted_objs": []}]}, "events[0].ts"),
        ({"events": [{"ts": 2**60, "applied_objs": [], "deleted_objs": []}]}, "events[0].ts"),
        ({"index": {"v1.Pod": {"a": -1}}}, "index.v1.Pod.a"),
        ({"index": {"Pod": {}}}, "index.Pod"),
        ({"index": []}, "index"),
        ({"config": {}}, "config.trackedObjects"),
        ({"config": {"trackedObjects": {"v1.Pod": {"x": 1}}}}, "config.trackedObjects.v1.Pod.x"),
        ({"pod_lifecycles": {"v1.Pod": {}}}, "pod_lifecycles[0]"),
        ({"version": 3}, "version"),
        ({"version": 2.0}, "version"),
    ],
)
def test_a_malformed_trace_is_refused_with_its_place(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load(**changes)
    assert caught.value.path.endswith(place)


def test_a_nameless_object_is_refused_with_its_full_place() -> None:
    nameless = {"apiVersion": "v1", "kind": "Pod", "metadata": {}}
    events = [{"ts": 0, "applied_objs": [nameless], "deleted_objs": []}]
    with pytest.raises(InvalidInput, match=r"'events\[0\]\.applied_objs\[0\]\.metadata\.name'"):
        load(events=events)


@pytest.mark.parametrize("spec", [b"bytes", float("nan"), {1: 2}, msgpack.ExtType(1, b"")])
def test_what_json_cannot_hold_is_refused(spec: object) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"a": [spec]}}
    with pytest.raises(InvalidInput, match=r"applied_objs\[0\]\.spec\.a\[0\]"):
        load(events=[{"ts": 0, "applied_objs": [pod], "deleted_objs": []}])


@pytest.mark.parametrize("version_1", [[{}, [], {}, {}], minimal(version=1)])
def test_version_1_is_refused_with_a_reason(version_1: object) -> None:
    with pytest.raises(InvalidInput, match=r"readable only by SimKube 1\.1\.1"):
        load_trace(msgpack.packb(version_1))
    with pytest.raises(InvalidInput, match=r"readable only by SimKube 1\.1\.1"):
        parse_trace(json.dumps(version_1).encode(), "old.json")


def test_a_directory_has_traces_of_every_encoding_each_once(tmp_path: Path) -> None:
    trace = generate("cpu-slight").trace
    for name in ("b.sktrace", "a.json", "c.msgpack", "b.json"):
        write_trace_file(str(tmp_path / name), trace)
    (tmp_path / "summary.json").write_text('{"episodes": 3}')
    (tmp_path / "folder.json").mkdir()
    assert [path.name for path in trace_paths(tmp_path)] == ["a.json", "b.sktrace", "c.msgpack"]
    assert catalogue(str(tmp_path)) == dict.fromkeys("abc", trace)
    assert read_trace_file(str(tmp_path / "c.msgpack")) == trace


@pytest.mark.parametrize("key", ["config", "events", "index", "pod_lifecycles"])
def test_a_missing_key_is_an_error_and_an_unknown_one_is_not(key: str) -> None:
    plain = minimal(future=[1, 2])
    assert load_trace(msgpack.packb(plain))
    del plain[key]
    with pytest.raises(InvalidInput, match=f"missing key '{key}'"):
        load_trace(msgpack.packb(plain))


def test_truncated_trailing_and_oversized_files_are_refused() -> None:
    data = msgpack.packb(minimal())
    for size in range(len(data)):
        with pytest.raises(InvalidInput):
            load_trace(data[:size])
    with pytest.raises(InvalidInput, match="after its end"):
        load_trace(data + b"\xc0")
    with pytest.raises(InvalidInput, match="more than the limit"):
        load_trace(data, max_bytes=10)
    with pytest.raises(InvalidInput, match="more than 3 maps"):
        load_trace(data, max_maps=3)


def test_a_file_is_read_or_refused(tmp_path: Path) -> None:
    data = msgpack.packb(minimal())
    (tmp_path / "a.sktrace").write_bytes(data)
    assert read_trace_file(tmp_path / "a.sktrace").source == data
    with pytest.raises(NotFound, match="no such file"):
        read_trace_file(tmp_path / "b.sktrace")
    with pytest.raises(NotFound, match="is a directory"):
        read_trace_file(tmp_path)
    with pytest.raises(InvalidInput, match="more than 5 bytes"):
        read_trace_file(tmp_path / "a.sktrace", max_bytes=5)


def test_lengths_that_the_bytes_do_not_back_allocate_nothing() -> None:
    claim = b"\xdd" + struct.pack(">I", 60_000_000)
    with pytest.raises(InvalidInput):
        load_trace(claim * 400 + bytes(1000))


def test_deep_nesting_is_refused() -> None:
    for deep in (b"\x91" * 300 + b"\xc0", b"\x81\xa1a" * 100_000 + b"\xc0"):
        with pytest.raises(InvalidInput):
            load_trace(deep)
    spec: Any = None
    for _ in range(150):
        spec = [spec]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    with pytest.raises(InvalidInput, match="nested too deeply"):
        load(events=[{"ts": 0, "applied_objs": [pod], "deleted_objs": []}])


def test_duplicate_keys_and_text_that_is_not_utf8_are_refused() -> None:
    with pytest.raises(InvalidInput, match="same key twice"):
        load_trace(b"\x82\xa1a\xc0\xa1a\xc0")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        load_trace(b"\x81\xa1\xff\xc0")


@given(st.binary(max_size=300))
def test_random_bytes_raise_only_our_error(data: bytes) -> None:
    with contextlib.suppress(InvalidInput):
        load_trace(data)


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@given(st.sampled_from(["version", "config", "events", "index", "pod_lifecycles"]), json_like)
def test_a_hostile_part_raises_only_our_error(key: str, value: object) -> None:
    with contextlib.suppress(InvalidInput):
        canonical_bytes(load(**{key: value}))


@given(st.data())
def test_flipped_bytes_raise_only_our_error(data: st.DataObject) -> None:
    raw = bytearray(msgpack.packb(minimal(index={"v1.Pod": {"d/p": 2**63}})))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidInput):
        trace = load_trace(bytes(raw))
        assert dump_trace(trace) == bytes(raw)


def test_a_built_trace_writes_its_canonical_form() -> None:
    trace = Trace(events=(Event(5),))
    assert load_trace(dump_trace(trace)) == trace
