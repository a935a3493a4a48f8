"""The stages of pods: SimKube's files for KWOK do what ours do, and what is beyond them is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from simgit.errors import ClusterError, InvalidInput
from simgit.kube.embedded import PodDelays
from simgit.kube.live.stage_files import read_stages
from simgit.kube.live.stages import DEFAULT_STAGES, ReplayTiming, Stage
from simgit.kube.simulation import SimulationSpec
from simgit.kube.trace.model import Event, Lifecycle, Trace
from tests.kube.live.loopback import (
    SIMULATION,
    WEB,
    deployment,
    loopback,
    replayer,
    settings,
    trace,
)
from tests.support.paths import RECORDED

FILES = sorted(RECORDED.glob("kwok-pod-*.yml"))
needs_files = pytest.mark.skipif(not FILES, reason="SimKube's files are not here")
NOW = "2026-01-01T00:00:00Z"


def pod(**parts: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u", **parts.pop("metadata", {})},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}], **parts.pop("spec", {})},
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}], **parts},
    }  # fmt: skip


def first(stages: tuple[Stage, ...], which: dict[str, Any], timing: ReplayTiming) -> Stage | None:
    return next((stage for stage in stages if stage.matches(which, timing)), None)


def led(stages: tuple[Stage, ...], which: dict[str, Any], timing: ReplayTiming) -> list[str]:
    """Lead a pod as far as it goes; return the stages."""
    passed = []
    while (stage := first(stages, which, timing)) and stage.delay(which, timing) is not None:
        passed.append(stage.name)
        assert len(passed) < 10
        if stage.status is None:
            break
        which = {**which, "status": {**which["status"], **stage.status(which, NOW)}}
    assert {c["type"] for c in which["status"]["conditions"]} >= {"PodScheduled"}
    return [*passed, which["status"]["phase"]]


@needs_files
def test_simkubes_files_lead_a_pod_where_ours_do() -> None:
    files, timing = read_stages(FILES), ReplayTiming()
    assert led(files, pod(), timing) == ["pod-create", "pod-ready", "Running"]
    assert led(DEFAULT_STAGES, pod(), timing) == ["pod-ready", "Running"]
    gone = pod(metadata={"deletionTimestamp": NOW})
    assert (
        led(files, gone, timing) == led(DEFAULT_STAGES, gone, timing) == ["pod-delete", "Pending"]
    )
    unbound = pod(spec={"nodeName": ""})
    assert led(files, unbound, timing) == led(DEFAULT_STAGES, unbound, timing) == ["Pending"]


@needs_files
def test_a_status_of_the_files_is_that_of_ours() -> None:
    timing = ReplayTiming()
    several = pod(spec={
        "containers": [{"name": "a", "image": "x"}, {"name": "b", "image": 'y"z'}],
        "initContainers": [{"name": "i", "image": "x"}],
        "readinessGates": [{"conditionType": "gate"}],
    })  # fmt: skip
    made = several
    for _ in range(2):
        stage = first(read_stages(FILES), made, timing)
        assert stage is not None and stage.status is not None
        made = {**made, "status": {**made["status"], **stage.status(made, NOW)}}
    ours = DEFAULT_STAGES[1].status(several, NOW)  # type: ignore[misc]
    for key in ("phase", "startTime"):
        assert made["status"][key] == ours[key]
    told = {c["type"]: c["status"] for c in made["status"]["conditions"]}
    assert told == {c["type"]: c["status"] for c in ours["conditions"]}
    for key in ("containerStatuses", "initContainerStatuses"):
        theirs = [(c["name"], c["image"], c["ready"], *c["state"]) for c in made["status"][key]]
        assert theirs == [(c["name"], c["image"], c["ready"], *c["state"]) for c in ours[key]]


@needs_files
def test_delays_are_those_of_the_simulation_or_of_annotations() -> None:
    create, ready = (
        next(s for s in read_stages(FILES) if s.name == n) for n in ("pod-create", "pod-ready")
    )
    timing = ReplayTiming(PodDelays(create=1500, ready=2000, ready_jitter=3000))
    assert create.delay(pod(), timing) == 1.5
    assert 2 <= (ready.delay(pod(), timing) or 0) <= 3
    own = pod(metadata={"annotations": {"simkube.io/kwok-stage-create-delay": "1m2.5s"}})
    assert create.delay(own, timing) == 62.5
    wrong = pod(metadata={"annotations": {"simkube.io/kwok-stage-create-delay": "soon"}})
    with pytest.raises(InvalidInput, match="'soon' is neither a duration nor a time"):
        create.delay(wrong, timing)


@pytest.mark.slow
@needs_files
def test_pods_of_a_replay_are_led_by_files(tmp_path: Path) -> None:
    bare = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }  # fmt: skip
    key = ("v1.Pod", "default/web")
    lives = {key: {1: (Lifecycle(0, 300),)}}
    what = Trace((Event(0, (bare,)),), index={key[0]: {key[1]: 1}}, lifecycles=lives)
    with loopback(tmp_path) as (_, api), replayer(api, stages=read_stages(FILES)) as driver:
        with driver.replay(trace([deployment()]), SIMULATION, WEB, label="main") as cluster:
            assert cluster.observe(WEB).counts() == (3, 0, 3)
        with driver.replay(what, SimulationSpec(speed=100), WEB, label="main") as cluster:
            for _ in range(30):  # three seconds, on a machine that is not busy
                cluster.advance(1)
                if [row["phase"] for row in cluster.pods()] == ["Succeeded"]:
                    break
            assert [row["phase"] for row in cluster.pods()] == ["Succeeded"]


CREATE = """
kind: Stage
metadata: {name: s}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector: {matchExpressions: [{key: .status.podIP, operator: DoesNotExist}]}
  next: {statusTemplate: 'phase: Running'}
"""


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("kind",), "Deployment", "an object that is no Stage"),
        (("spec", "weight"), 3, "spec.weight is not understood"),
        (("spec", "resourceRef", "kind"), "Node", "only stages of Pods"),
        (("spec", "selector", "matchLabels"), {"a": "b"}, "selector.matchLabels is not understood"),
        (("spec", "selector", "matchExpressions", 0, "operator"), "Gt", "operator 'Gt'"),
        (("spec", "selector", "matchExpressions", 0, "key"), ".a | length", "is not understood"),
        (("spec", "next"), {}, "either delete: true, or the template"),
        (("spec", "next", "delete"), True, "either delete: true, or the template"),
        (("spec", "next", "statusTemplate"), "{{ if .a }}x{{ end }}", "'if' is not understood"),
        (("spec", "next", "statusTemplate"), "{{ range .a }}x", "lacks an 'end'"),
        (("spec", "next", "statusTemplate"), "{{ end }}", "an 'end' too many"),
        (("spec", "next", "statusTemplate"), "{{ .a | Upper }}", "'Upper' is not understood"),
        (("spec", "next", "statusTemplate"), "{{ ( .a }}", "is not closed"),
        (("spec", "delay"), {"cron": 1}, "delay.cron is not understood"),
    ],
)
def test_what_is_beyond_the_four_files_is_refused(
    tmp_path: Path, path: tuple[Any, ...], value: Any, told: str
) -> None:
    document = yaml.safe_load(CREATE)
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    (file := tmp_path / "s.yml").write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidInput, match=told) as error:
        read_stages([file])
    assert "\n" not in str(error.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot read"):
        read_stages([tmp_path / "missing.yml"])
    (file := tmp_path / "s.yml").write_text("a: [")
    with pytest.raises(InvalidInput, match="is not YAML"):
        read_stages([file])


@pytest.mark.slow
def test_a_template_that_fails_is_the_reason(tmp_path: Path) -> None:
    (file := tmp_path / "s.yml").write_text(
        CREATE.replace("phase: Running", "a: [{{ .metadata.name }}")
    )
    with (
        loopback(tmp_path) as (_, api),
        replayer(api, stages=read_stages([file]), settings=settings()) as driver,
        pytest.raises(ClusterError, match=r"stage 's'.*does not give YAML"),
        driver.replay(trace([deployment()]), SIMULATION, WEB, label="main"),
    ):
        pass
