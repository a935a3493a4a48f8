"""Controllers: rollouts, ordered sets, daemons, jobs and schedules, step by step."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from simgit.errors import ClusterError, InvalidInput
from simgit.kube.embedded import EmbeddedCluster, NodeSpec, default_nodes, node_spec
from simgit.kube.embedded.controllers.cron_schedule import parse_schedule
from simgit.kube.embedded.template_equality import same_template

State = dict[tuple[str, bool], int]


def workload(kind: str, cpu: str, *, name: str = "web", pod: Any = None, **spec: Any) -> Any:
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [container], **(pod or {})},
    }
    if kind == "Job":
        template["spec"].setdefault("restartPolicy", "Never")
    else:
        spec.setdefault("selector", {"matchLabels": {"app": name}})
    return {
        "apiVersion": "batch/v1" if kind == "Job" else "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"template": template, **spec},
    }


def state(cluster: EmbeddedCluster) -> State:
    """Count pods by (CPU request, ready)."""
    return dict(Counter((row["cpu"], row["ready"]) for row in cluster.pods()))


def states(*manifests: Any, nodes: list[NodeSpec] | None = None) -> list[State]:
    cluster = EmbeddedCluster(nodes)
    seen = []
    for manifest in manifests:
        cluster.apply([manifest])
        seen.append(state(cluster))
    return seen


def deployment(cpu: str, replicas: int, surge: Any = None, down: Any = None, **spec: Any) -> Any:
    if surge is not None:
        rolling = {"maxSurge": surge, "maxUnavailable": down}
        spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": rolling}
    return workload("Deployment", cpu, replicas=replicas, **spec)


def test_going_back_to_the_old_template_undoes_a_stuck_rollout() -> None:
    seen = states(deployment("5", 8), deployment("17", 8), deployment("5", 8))
    assert seen[1] == {("5", True): 6, ("17", False): 4}
    assert seen[2] == {("5", True): 8}


def test_a_third_template_replaces_the_stuck_second_before_the_healthy_first() -> None:
    seen = states(deployment("5", 8), deployment("17", 8), deployment("4", 8))
    assert seen[2] == {("4", True): 8}
    seen = states(deployment("5", 8), deployment("17", 8), deployment("18", 8))
    assert seen[2] == {("5", True): 6, ("18", False): 4}


def test_a_stuck_rollout_grows_and_shrinks_in_proportion() -> None:
    base = [deployment("1", 10, 3, 2), deployment("17", 10, 3, 2)]
    assert states(*base)[1] == {("1", True): 8, ("17", False): 5}
    assert states(*base, deployment("17", 20, 3, 2))[2] == {("1", True): 14, ("17", False): 9}
    assert states(*base, deployment("17", 0))[2] == {}


def test_a_change_of_replicas_alone_scales_the_same_revision() -> None:
    cluster = EmbeddedCluster()
    cluster.apply([deployment("1", 2)])
    before = {row["name"] for row in cluster.pods()}
    cluster.apply([deployment("1000m", 4)])
    assert before < {row["name"] for row in cluster.pods()}


def test_pods_that_wait_go_before_those_that_run() -> None:
    seen = states(deployment("10", 5), deployment("10", 3), deployment("10", 2))
    assert seen == [{("10", True): 3, ("10", False): 2}, {("10", True): 3}, {("10", True): 2}]


def test_scaling_down_thins_out_the_crowded_node() -> None:
    cluster = EmbeddedCluster([node_spec("big", cpu="64"), node_spec("small", cpu="2")])
    cluster.apply([deployment("1", 8)])
    cluster.apply([deployment("1", 3)])
    assert Counter(row["node"] for row in cluster.pods()) == {"big": 1, "small": 2}


def test_a_share_of_less_than_one_pod_still_rolls() -> None:
    """Refused are only two zeros as they are written."""
    few = ("1%", "25%")
    assert states(deployment("1", 3, 0, few[0]), deployment("2", 3, 0, few[1]))[1] == {
        ("2", True): 3
    }


def test_one_replica_surges_first() -> None:
    seen = states(deployment("16", 1), deployment("17", 1), deployment("15", 1))
    assert seen[1] == {("16", True): 1, ("17", False): 1}
    assert seen[2] == {("15", True): 1}


def test_a_rollout_that_needs_room_takes_it_when_old_pods_may_go() -> None:
    nodes = [node_spec("n")]
    assert states(deployment("8", 2), deployment("8", 2, pod={"dnsPolicy": "None"}), nodes=nodes)[
        1
    ] == {
        ("8", True): 2,
        ("8", False): 1,
    }
    seen = states(
        deployment("8", 2, 0, 1), deployment("8", 2, 0, 1, pod={"dnsPolicy": "None"}), nodes=nodes
    )
    assert seen[1] == {("8", True): 2}


def test_anti_affinity_holds_up_a_rollout_with_surge() -> None:
    term = {
        "labelSelector": {"matchLabels": {"app": "web"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    apart = {"affinity": {"podAntiAffinity": required}}
    assert states(deployment("1", 3, pod=apart), deployment("2", 3, pod=apart))[1] == {
        ("1", True): 3,
        ("2", False): 1,
    }


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    seen = states(deployment("1", 2), deployment("2", 4, paused=True), deployment("2", 4))
    assert seen[1] == {("1", True): 4}
    assert seen[2] == {("2", True): 4}


def test_recreate_lets_all_old_pods_go_first() -> None:
    strategy = {"type": "Recreate"}
    seen = states(
        workload("Deployment", "16", replicas=3, strategy=strategy),
        workload("Deployment", "15", replicas=2, strategy=strategy),
    )
    assert seen[1] == {("15", True): 2}


def test_min_ready_seconds_slow_a_rollout_down() -> None:
    cluster = EmbeddedCluster()
    cluster.apply([deployment("1", 4, 1, 0, minReadySeconds=10)])
    cluster.apply([deployment("2", 4, 1, 0, minReadySeconds=10)])
    assert state(cluster) == {("1", True): 4, ("2", True): 1}
    cluster.advance(10)
    assert state(cluster) == {("1", True): 3, ("2", True): 2}
    cluster.advance(60)
    assert state(cluster) == {("2", True): 4}


@pytest.mark.parametrize(
    "broken",
    [
        {"replicas": -1},
        {"replicas": "3"},
        {"replicas": True},
        {"template": None},
        {"strategy": {"type": "Sideways"}},
        {"strategy": {"rollingUpdate": {"maxSurge": "a lot"}}},
        {"minReadySeconds": 1.5},
    ],
)
def test_a_malformed_deployment_is_refused_and_the_old_one_stays(broken: dict[str, Any]) -> None:
    cluster = EmbeddedCluster()
    cluster.apply([deployment("1", 2)])
    bad = deployment("9", 2)
    bad["spec"] |= broken
    with pytest.raises(InvalidInput, match=r"default/web"):
        cluster.apply([bad])
    assert state(cluster) == {("1", True): 2}


def test_templates_are_compared_by_meaning() -> None:
    one: dict[str, Any] = {"spec": {"containers": [{"resources": {"requests": {"cpu": "1000m"}}}]}}
    two = {
        "metadata": {"creationTimestamp": None},
        "spec": {
            "restartPolicy": "Always",
            "containers": [{"resources": {"requests": {"cpu": 1}}}],
        },
    }
    assert same_template(one, two)
    assert not same_template(one, {"spec": {"containers": []}})
    tiny, small, more = ({"requests": {"cpu": cpu}} for cpu in ("0.1m", "1m", "1.1m"))
    assert same_template(tiny, small) and not same_template(small, more)


def stateful(cpu: str, replicas: int, **spec: Any) -> Any:
    return workload("StatefulSet", cpu, replicas=replicas, **spec)


def test_an_ordered_set_stops_at_the_first_that_does_not_start() -> None:
    seen = states(stateful("16", 5), stateful("16", 2), stateful("1", 2))
    assert seen[0] == {("16", True): 3, ("16", False): 1}
    assert seen[1] == {("16", True): 2}
    assert seen[2] == {("1", True): 2}


def test_an_ordered_update_goes_from_the_top_and_sticks() -> None:
    seen = states(stateful("1", 3), stateful("17", 3), stateful("2", 3))
    assert seen[1] == {("1", True): 2, ("17", False): 1}
    # The broken pod must go by hand: a known property of ordered sets.
    assert seen[2] == seen[1]


def test_a_partition_keeps_the_lower_ones() -> None:
    rolling = {"updateStrategy": {"rollingUpdate": {"partition": 2}}}
    seen = states(stateful("1", 3), stateful("2", 4, **rolling))
    assert seen[1] == {("1", True): 2, ("2", True): 2}


def test_on_delete_updates_nothing_by_itself() -> None:
    manual = {"updateStrategy": {"type": "OnDelete"}}
    before = stateful("1", 2, **manual)  # defaults of a rolling update would stay, and be refused
    assert states(before, stateful("2", 3, **manual))[1] == {
        ("1", True): 2,
        ("2", True): 1,
    }


@pytest.mark.parametrize(
    ("before", "after", "ends"),
    [
        # pkg/controller/statefulset/stateful_set_control.go, v1.35.4: from the top an outdated pod
        # goes, ready or not, and a new one that is not ready stops the rest
        (("17", 3), ("1", 3), {("1", True): 3}),
        (("17", 3), ("18", 3), {("17", False): 2, ("18", False): 1}),
        (("16", 4), ("15", 4), {("16", True): 3, ("15", False): 1}),
        (("1", 3), ("17", 3), {("1", True): 2, ("17", False): 1}),
        (("1", 3), ("2", 3), {("2", True): 3}),
        (("17", 3), ("1", 5), {("1", True): 5}),
        (("17", 3), ("1", 1), {("1", True): 1}),
    ],
)
def test_a_parallel_set_replaces_pods_that_never_started(
    before: tuple[str, int], after: tuple[str, int], ends: State
) -> None:
    both = (stateful(*each, podManagementPolicy="Parallel") for each in (before, after))
    assert states(*both)[1] == ends


def test_more_may_be_missing_at_once_and_those_of_no_use_go_first() -> None:
    rolling = {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}}
    both = (stateful(cpu, 4, podManagementPolicy="Parallel", **rolling) for cpu in ("16", "17"))
    assert states(*both)[1] == {("16", True): 2, ("17", False): 2}
    ordered = (stateful(cpu, 4, **rolling) for cpu in ("1", "17"))
    assert states(*ordered)[1] == {("1", True): 2, ("17", False): 1}


def test_a_share_of_an_ordered_set_is_rounded_down_to_at_least_one() -> None:
    # pkg/controller/statefulset/stateful_set_utils_test.go: 10% of 25 are 2, 1% of 5 is 1
    for part, missing in (("40%", 1), ("75%", 3)):
        rolling = {"updateStrategy": {"rollingUpdate": {"maxUnavailable": part}}}
        both = (stateful(cpu, 4, podManagementPolicy="Parallel", **rolling) for cpu in ("1", "17"))
        assert states(*both)[1] == {("1", True): 4 - missing, ("17", False): missing}


def test_a_set_that_goes_back_undoes_what_was_stuck_where_it_may() -> None:
    steps = [stateful(cpu, 3, podManagementPolicy="Parallel") for cpu in ("1", "17", "1")]
    assert states(*steps)[2] == {("1", True): 3}


def test_names_have_their_numbers() -> None:
    cluster = EmbeddedCluster()
    cluster.apply([stateful("1", 3, ordinals={"start": 4})])
    assert [row["name"] for row in cluster.pods()] == ["web-4", "web-5", "web-6"]


def daemon(cpu: str, pod: Any = None, **spec: Any) -> Any:
    return workload("DaemonSet", cpu, pod=pod, **spec)


def test_a_daemon_that_does_not_fit_names_the_one_node_it_is_for() -> None:
    cluster = EmbeddedCluster(
        [node_spec("big", cpu="32"), node_spec("small", cpu="2"), node_spec("m")]
    )
    cluster.apply([daemon("17")])
    assert state(cluster) == {("17", True): 1, ("17", False): 2}
    (message,) = {row["message"] for row in cluster.pods() if not row["ready"]}
    assert message == (
        "0/3 nodes are available: 1 Insufficient cpu, "
        "2 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to deallocate, "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )


def test_a_daemon_is_updated_node_by_node_and_sticks() -> None:
    seen = states(daemon("1"), daemon("17"), daemon("2"))
    assert seen[1] == {("1", True): 2, ("17", False): 1}
    assert seen[2] == {("2", True): 3}
    half = {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "50%"}}}
    assert states(daemon("1", **half), daemon("17", **half))[1] == {
        ("1", True): 1,
        ("17", False): 2,
    }


def test_a_daemon_with_surge_keeps_the_old_until_the_new_is_there() -> None:
    surge = {"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}
    seen = states(daemon("1", **surge), daemon("2", **surge), daemon("17", **surge))
    assert seen[1] == {("2", True): 3}
    assert seen[2] == {("2", True): 3, ("17", False): 1}


def test_a_daemon_runs_on_cordoned_nodes_and_follows_its_selector() -> None:
    nodes = [node_spec("a", unschedulable=True, labels={"x": "1"}), node_spec("b")]
    assert states(daemon("1"), daemon("1", pod={"nodeSelector": {"x": "1"}}), nodes=nodes) == [
        {("1", True): 2},
        {("1", True): 1},
    ]


def test_a_replica_set_keeps_running_pods_when_its_template_changes() -> None:
    seen = states(
        workload("ReplicaSet", "1", replicas=2),
        workload("ReplicaSet", "2", replicas=3),
        workload("ReplicaSet", "2", replicas=1),
    )
    assert seen[1] == {("1", True): 2, ("2", True): 1}
    assert sum(seen[2].values()) == 1


class Lives:
    """Every pod runs so many seconds."""

    def __init__(self, seconds: int | None) -> None:
        self._seconds = seconds

    def created(self, pod: Any) -> None:
        pass

    def seconds(self, pod: Any) -> int | None:
        return self._seconds


def phases(cluster: EmbeddedCluster) -> dict[str, int]:
    return dict(Counter(row["phase"] for row in cluster.pods()))


def reasons(cluster: EmbeddedCluster) -> list[str]:
    return [event["reason"] for event in cluster.events()]


def test_a_job_runs_its_pods_in_waves() -> None:
    cluster = EmbeddedCluster(lifetimes=Lives(10))
    cluster.apply([workload("Job", "1", completions=5, parallelism=2)])
    assert phases(cluster) == {"Running": 2}
    cluster.advance(10)
    assert phases(cluster) == {"Succeeded": 2, "Running": 2}
    cluster.advance(10)
    assert phases(cluster) == {"Succeeded": 4, "Running": 1}
    cluster.advance(10)
    assert phases(cluster) == {"Succeeded": 5}
    assert reasons(cluster)[-1] == "Completed"


def test_a_job_that_names_no_numbers_runs_one_pod_and_frees_its_room() -> None:
    cluster = EmbeddedCluster([node_spec("n")], lifetimes=Lives(10))
    cluster.apply([workload("Job", "16"), workload("Job", "16", name="next")])
    assert phases(cluster) == {"Running": 1, "Pending": 1}
    cluster.advance(10)
    assert phases(cluster) == {"Succeeded": 1, "Running": 1}


def test_a_work_queue_starts_no_more_pods_once_one_succeeded() -> None:
    cluster = EmbeddedCluster(lifetimes=Lives(10))
    cluster.apply([workload("Job", "1", parallelism=3)])
    cluster.advance(100)
    assert phases(cluster) == {"Succeeded": 3}


def test_indexed_jobs_run_every_index_once() -> None:
    cluster = EmbeddedCluster(lifetimes=Lives(5))
    cluster.apply([workload("Job", "1", completions=4, parallelism=3, completionMode="Indexed")])
    cluster.advance(60)
    assert sorted(row["name"] for row in cluster.pods()) == ["web-0", "web-1", "web-2", "web-3"]


def test_a_job_fails_when_its_time_is_over_and_goes_when_kept_long_enough() -> None:
    cluster = EmbeddedCluster(lifetimes=Lives(None))
    cluster.apply([workload("Job", "1", activeDeadlineSeconds=30, ttlSecondsAfterFinished=5)])
    cluster.advance(29)
    assert phases(cluster) == {"Running": 1}
    cluster.advance(1)
    assert phases(cluster) == {}
    assert "DeadlineExceeded" in reasons(cluster)


def test_a_suspended_job_waits() -> None:
    cluster = EmbeddedCluster()
    cluster.apply([workload("Job", "1", suspend=True)])
    assert phases(cluster) == {}
    cluster.apply([workload("Job", "1")])
    assert phases(cluster) == {"Running": 1}


def test_a_pod_of_a_deployment_that_ends_is_replaced() -> None:
    cluster = EmbeddedCluster(lifetimes=Lives(10))
    cluster.apply([deployment("1", 2)])
    cluster.advance(25)
    assert phases(cluster) == {"Succeeded": 4, "Running": 2}
    cluster.delete([deployment("1", 2)])
    assert phases(cluster) == {}


def test_a_life_of_no_time_does_not_stop_the_world() -> None:
    cluster = EmbeddedCluster(lifetimes=Lives(0))
    cluster.apply([deployment("1", 1)])
    cluster.advance(20)
    assert phases(cluster)["Running"] == 1


def cronjob(schedule: str, seconds: Any = None, **spec: Any) -> Any:
    job = workload("Job", "1")["spec"]
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "tick"},
        "spec": {"schedule": schedule, "jobTemplate": {"spec": job}, **spec},
    }


@pytest.mark.parametrize(
    ("policy", "running", "jobs"), [("Allow", 3, 3), ("Forbid", 1, 1), ("Replace", 1, 3)]
)
def test_concurrency_of_a_cronjob(policy: str, running: int, jobs: int) -> None:
    cluster = EmbeddedCluster(start=30, lifetimes=Lives(None))
    cluster.apply([cronjob("* * * * *", concurrencyPolicy=policy)])
    cluster.advance(180)
    assert phases(cluster) == {"Running": running}
    assert reasons(cluster).count("SuccessfulCreate") == jobs


def test_a_cronjob_keeps_three_finished_jobs() -> None:
    cluster = EmbeddedCluster(lifetimes=Lives(10))
    cluster.apply([cronjob("* * * * *")])
    cluster.advance(600)
    assert phases(cluster)["Succeeded"] == 3
    cluster.delete([cronjob("* * * * *")])
    assert phases(cluster) == {}
    cluster.advance(600)
    assert phases(cluster) == {}


def test_a_suspended_cronjob_rests_and_a_new_schedule_replaces_the_old() -> None:
    cluster = EmbeddedCluster(lifetimes=Lives(None))
    cluster.apply([cronjob("* * * * *", suspend=True)])
    cluster.advance(120)
    assert phases(cluster) == {}
    cluster.apply([cronjob("*/5 * * * *")])
    cluster.advance(179)
    assert phases(cluster) == {}
    cluster.advance(1)
    assert phases(cluster) == {"Running": 1}


def when(schedule: str, after: str, zone: str = "") -> str | None:
    start = int(datetime.fromisoformat(after).replace(tzinfo=UTC).timestamp())
    found = parse_schedule(schedule, zone).following(start, start)
    return None if found is None else datetime.fromtimestamp(found, UTC).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * *", "2024-01-01T00:00:00", "2024-01-01 00:01"),
        ("*/15 9-17 * * mon-fri", "2024-01-05T17:45:00", "2024-01-08 09:00"),
        ("0 0 29 2 *", "2024-03-01T00:00:00", "2028-02-29 00:00"),
        ("0 12 13 * 5", "2024-01-01T00:00:00", "2024-01-05 12:00"),
        ("@weekly", "2024-01-01T00:00:00", "2024-01-07 00:00"),
        ("@hourly", "2024-01-01T00:30:00", "2024-01-01 01:00"),
        ("5,10 0 1 jan,JUL *", "2024-01-01T00:05:00", "2024-01-01 00:10"),
        ("10/20 * * * ?", "2024-01-01T00:11:00", "2024-01-01 00:30"),
        ("0 0 31 2 *", "2024-01-01T00:00:00", None),
        # robfig/cron v3, spec.go and parser.go: a step of two is a restriction, so that day of
        # month or day of week will do
        ("0 0 */2 * 1", "2024-01-01T00:00:00", "2024-01-03 00:00"),
        ("0 0 */2 * 1", "2024-01-07T00:00:00", "2024-01-08 00:00"),
        ("0 0 */1 * 1", "2024-01-01T00:00:00", "2024-01-08 00:00"),
        ("0 0 13,* * 5", "2024-01-06T00:00:00", "2024-01-12 00:00"),
        ("@every 1h30m", "2024-01-01T00:00:00", "2024-01-01 01:30"),
        ("@every 90.5s", "2024-01-01T00:00:30", "2024-01-01 00:02"),
    ],
)
def test_schedules(schedule: str, after: str, expected: str | None) -> None:
    assert when(schedule, after) == expected


def test_schedules_follow_their_zone_through_summer_time() -> None:
    assert when("30 2 * * *", "2024-03-30T12:00:00", "Europe/Berlin") == "2024-04-01 00:30"
    assert when("0 12 * * *", "2024-07-01T00:00:00", "Europe/Berlin") == "2024-07-01 10:00"


def test_an_hour_that_the_clock_shows_twice_runs_twice() -> None:
    times, after = [], "2024-10-26T12:00:00"
    for _ in range(3):
        after = f"{when('30 2 * * *', after, 'Europe/Berlin')}:00"
        times.append(after)
    assert times == ["2024-10-27 00:30:00", "2024-10-27 01:30:00", "2024-10-28 01:30:00"]
    both = when("15,45 2 * * *", "2024-10-27T00:50:00", "Europe/Berlin")
    assert both == "2024-10-27 01:15"


def test_a_cronjob_without_a_calendar_counts_from_its_start_and_its_last_run() -> None:
    cluster = EmbeddedCluster(start=30, lifetimes=Lives(1))
    cluster.apply([cronjob("@every 70s")])
    cluster.advance(100)
    cluster.apply([cronjob("@every 70s", successfulJobsHistoryLimit=9)])
    cluster.advance(110)
    made = [e["time"] for e in cluster.events() if e["reason"] == "SuccessfulCreate"]
    assert made == [100, 170, 240]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "* * * *",
        "60 * * * *",
        "* * * * 8",
        "a * * * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "1" * 600,
        "@every",
        "@every never",
        "@every 5",
        "@every -5m",
        "TZ=UTC * * * * *",
    ],
)
def test_bad_schedules_are_refused(bad: str) -> None:
    with pytest.raises(InvalidInput, match="bad schedule"):
        parse_schedule(bad)
    with pytest.raises(InvalidInput):
        EmbeddedCluster().apply([cronjob(bad)])


def test_bad_zones_and_policies_are_refused() -> None:
    for zone in ("Mars/Base", "../etc/passwd", "/etc/passwd"):
        with pytest.raises(InvalidInput, match="time zone"):
            parse_schedule("* * * * *", zone)
    with pytest.raises(InvalidInput, match="unknown policy"):
        EmbeddedCluster().apply([cronjob("* * * * *", concurrencyPolicy="Maybe")])


def test_a_cluster_of_many_nodes_settles() -> None:
    cluster = EmbeddedCluster(default_nodes(50))
    cluster.apply([deployment("1", 300)])
    assert state(cluster) == {("1", True): 300}


def test_a_request_counts_where_a_limit_stands_beside_it() -> None:
    both = deployment("1", 1)
    container = both["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}
    cluster = EmbeddedCluster()
    cluster.apply([both])
    assert cluster.pods()[0]["containers"] == [{"cpu": "1", "memory": "1Gi"}]
    assert (cluster.pods()[0]["cpu"], cluster.pods()[0]["memory"]) == ("1", "1Gi")


def test_a_forbidden_run_is_made_up_for_once_the_former_one_ends() -> None:
    cluster = EmbeddedCluster(lifetimes=Lives(90))
    cluster.apply([cronjob("* * * * *", concurrencyPolicy="Forbid")])
    cluster.advance(149)
    assert reasons(cluster).count("SuccessfulCreate") == 1
    cluster.advance(1)
    assert reasons(cluster).count("SuccessfulCreate") == 2
    late = EmbeddedCluster(lifetimes=Lives(90))
    late.apply([cronjob("* * * * *", concurrencyPolicy="Forbid", startingDeadlineSeconds=10)])
    late.advance(170)
    assert reasons(late).count("SuccessfulCreate") == 1
    late.advance(10)
    assert reasons(late).count("SuccessfulCreate") == 2


def test_a_cronjob_that_is_resumed_makes_up_for_the_last_run_only() -> None:
    cluster = EmbeddedCluster(lifetimes=Lives(None))
    cluster.apply([cronjob("* * * * *", suspend=True)])
    cluster.advance(7 * 86400 + 30)
    cluster.apply([cronjob("* * * * *")])
    assert [row["name"] for row in cluster.pods()] == [f"tick-{7 * 1440}-0"]


def test_a_world_without_end_is_given_up() -> None:
    cluster = EmbeddedCluster(lifetimes=Lives(1), max_steps=10_000)
    cluster.apply([deployment("1", 3)])
    with pytest.raises(ClusterError, match="more than 10000 steps"):
        cluster.advance(2**39)


def test_a_schedule_beyond_the_calendar_never_comes() -> None:
    cluster = EmbeddedCluster(start=2**40)
    cluster.apply([cronjob("* * * * *")])
    cluster.advance(120)
    assert cluster.pods() == []
