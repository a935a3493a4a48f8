"""An episode does not replay what it has seen, and shows the same as one that replays all."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgit.kube.simulation import simulate
from simgit.kube.task.actions import STANDARD
from simgit.kube.task.cluster_setup import ClusterSetup, cluster_setup
from simgit.kube.task.loop import Loop, Step
from simgit.kube.task.replayed import KEPT, Replayed, content_key
from simgit.kube.task.scenarios import SCENARIOS, generate
from simgit.kube.task.task import Task
from simgit.kube.trace.model import Event, Lifecycle, Trace
from tests.support import examples

NODES = [{"name": "a", "cpu": "2"}, {"name": "b", "cpu": "1", "memory": "2Gi"}]
SETUPS: list[dict[str, Any]] = [
    {},
    {"nodes": NODES, "simulation": {"linger": 5}},
    {"nodes": {"nodes": NODES, "events": [{"at": 0, "cordon": "a"}]}},
    {"faults": {"lost_nodes": {"node1": 0}}},
]


class Replays(Loop):
    """A loop that replays every time."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._replayed = None


def shown(loop: Loop, step: Step) -> tuple[Any, ...]:
    rows = loop.cluster.pods(), loop.cluster.nodes()
    return step.info(), loop.vector(step).tolist(), step.reward, step.goal, rows, loop.state()


@given(
    st.sampled_from(SCENARIOS.names()),
    st.sampled_from(SETUPS),
    st.lists(st.sampled_from(STANDARD), max_size=25),
    st.integers(0, 3),
)
@settings(max_examples=examples.share(40))
def test_an_episode_shows_what_one_that_replays_all_shows(
    name: str, setup: dict[str, Any], actions: list[str], seed: int
) -> None:
    loops = [
        each(Task(), cluster_setup(**setup), generate(name).trace, seed) for each in (Loop, Replays)
    ]
    expected = [shown(loop, loop.start()) for loop in reversed(loops)]
    assert expected[0] == expected[1]
    for action in actions:
        replaying, keeping = (shown(loop, loop.step(action)) for loop in reversed(loops))
        assert keeping == replaying


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with each replay."""
    found: list[int] = []
    replay = ClusterSetup.replay

    def counting(self: ClusterSetup, trace: Trace, seed: int, number: int) -> Any:
        found.append(number)
        return replay(self, trace, seed, number)

    monkeypatch.setattr(ClusterSetup, "replay", counting)
    return found


def test_what_was_seen_is_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(Task(), cluster_setup(), generate("cpu-slight").trace)
    found = counted(monkeypatch)
    loop.start()
    for action in ("noop", *("scale_up_replicas", "scale_down_replicas") * 2):
        loop.step(action)
    assert found == [0, 2]
    assert loop.replays == 6
    other = Loop(Task(), cluster_setup(), generate("cpu-slight").trace, 1)
    other.start()
    assert found == [0, 2, 0], "each episode has its own seed"


def test_what_is_drawn_anew_is_replayed_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for setup in ({"faults": {"late_pods": 0.5}}, {"simulation": {"delays": {"ready_jitter": 9}}}):
        loop = Loop(Task(), cluster_setup(**setup), generate("cpu-slight").trace)  # type: ignore[arg-type]
        found = counted(monkeypatch)
        loop.start()
        loop.step("noop")
        loop.step("noop")
        assert len(found) == 3
        monkeypatch.undo()


def test_a_manifest_that_is_changed_after_use_is_replayed() -> None:
    trace = generate("cpu-slight").trace
    loop = Loop(Task(), cluster_setup(), trace)
    loop.start()
    loop.step("noop")
    manifest: Any = next(m for m in trace.applied() if loop.workload(m))
    manifest["spec"]["replicas"] = 7
    step = loop.step("noop")
    selected = simulate(trace).observe(loop.selection)
    assert step.observation == selected
    assert step.observation.total == 7


def test_the_key_is_of_all_that_a_replay_reads() -> None:
    manifest: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    traces = [
        Trace(),
        Trace((Event(1),)),
        Trace((Event(2),)),
        Trace((Event(1, (manifest,)),)),
        Trace((Event(1, (), (manifest,)),)),
        Trace((Event(1, ({**manifest, "spec": {"priority": 1}},)),)),
        Trace((Event(1, ({**manifest, "spec": {"priority": True}},)),)),
        Trace((Event(1),), lifecycles={("v1.Pod", "d/p"): {1: (Lifecycle(1, 2),)}}),
        Trace((Event(1),), lifecycles={("v1.Pod", "d/p"): {1: (Lifecycle(1, 3),)}}),
        Trace((Event(1),), lifecycles={("v1.Pod", "d/q"): {1: (Lifecycle(1, 3),)}}),
        Trace((Event(1),), lifecycles={("v1.Pod", "d/q"): {2: (Lifecycle(1, 3),)}}),
        Trace(
            (Event(1),),
            index={"v1.Pod": {"d/q": 2}},
            lifecycles={("v1.Pod", "d/q"): {2: (Lifecycle(1, 3),)}},
        ),
    ]
    keys = [content_key(trace) for trace in traces]
    assert None not in keys
    assert len(set(keys)) == len(traces)
    assert content_key(Trace((Event(1, ({**manifest, "x": "y" * 100_000},)),))) is None


def test_only_the_last_observations_are_kept() -> None:
    seen, loop = Replayed(), Loop(Task(), cluster_setup(), generate("cpu-slight").trace)
    observation = loop.start().observation
    keys = [random.Random(number).randbytes(16) for number in range(KEPT + 10)]
    for key in keys:
        seen.put(key, observation)
    assert len(seen) == KEPT
    assert [seen.get(key) for key in keys[:11]] == [None] * 10 + [observation]
    seen.put(None, observation)
    assert seen.get(None) is None
