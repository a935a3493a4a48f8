"""The setting of nodes: numbers, lists, kubectl's form, events, and what is refused in it."""

import json
import warnings
from copy import deepcopy
from typing import Any

import pytest

from simgit.errors import InvalidInput, SimgitWarning
from simgit.kube.embedded import node_spec, virtual_nodes
from simgit.kube.simulation import SimulationSpec, replay_seconds, simulate
from simgit.kube.task.cluster_setup import ClusterSetup, cluster_setup
from simgit.kube.task.node_setting import read_nodes
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.model import Event, Trace

A = {"name": "a", "cpu": "8"}
EVENTS = [
    {"at": 10, "join": {"name": "b", "labels": {"zone": "1"}}},
    {"at": 10.5, "cordon": "a"},
    {"at": 20.0, "drain": "b"},
    {"at": 30, "uncordon": "b"},
    {"at": 50, "leave": "a"},
]
KUBECTL: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "List",
    "metadata": {"resourceVersion": ""},
    "items": [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
                "creationTimestamp": "2026-03-01T08:00:00Z",
                "labels": {"kubernetes.io/arch": "arm64", "kubernetes.io/hostname": "ip-10-0-0-7"},
                "name": "worker-1",
            },
            "spec": {
                "podCIDR": "10.244.1.0/24",
                "providerID": "aws:///eu-1a/i-0123",
                "taints": [
                    {"effect": "NoSchedule", "key": "gpu", "value": "true"},
                    {
                        "effect": "NoSchedule",
                        "key": "node.kubernetes.io/unschedulable",
                        "timeAdded": "2026-03-02T08:00:00Z",
                    },
                ],
                "unschedulable": True,
            },
            "status": {
                "addresses": [{"address": "10.0.0.7", "type": "InternalIP"}],
                "allocatable": {
                    "cpu": "7910m",
                    "ephemeral-storage": "95551679124",
                    "hugepages-2Mi": "0",
                    "memory": "31482304Ki",
                    "nvidia.com/gpu": "2",
                    "pods": "58",
                },
                "capacity": {"cpu": "8", "memory": "32386752Ki", "pods": "58"},
                "conditions": [{"status": "True", "type": "Ready"}],
            },
        }
    ],
}
NODE = KUBECTL["items"][0]


def test_a_setting_is_recorded_as_what_it_means_and_read_again() -> None:
    setting = read_nodes({"nodes": [A], "events": EVENTS})
    plain = json.loads(json.dumps(setting.plain()))
    assert [event["at"] for event in plain["events"]] == [10, 10.5, 20, 30, 50]
    assert plain["events"][0]["join"] == node_spec("b", labels={"zone": "1"}).plain()
    assert plain["events"][1:3] == [{"at": 10.5, "cordon": "a"}, {"at": 20, "drain": "b"}]
    assert read_nodes(plain) == setting
    assert cluster_setup(plain).plain()["nodes"] == plain
    assert read_nodes({"nodes": 2, "events": []}) == read_nodes(2) == (virtual_nodes(2), ())
    assert read_nodes({"events": [{"at": 1, "leave": "node3"}]}).nodes == virtual_nodes()


def test_settings_without_events_are_recorded_as_before() -> None:
    assert cluster_setup([A]).plain()["nodes"] == [node_spec("a", cpu="8").plain()]
    assert cluster_setup().plain() == ClusterSetup().plain()
    assert isinstance(cluster_setup(2).plain()["nodes"], list)


@pytest.mark.parametrize(
    "value",
    [
        KUBECTL,
        KUBECTL["items"],
        NODE,
        {"nodes": KUBECTL},
        {"nodes": [NODE], "events": [{"at": 1, "uncordon": "worker-1"}]},
        {"nodes": 1, "events": [{"at": 1, "join": NODE}]},
    ],
)
def test_nodes_as_kubectl_prints_them_are_read_and_what_is_not_used_is_said_once(
    value: Any,
) -> None:
    with pytest.warns(SimgitWarning, match="and nothing else") as told:
        setting = read_nodes(value)
    assert len(told) == 1
    events = [event.spec for event in setting.events if event.spec]
    assert (events or list(setting.nodes)) == [
        node_spec(
            "worker-1",
            cpu="7910m",
            memory="31482304Ki",
            pods=58,
            storage="95551679124",
            extra={"nvidia.com/gpu": 2, "hugepages-2Mi": 0},
            labels={"kubernetes.io/arch": "arm64", "kubernetes.io/hostname": "ip-10-0-0-7"},
            taints=[{"key": "gpu", "value": "true", "effect": "NoSchedule"}],
            unschedulable=True,
        )
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_nodes(setting.plain()) == setting


def changed(path: list[str | int], value: Any) -> Any:
    """Return kubectl's list with another value at a path; None removes it."""
    found = deepcopy(KUBECTL)
    inner: Any = found
    for part in path[:-1]:
        inner = inner[part]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return found


def events(*listed: Any) -> dict[str, Any]:
    return {"nodes": [A], "events": list(listed)}


ONE_OF = "an event needs exactly one of join, leave, cordon, uncordon, drain, got "
BAD = [
    ("a", "nodes must be a number or a list, got 'a'"),
    (0, "nodes must be in 1..10000, got '0'"),
    (True, "nodes must be in 1..10000, got 'True'"),
    ([], "a cluster needs at least one node"),
    ({"node": [A]}, "unknown field 'node' of nodes; did you mean 'nodes'?"),
    ({"nodes": [A], "events": {"at": 1}}, "events must be a list"),
    ([A, {"name": "b", "cpus": "1"}], "unknown field 'cpus'; did you mean 'cpu'? at 'nodes[1]'"),
    ([{"cpu": "1"}], "'name' at 'nodes[0]'"),
    ([{"name": 5}], "name must be a text, got 5 at 'nodes[0]'"),
    ([{"name": "a", "cpu": "-1"}], "invalid node 'a': amounts must be 0 or more at 'nodes[0]'"),
    ([{"name": "a", "cpu": "1Q"}], "1Q"),
    ([{"name": "a", "labels": {"z": 1}}], "label 'z' must be a text, got 1 at 'nodes[0]'"),
    ([{"name": "a", "labels": ["z"]}], "at 'nodes[0]'"),
    (
        [{"name": "a", "taints": [{"key": "k", "effect": "NoShedule"}]}],
        "the effect of taint 'k' must be one of NoSchedule, PreferNoSchedule, NoExecute, "
        "got 'NoShedule' at 'nodes[0]'",
    ),
    ([{"name": "a", "unschedulable": "no"}], "unschedulable must be true or false, got 'no'"),
    ([A, A], "two nodes are named 'a'"),
    (changed(["items", 0, "kind"], "Pod"), "kind must be Node, got 'Pod' at 'items[0]'"),
    (changed(["items", 0, "metadata", "name"], None), "got None at 'items[0]'"),
    (changed(["items", 0, "status"], None), "the node has no status.allocatable at 'items[0]'"),
    (changed(["items", 0, "status", "allocatable"], []), "expected a map, got '[]' at 'items[0]'"),
    (changed(["items", 0, "status", "allocatable", "cpu"], "x"), "at 'items[0]'"),
    (changed(["items", 0, "spec", "taints"], "x"), "expected a list, got 'x' at 'items[0]'"),
    (changed(["items"], []), "a cluster needs at least one node"),
    (changed(["items"], 3), "items must be a number or a list, got 3"),
    (events("leave a"), "an event must be a map, got 'leave a' at 'events[0]'"),
    (events({"at": 1, "leaves": "a"}), "unknown field 'leaves'; did you mean 'leave'?"),
    (events({"at": 1}), ONE_OF + "none at 'events[0]'"),
    (
        events({"at": 1, "leave": "a", "drain": "a"}),
        ONE_OF + "leave, drain at 'events[0]'",
    ),
    (
        events({"leave": "a"}),
        "seconds must be 0 or more and below 2**40, got None at 'events[0].at'",
    ),
    (events({"at": -1, "leave": "a"}), "got -1 at 'events[0].at'"),
    (events({"at": True, "leave": "a"}), "got True at 'events[0].at'"),
    (events({"at": "5", "leave": "a"}), "got '5' at 'events[0].at'"),
    (events({"at": float("nan"), "leave": "a"}), "got nan at 'events[0].at'"),
    (events({"at": 1, "leave": 7}), "expected the name of a node, got 7 at 'events[0].leave'"),
    (events({"at": 1, "leave": ""}), "got '' at 'events[0].leave'"),
    (events({"at": 1, "join": "b"}), "expected a map of fields, got 'b' at 'events[0].join'"),
    (
        events({"at": 1, "drain": "a"}, {"at": 1, "join": {"name": "b", "cpu": []}}),
        "at 'events[1].join'",
    ),
    (events({"at": 1, "leave": "b"}), "no node 'b' at 1 s at 'events[0].leave'"),
]


@pytest.mark.parametrize(("value", "message"), BAD)
@pytest.mark.filterwarnings("ignore:of nodes as kubectl")
def test_a_bad_setting_is_refused_in_a_line_with_the_place(value: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        cluster_setup(value)
    text = str(raised.value)
    assert message in text and "\n" not in text
    if " at '" in message:
        assert text.endswith(f" at '{raised.value.path}'")


# --- in a simulation ---


@pytest.mark.parametrize(
    ("simulation", "seconds"),
    [
        (SimulationSpec(), 60),
        (SimulationSpec(duration=25), 25),
        (SimulationSpec(duration=90), 90),
        (SimulationSpec(linger=7), 67),
        (SimulationSpec(speed=2.0), 30),
        (SimulationSpec(speed=0.7, linger=2), 87),
    ],
)
def test_a_replay_takes_as_long_as_is_told(simulation: SimulationSpec, seconds: int) -> None:
    trace = generate("cpu-slight").trace
    cluster = simulate(trace, simulation)
    assert replay_seconds(trace, simulation) == seconds == cluster.now - cluster.start
    assert replay_seconds(Trace(()), SimulationSpec(linger=3)) == 3


def test_events_after_the_end_are_told() -> None:
    trace = generate("cpu-slight").trace
    at = [{"at": 59, "cordon": "a"}, {"at": 60, "drain": "a"}, {"at": 60.5, "leave": "a"}]
    setup = cluster_setup({"nodes": [A], "events": at})
    told = "node event 'leave a' at 60.5 s never happens: the simulation ends at 60 s"
    assert setup.late_events(trace) == [told]
    assert cluster_setup({"nodes": [A], "events": at}, {"linger": 1}).late_events(trace) == []
    rows = setup.replay(trace, 0, 0).events()
    assert [row["time"] for row in rows if row["kind"] == "Node"] == [59.0]


def test_a_node_that_joins_a_simulation_is_a_virtual_one() -> None:
    trace = generate("cpu-slight").trace
    big = {"name": "b", "cpu": "64", "memory": "64Gi"}
    cluster = cluster_setup(events({"at": 5, "join": big})).replay(trace, 0, 0)
    assert {pod["node"] for pod in cluster.pods()} == {"b"}
    assert cluster.nodes()[1]["labels"]["type"] == "virtual"


def test_until_a_second_its_events_have_happened() -> None:
    trace = generate("cpu-slight").trace
    for until, names in ((9, ["a"]), (10, ["a", "b"]), (49, ["a", "b"]), (50, ["b"])):
        setup = cluster_setup({"nodes": [A], "events": EVENTS}, {"duration": until})
        assert [node["name"] for node in setup.replay(trace, 0, 0).nodes()] == names


def test_an_event_comes_before_the_objects_of_the_trace_at_its_time() -> None:
    (first, *_), start = generate("replicas-over").trace.events, 1_700_000_000
    late = Trace((Event(start), Event(start + 10, first.applied), Event(start + 20)))
    setting = {"nodes": 2, "events": [{"at": 10, "cordon": "node1"}]}
    cluster = cluster_setup(setting).replay(late, 0, 0)
    assert {pod["node"] for pod in cluster.pods()} == {"node2"}
