"""SimKube as a Gymnasium environment."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from simgit.errors import ClusterError, InvalidInput, NotFound
from simgit.gym.drivers import select
from simgit.gym.envs.simkube import SimKubeEnv
from simgit.kube.task.reward import REWARDS
from simgit.kube.task.scenarios import SCENARIOS, generate
from simgit.kube.task.vectors import VECTORS
from simgit.kube.trace.edit import set_replicas, set_requests, workload
from simgit.kube.trace.files import write_trace_file
from tests.support.examples import share
from tests.support.paths import REAL_TRACES

ID = "simgit:simgit/SimKube-v0"
WEB = workload("web")
REAL = REAL_TRACES / "dsb-scaling.sktrace"
NOOP, BUMP_CPU, REDUCE_CPU, SCALE_DOWN = 0, 1, 4, 6


@pytest.mark.parametrize("name", SCENARIOS.names())
def test_gymnasiums_checker_is_content_with_every_scenario(name: str) -> None:
    env = gymnasium.make(ID, trace=name, render_mode="ansi")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


@pytest.mark.slow
@pytest.mark.parametrize(
    "lines",
    ["import gymnasium", "import simgit, gymnasium", "import gymnasium, simgit"],
)
@pytest.mark.parametrize("package", ["simgit.gym", "simgit"])
def test_the_id_is_known_whatever_was_imported_first(lines: str, package: str) -> None:
    if package == "simgit" and lines == "import simgit, gymnasium":
        lines += "; import simgit.gym"  # nothing that is imported later tells simgit
    code = f"{lines}; print(gymnasium.make('{package}:simgit/SimKube-v0').unwrapped.task.target)"
    run = [sys.executable, "-c", code]
    assert subprocess.run(run, check=True, capture_output=True, text=True).stdout == "3\n"


def test_importing_simgit_loads_no_gymnasium() -> None:
    code = "import sys, simgit; print('gymnasium' in sys.modules)"
    run = [sys.executable, "-c", code]
    assert subprocess.run(run, check=True, capture_output=True, text=True).stdout == "False\n"


def test_the_scenario_is_solved_in_its_fewest_steps_and_terminates() -> None:
    env = SimKubeEnv("cpu-slight")
    observation, info = env.reset(seed=0)
    assert observation.tolist() == [4.25, 0.5, np.float32(0.6), 0.0, 0.375]
    assert info["trace"] == "cpu-slight"
    assert (info["ready"], info["pending"], info["total"]) == (0, 3, 3)
    assert (info["cpu"], info["memory"], info["replicas"]) == ("17", "2Gi", 3)
    _, reward, terminated, truncated, info = env.step(np.int64(REDUCE_CPU))
    assert (terminated, truncated, info["cpu"], info["changed"]) == (False, False, "16500m", True)
    assert reward == pytest.approx(-0.45)
    _, reward, terminated, truncated, info = env.step(np.int64(REDUCE_CPU))
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert (info["ready"], info["validity"]) == (3, "ok")


def test_the_step_limit_truncates_and_the_goal_goes_before_it() -> None:
    env = SimKubeEnv("cpu-slight", max_steps=2)
    env.reset()
    assert env.step(np.int64(NOOP))[2:4] == (False, False)
    assert env.step(np.int64(NOOP))[2:4] == (False, True)
    env.reset()
    env.step(np.int64(REDUCE_CPU))
    assert env.step(np.int64(REDUCE_CPU))[2:4] == (True, False)


def test_order_before_rewards_what_was_there_before_the_action() -> None:
    env = SimKubeEnv("cpu-slight", order="before")
    env.reset()
    seen = [env.step(np.int64(REDUCE_CPU)) for _ in range(3)]
    assert [info["cpu"] for *_, info in seen] == ["17", "16500m", "16"]
    assert [terminated for _, _, terminated, _, _ in seen] == [False, False, True]


@pytest.mark.parametrize("order", ["after", "before"])
def test_a_blocked_action_pays_its_own_penalty(order: Any) -> None:
    env = SimKubeEnv("cpu-slight", reward="cost_aware_v2", order=order, target=1)
    env.reset(options={"trace": set_replicas(generate("cpu-slight").trace, WEB, 1)})
    _, usual, _, _, info = env.step(np.int64(NOOP))
    assert not info["blocked"]
    _, blocked, _, _, info = env.step(np.int64(SCALE_DOWN))
    assert info["blocked"] and not info["changed"] and "replicas 0 would fall" in info["error"]
    _, after, _, _, _ = env.step(np.int64(NOOP))
    assert blocked == max(-1.0, usual - 0.12) and after == usual


def test_fewer_actions_on_request_in_the_order_asked_for() -> None:
    env = SimKubeEnv("cpu-slight", actions=["noop", "reduce_cpu_small"])
    assert env.action_space == gymnasium.spaces.Discrete(2)
    env.reset()
    assert env.step(np.int64(1))[4]["cpu"] == "16500m"
    with pytest.raises(InvalidInput, match=r"action '2' is not in Discrete\(2\)"):
        env.step(np.int64(2))


def test_a_failed_observation_is_flagged_and_shows_what_was_last_seen() -> None:
    env = SimKubeEnv("cpu-slight", faults={"timeouts": 0.3, "api_errors": 0.2})
    last, info = env.reset(seed=3)
    kinds = set()
    for _ in range(60):
        observation, reward, terminated, _, info = env.step(np.int64(NOOP))
        kinds.add(info["validity"])
        assert observation.tolist() == last.tolist() and observation[2] > 0
        assert reward == pytest.approx(-0.45) and not terminated
        assert ("ready" in info) == (info["validity"] == "ok") == ("failure" not in info)
    assert kinds == {"ok", "timeout", "error"}


def test_a_goal_that_nobody_saw_is_none() -> None:
    env = SimKubeEnv("cpu-slight", faults={"timeouts": 0.5})
    for seed in range(10):
        env.reset(seed=seed)
        env.step(np.int64(REDUCE_CPU))
        observation, reward, terminated, _, info = env.step(np.int64(REDUCE_CPU))
        assert terminated == (info["validity"] == "ok")
        assert info["cpu"] == "16" and observation[0] == 4.0
        assert reward == 1.0 if terminated else reward < 0


def test_a_cluster_that_never_answers_is_an_error_at_reset() -> None:
    env = SimKubeEnv("cpu-slight", faults={"timeouts": 1.0})
    with pytest.raises(ClusterError, match=r"no observation in 100 tries: .* timed out"):
        env.reset()


def test_equal_seeds_give_equal_episodes_with_faults_too() -> None:
    faults = {"timeouts": 0.2, "late_pods": 0.5, "late_seconds": 90}
    runs = [_episode(SimKubeEnv("replicas-over", faults=faults), 7) for _ in range(2)]
    assert runs[0] == runs[1] != _episode(SimKubeEnv("replicas-over", faults=faults), 8)


def _episode(env: SimKubeEnv, seed: int, steps: int = 30) -> list[Any]:
    observation, info = env.reset(seed=seed)
    rows: list[Any] = [(observation.tolist(), info)]
    for number in range(steps):
        observation, *rest = env.step(np.int64(number % 7))
        rows.append((observation.tolist(), *rest))
    return rows


def _go_on(env: SimKubeEnv) -> list[Any]:
    rows = []
    for number in range(20):
        observation, *rest = env.step(np.int64(number % 7))
        rows.append((observation.tolist(), *rest))
    observation, info = env.reset()
    return [*rows, observation.tolist(), info, env.step(np.int64(NOOP))[4]]


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("at", [0, 1, 7])
def test_any_state_is_restored_exactly_in_another_environment(order: Any, at: int) -> None:
    made = {"order": order, "faults": {"timeouts": 0.2, "late_pods": 0.4}, "render_mode": "ansi"}
    env = SimKubeEnv(["cpu-slight", "replicas-over"], **made)
    env.reset(seed=5, options={"trace": "replicas-over-severity9", "target": 2})
    for number in range(at):
        env.step(np.int64(6 - number))
    snapshot, picture = select(env).snapshot(env), env.render()
    other = SimKubeEnv(["cpu-slight", "replicas-over"], **made)
    select(other).restore(other, snapshot)
    assert other.render() == picture
    assert other.get_state() == env.get_state()
    rows = _go_on(env)
    assert _go_on(other) == rows
    assert any(row[4].get("ready") for row in rows[:20])


def test_a_state_of_another_version_is_refused() -> None:
    with pytest.raises(InvalidInput, match="must be 1, got '99'"):
        SimKubeEnv("cpu-slight").set_state({"version": 99})


def test_the_spec_recreates_the_environment_when_the_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "mine.sktrace"
    write_trace_file(path, generate("mem-heavy", severity=3).trace)
    node = {"name": "a", "cpu": "8", "memory": "40Gi"}
    env = gymnasium.make(ID, trace=str(path), nodes=[node], target=2)
    assert env.spec is not None
    text = env.spec.to_json()
    path.unlink()
    again = gymnasium.make(EnvSpec.from_json(text))
    assert isinstance(again.unwrapped, SimKubeEnv) and isinstance(env.unwrapped, SimKubeEnv)
    assert again.unwrapped.settings() == env.unwrapped.settings()
    assert json.loads(text)["kwargs"]["trace"].keys() == {"mine"}
    info = env.reset(seed=1)[1]
    assert again.reset(seed=1)[1] == info
    assert (info["ready"], info["pending"]) == (1, 2)


def test_an_environment_made_by_its_class_has_a_spec_too() -> None:
    env = SimKubeEnv("mem-slight", target=2)
    assert env.spec is not None
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json())).unwrapped
    assert isinstance(again, SimKubeEnv) and again.settings() == env.settings()


def test_each_episode_draws_one_of_several_traces_unless_one_is_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_trace_file(tmp_path / f"{name}.sktrace", generate("cpu-slight").trace)
    env = SimKubeEnv(tmp_path)
    env.reset(seed=0)
    drawn = [env.reset()[1]["trace"] for _ in range(40)]
    assert set(drawn) == {"a", "b", "c"}
    assert env.reset(options={"trace": "b"})[1]["trace"] == "b"
    assert env.reset(options={"trace": "cpu-heavy"})[1]["cpu"] == "20"


AMOUNTS = st.sampled_from(["0", "1m", "500m", "17", "1e18", "9223372036854775807", "8E", "1n"])
REPLICAS = st.sampled_from([0, 1, 3, 101, 700])
FAULTS = st.sampled_from([{}, {"timeouts": 0.3}, {"late_pods": 1.0}, {"lost_nodes": {"node1": 5}}])


@settings(max_examples=share(40))
@given(
    st.sampled_from(SCENARIOS.names()),
    st.tuples(AMOUNTS, AMOUNTS, REPLICAS),
    st.integers(1, 2**31 - 1),
    st.sampled_from(VECTORS.names()),
    FAULTS,
    st.lists(st.integers(0, 6), max_size=8),
    st.sampled_from(["after", "before"]),
)
@pytest.mark.filterwarnings("ignore:no pods to observe")
def test_the_space_has_every_observation_that_occurs(
    name: str,
    asked: tuple[str, str, int],
    target: int,
    vector: str,
    faults: dict[str, Any],
    actions: list[int],
    order: Any,
) -> None:
    trace = set_requests(generate(name).trace, WEB, cpu=asked[0], memory=asked[1])
    trace = set_replicas(trace, WEB, asked[2])
    env = SimKubeEnv(trace, target, vector=vector, faults=faults, order=order)
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    for action in actions:
        observation, reward, _, _, info = env.step(np.int64(action))
        assert env.observation_space.contains(observation)
        assert isinstance(reward, float) and -2.0 <= reward <= 1.0
        assert info["validity"] in ("ok", "timeout", "error")


@pytest.mark.parametrize("reward", REWARDS.names())
def test_every_reward_can_be_chosen(reward: str) -> None:
    env = SimKubeEnv("cpu-slight", reward=reward)
    env.reset()
    env.step(np.int64(REDUCE_CPU))
    assert env.step(np.int64(REDUCE_CPU))[1] == (0.0 if reward == "cost_aware_v2" else 1.0)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"trace": "nonsense"}, NotFound, "no scenario 'nonsense'"),
        ({"trace": "gone.sktrace"}, NotFound, "no such file"),
        ({"trace": b"\x00"}, InvalidInput, "'bytes' is not a valid trace"),
        ({"trace": b"{\xff}"}, InvalidInput, "not UTF-8"),
        ({"trace": {}}, InvalidInput, "the source has no traces"),
        ({"trace": 7}, InvalidInput, "expected a scenario, .* or Trace, got int"),
        ({"target": 0}, InvalidInput, "target must be a whole number above 0, got '0'"),
        ({"target": -3}, InvalidInput, "got '-3'"),
        ({"reward": "fame"}, NotFound, "no reward 'fame'"),
        ({"vector": "wide"}, NotFound, "no state vector 'wide'"),
        ({"actions": ["fly"]}, NotFound, "no action 'fly'"),
        ({"actions": ["noop", "noop"]}, InvalidInput, "action 'noop' is named twice"),
        ({"order": "never"}, InvalidInput, "order must be 'after' or 'before', got 'never'"),
        ({"max_steps": 0}, InvalidInput, "max_steps must be a positive integer, got 0"),
        ({"step_penalty": -1.0}, InvalidInput, "step penalty must be 0 or more, got '-1.0'"),
        ({"workload": "api"}, NotFound, r"no such workload 'api' in the trace \(there are: default/web"),
        ({"workload": "a/b/web"}, NotFound, "no such workload"),
        ({"workload": "/web"}, InvalidInput, r"workload must be \[\[kind/\]namespace/\]name, got '/web'"),
        ({"nodes": 0}, InvalidInput, "nodes must be in 1..10000, got '0'"),
        ({"nodes": [{"name": "a", "color": 1}]}, InvalidInput, "invalid node: unknown field 'color'"),
        ({"nodes": [{"name": "a", "cpu": "1Q"}]}, InvalidInput, "1Q"),
        ({"faults": {"timeouts": 2}}, InvalidInput, "share of a fault must be in 0..1, got '2'"),
        ({"faults": {"timeout": 1}}, InvalidInput, "'timeout'; did you mean 'timeouts'?"),
        ({"simulation": {"speed": 0}}, InvalidInput, "speed must be above 0 and below 1e9, got '0'"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_before_anything_happens(
    arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        SimKubeEnv(**arguments)


def _broken(change: Any) -> bytes:
    trace = json.loads(json.dumps(SimKubeEnv("cpu-slight").settings()["trace"]["cpu-slight"]))
    change(trace["events"][0]["applied_objs"][0]["spec"])
    return json.dumps(trace).encode()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda spec: spec["template"]["spec"].update(containers=[]), NotFound, "no container"),
        (lambda spec: spec.update(replicas=-1), InvalidInput, "must be 0 or more"),
        (lambda spec: spec.update(replicas="3"), InvalidInput, "replicas must be a whole number"),
        (lambda spec: _ask(spec, "1Q"), InvalidInput, "1Q"),
        (lambda spec: _ask(spec, "-1"), InvalidInput, "must be 0 or more"),
        (lambda spec: _ask(spec, [1]), InvalidInput, "expected a string or a number, got tuple"),
    ],
)
def test_bad_workloads_are_refused_before_anything_happens(
    change: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        SimKubeEnv(_broken(change))


def _ask(spec: Any, cpu: Any) -> None:
    spec["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = cpu


def test_too_many_pods_are_refused_before_anything_happens() -> None:
    huge = set_replicas(generate("cpu-slight").trace, WEB, 10_001)
    with pytest.raises(InvalidInput, match="more than 10000 pods"):
        SimKubeEnv(huge)
    env = SimKubeEnv("cpu-slight")
    with pytest.raises(InvalidInput, match="more than 10000 pods"):
        env.reset(options={"trace": huge})


def test_a_huge_file_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidInput, match="more than the limit"):
        SimKubeEnv(bytes(17 << 20))


def test_what_a_cluster_refuses_in_another_object_is_refused_early() -> None:
    other = _broken(lambda spec: spec.update(minReadySeconds=-1))
    with pytest.raises(InvalidInput, match="minReadySeconds: Invalid value: -1"):
        SimKubeEnv(other)


def test_unknown_options_of_reset_are_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown option 'traces' of reset; did"):
        SimKubeEnv("cpu-slight").reset(options={"traces": "a"})


def test_a_kind_without_replicas_asks_for_fewer_actions() -> None:
    daemon = _broken(lambda spec: spec.pop("replicas")).replace(b'"Deployment"', b'"DaemonSet"')
    with pytest.raises(InvalidInput, match="DaemonSet has no replicas, in 'default/web'"):
        SimKubeEnv(daemon, workload="web")
    env = SimKubeEnv(daemon, workload="web", actions=["noop", "reduce_cpu_small"])
    env.reset()
    env.step(np.int64(1))
    assert env.step(np.int64(1))[2]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_vector_form_steps_like_the_single_one(mode: str) -> None:
    envs = gymnasium.make_vec(ID, num_envs=2, vectorization_mode=mode, trace="cpu-slight")
    observations, info = envs.reset(seed=3)
    assert observations.shape == (2, 5) and info["ready"].tolist() == [0, 0]
    observations, _, _, _, info = envs.step(np.array([NOOP, REDUCE_CPU]))
    assert info["cpu"].tolist() == ["17", "16500m"]
    single = SimKubeEnv("cpu-slight")
    single.reset(seed=4)
    assert single.step(np.int64(REDUCE_CPU))[0].tolist() == observations[1].tolist()
    envs.close()


def test_ansi_shows_nodes_and_what_waits() -> None:
    env = SimKubeEnv("cpu-slight", render_mode="ansi")
    env.reset()
    text = env.render()
    assert isinstance(text, str)
    assert text.splitlines()[0] == "step 0 of 100"
    assert "node1  cpu [....................] 0/16  memory [....................] 0/32Gi" in text
    assert "pending: web-1-0 web-1-1 web-1-2: 0/3 nodes are available: 3 Insufficient cpu." in text


@pytest.mark.skipif(not REAL.exists(), reason="real traces are absent")
def test_a_real_trace_is_an_environment() -> None:
    env = SimKubeEnv(REAL, target=3, workload="user-timeline-service")
    _, info = env.reset()
    assert (info["cpu"], info["ready"] + info["pending"]) == ("1", info["total"])
    _, _, terminated, _, info = env.step(np.int64(BUMP_CPU))
    assert (info["cpu"], terminated) == ("1500m", info["ready"] == info["total"] == 3)
    state = env.get_state()
    env.reset()
    env.set_state(state)
    assert env.get_state() == state
