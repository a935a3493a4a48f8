"""The commands on a live cluster: a real API server on the loopback interface."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from simgit import Repository
from simgit.kube.live import opened, replay
from simgit.kube.live.api import Api, ApiError
from simgit.refs.runs import RunInfo
from simgit.repository import live_clusters
from simgit.storage.allowed_clusters import AllowedClusters
from simgit.testing.apiserver import TOKEN, ApiFault, ApiServer, SimKubeSettings
from tests.cli.conftest import Call
from tests.kube.live.loopback import left_on
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

kube_config = pytest.importorskip("kubernetes.config.kube_config")

LIVE = ("--cluster", "live", "--speed", "1000", "--cluster-set", "settle=0.2")
TRAIN = ("train", "--trace", "cpu-slight", "--max-steps", "3", "--curve", "c.svg")
TRAIN += ("--agent", "greedy")


def _configure(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and those it starts find a kubeconfig, and their own list of contexts."""
    monkeypatch.setenv("SIMGIT_CONFIG_DIR", str(directory / "config"))
    monkeypatch.setenv("KUBECONFIG", str(directory / "kubeconfig"))
    # the package reads the variable once, when it is imported
    place = str(directory / "kubeconfig")
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", place)


@pytest.fixture
def server(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """Start a server with three virtual nodes; its context is the current one, and allowed."""
    _configure(directory, monkeypatch)
    with ApiServer(kwok=False, nodes=3, time="real") as started:
        started.kubeconfig(directory / "kubeconfig")
        AllowedClusters().allow("loopback", started.url)
        yield started
        assert left_on(started) == []
        notes = live_clusters.leftovers()
        assert notes is None or not notes.exists()


def _runs(directory: Path) -> dict[str, RunInfo]:
    with Repository.open(directory) as repo:
        return {name: repo.runs[name] for name in repo.runs}


@pytest.fixture
def repo(run: Call, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    _configure(directory, monkeypatch)  # it has the key by which a repository is known as one's own
    Repository.init(directory).close()
    return run


@pytest.mark.slow
def test_a_training_is_recorded_branched_resumed_and_evaluated(
    repo: Call, server: ApiServer
) -> None:
    options = ("--agent", "dqn", "--episodes", 3, "--run", "main", "--json")
    done = repo(*TRAIN, *LIVE, *options).json
    assert (done["episodes"], done["evaluation"]) == (3, [])
    states = len(repo("log", "--json", "main").records)
    lines = repo("log", "--oneline", "main").lines
    assert len(lines) == states == done["steps"] + 3
    first = repo("show", "main@0", "--json").json
    assert first["info"]["pending"] == 3 and first["info"]["validity"] == "ok"
    facts = repo("provenance", "main", "--json").json["provenance"]["cluster"]
    assert facts["server"] == "v1.35.0" and len(facts["nodes"]) == 3
    assert TOKEN not in json.dumps(facts) + json.dumps(repo("config", "main", "--json").json)

    before = len(server.requests)
    assert repo("verify", "main").out == "live: not re-executed\n"
    assert repo("verify", "main", "--json").json["exact"] is None
    failed = repo("kube", "pods", "main@1", code=None)
    assert failed.code != 0 and "only the counts are recorded: ready 0" in failed.err
    repo("kube", "trace", "main@2")
    assert len(server.requests) == before

    said = repo("branch", "other", "main@2", "--set", "agent.lr=0.01").err
    assert "run 'main' is live" in said
    resumed = repo("train", "--resume", "--run", "other", "--episodes", 1, "--curve", "d.svg")
    assert "is of a live run: its trace and counts are restored" in resumed.err
    assert "episode 1 step 3" in resumed.err and "step 2" not in resumed.err

    embedded = repo("evaluate", "main", "--cluster", "embedded", "--no-record", "--json").records
    assert embedded[0]["fewest"] == 2
    live = repo("evaluate", "main", "--run", "eval", "--max-steps", 2, "--json").records
    assert live[0]["fewest"] is None
    assert repo("provenance", "eval", "--json").json["provenance"]["cluster"] == facts


@pytest.mark.slow
def test_a_step_is_shown_and_leaves_nothing(run: Call, server: ApiServer) -> None:
    options = ("--trace", "cpu-slight", "--action", "4", *LIVE)
    shown = run("step", *options)
    assert "3 × 0/3 nodes are available: 3 Insufficient cpu" in shown.out
    assert len(server.requests) <= 2 * 40  # a first observation and a step
    assert run("step", *options, "--json").json["after"]["observation"]["pending"] == 3


@pytest.mark.slow
def test_embedded_and_live_are_compared_pod_by_pod(repo: Call, server: ApiServer) -> None:
    repo(*TRAIN, "--episodes", 1, "--run", "main")
    options = ("--live", *LIVE[2:])
    same = repo("kube", "compare", "main@2", *options)
    assert same.lines[-1] == "agree"
    assert repo("kube", "compare", "main@2").lines[-1] == "agree"
    node = server.objects("nodes")[0]
    server.delete("nodes", node["metadata"]["name"])
    fewer = repo("kube", "compare", "main@2", *options)
    assert "recorded with other nodes" in fewer.out and fewer.lines[-1] == "agree"


@pytest.mark.parametrize("recorded", [(), LIVE])
def test_a_strangers_repository_applies_nothing_to_a_live_cluster(
    repo: Call, server: ApiServer, directory: Path, monkeypatch: Any, recorded: tuple[str, ...]
) -> None:
    repo(*TRAIN, *recorded, "--episodes", 1, "--run", "main")
    monkeypatch.setenv("SIMGIT_CONFIG_DIR", str(directory / "mine"))  # of who made no repository
    AllowedClusters().allow("loopback", server.url)
    before = len(server.requests)
    for command in (
        ("kube", "compare", "main@1", "--live", *LIVE[2:]),
        ("evaluate", "main", "--no-record", *LIVE),
        ("train", "--load", "main", *LIVE),
    ):
        assert "this repository is not trusted" in repo(*command, code=None).err, command
    assert len(server.requests) == before
    own = ("--trace", "cpu-slight", "--max-steps", 1)
    if not recorded:
        assert repo("evaluate", "main", "--no-record", *own, *LIVE).code == 0


@pytest.mark.slow
def test_a_loaded_agents_training_is_on_the_cluster_that_was_asked_for_or_recorded(
    repo: Call, server: ApiServer, directory: Path
) -> None:
    """Hooks run around each simulation of a live one, else around the training."""
    repo(*TRAIN, *LIVE, "--episodes", 1, "--run", "main", "--save", "agent")
    newest = repo("log", "--json", "main").records[0]["oid"][:12]
    config = yaml.safe_load((directory / "kubeconfig").read_text())
    for key in ("contexts", "clusters"):
        config[key].append({**config[key][0], "name": "other"})
    config["contexts"][1]["context"] = {**config["contexts"][0]["context"], "cluster": "other"}
    config["clusters"][1]["cluster"] = {"server": "http://127.0.0.1:9"}
    config["current-context"] = "other"  # the run has recorded which it was
    (directory / "kubeconfig").write_text(yaml.safe_dump(config))
    log = directory / "log"
    words = ("train", "--episodes", 1, "--max-steps", 2, "--curve", "d.svg")
    words += ("--pre-hook", f"sh -c 'echo $SIMGIT_STEP >> {log}'")
    here = ("--trace", "cpu-slight", *LIVE, "--context", "loopback")
    for number, (given, live) in enumerate([
        (("--load", "main"), True),
        (("--load", "main", *LIVE), True),
        (("--load", newest), True),
        (("--load", "main~0"), True),
        (("--load", "main", "--cluster", "embedded"), False),
        (("--load", "agent", *here), True),
        (("--load", "agent", "--trace", "cpu-slight"), False),
    ]):  # fmt: skip
        log.unlink(missing_ok=True)
        sent = len(server.requests)
        repo(*words, *given, "--run", f"run{number}")
        assert log.read_text().split() == (["0", "1", "2"] if live else []), given
        assert len(log.read_text().splitlines()) == (3 if live else 1), given
        assert (len(server.requests) > sent) == live, given
        known = repo("config", f"run{number}", "--json").json["environment"]
        assert ("cluster" in known) == live, given


@pytest.mark.slow
def test_a_comparison_names_the_workload_that_differs(repo: Call, server: ApiServer) -> None:
    repo(*TRAIN, *LIVE, "--episodes", 1, "--run", "main")
    for node in server.objects("nodes"):
        server.delete("nodes", node["metadata"]["name"])
        taint = {"key": "busy", "value": "", "effect": "NoSchedule"}
        spec = {"taints": [taint]}
        plain = {"apiVersion": "v1", "kind": "Node", "status": node["status"], "spec": spec}
        name = node["metadata"]["name"]
        server.create({**plain, "metadata": {"name": name, "labels": {"type": "virtual"}}})
    found = repo("kube", "compare", "main@1", "--live", *LIVE[2:], code=None)
    assert found.lines[-1] == "agree"  # the embedded cluster has the live one's nodes
    recorded = repo("kube", "compare", "main@1", "--live", *LIVE[2:], "--json", code=None).json
    assert recorded["groups"][0]["workload"] == "web"


def test_the_present_cluster_is_shown(run: Call, server: ApiServer) -> None:
    rows = run("kube", "nodes", "--live", "--json").records
    assert [row["name"] for row in rows] == ["node1", "node2", "node3"]
    assert run("kube", "pods", "--live", "--json").records == []
    assert run("kube", "events", "--live").code == 0
    assert run("kube", "pods", "--live", "--trace", "x", code=2).err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--driver", "replayer"), "--driver needs --cluster live"),
        (("--context", "kind"), "--context needs --cluster live"),
        (("--cluster", "live", "--nodes", "4"), "nodes are of the embedded cluster"),
        (("--cluster", "live", "--cluster-set", "timeot=3"), "did you mean 'timeout'?"),
        (
            ("--cluster", "live", "--cluster-set", "timeout=long"),
            "timeout must be a number, got 'lo",
        ),
        (("--cluster", "live", "--cluster-set", "image=5"), "image must be a text, got 5"),
        (
            ("--cluster", "live", "--cluster-set", "settle=NaN"),
            "settle must be 0 or more, got 'nan",
        ),
        (("--cluster", "live", "--cluster-set", "context=5"), "no context '5' in the kubeconfig"),
        (("--cluster", "live", "--context", "loopbak"), "did you mean 'loopback'?"),
        (("--cluster", "live", "--speed", "0"), "speed must be above 0"),
        (("--cluster", "live", "--env-set", "cluster={}"), "given by --env-set and by options"),
        (("--cluster", "live", "--driver", "simkube"), "needs cluster.trace_path"),
        (
            ("--cluster", "live", "--driver", "simkube", "--cluster-set", "trace_path=/tmp"),
            "has no simulations.simkube.io",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    repo: Call, server: ApiServer, directory: Path, options: tuple[str, ...], said: str
) -> None:
    found = repo(*TRAIN, *options, code=None)
    assert found.code != 0
    assert said in found.err
    assert len(found.err.strip().splitlines()) == 1 or found.code == 2
    assert _runs(directory) == {}


def _no_permission(server: ApiServer) -> None:
    AllowedClusters().forbid("loopback")


def _expired(server: ApiServer) -> None:
    server.set_tokens({})


def _no_nodes(server: ApiServer) -> None:
    for node in server.objects("nodes"):
        server.delete("nodes", node["metadata"]["name"])


def _others(server: ApiServer) -> None:
    server.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "virtual-default"}}
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_no_permission, "simgit kube allow loopback"),
        (_expired, "Unauthorized"),
        (_no_nodes, "simgit kube nodes create"),
        (_others, "namespace 'virtual-default' exists and is not of this session"),
    ],
)
def test_a_cluster_that_cannot_be_used_says_why_and_no_run_is_left(
    repo: Call, server: ApiServer, directory: Path, spoil: Any, said: str
) -> None:
    spoil(server)
    found = repo(*TRAIN, *LIVE, code=None)
    assert found.code == 128
    assert said in found.err
    assert len([line for line in found.err.splitlines() if line.startswith("fatal:")]) == 1
    assert _runs(directory) == {}
    if spoil is _others:
        server.delete("namespaces", "virtual-default")


@pytest.mark.slow
def test_an_unreachable_cluster_is_one_line(repo: Call, directory: Path, monkeypatch: Any) -> None:
    _configure(directory, monkeypatch)
    with ApiServer() as gone:
        gone.kubeconfig(directory / "kubeconfig")
    AllowedClusters().allow("loopback", gone.url)
    found = repo(*TRAIN, *LIVE, "--cluster-set", "timeout=1", code=128)
    assert "does not answer" in found.err and len(found.err.strip().splitlines()) == 1
    assert _runs(directory) == {}


@pytest.mark.slow
def test_a_cluster_that_is_lost_on_the_way_stops_the_training_which_is_resumed(
    repo: Call, server: ApiServer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo(*TRAIN, *LIVE, "--episodes", 1, "--run", "whole")
    last = len(server.requests) + len(server.requests) // 2
    server.faults = lambda number, method, path: ApiFault("reset") if number > last else None
    timeout = ("--cluster-set", "timeout=5")
    with monkeypatch.context() as patched:
        for name in ("CLEANUP_SECONDS", "_EMPTY_SECONDS"):
            patched.setattr(replay, name, 0.5)
        found = repo(*TRAIN, *LIVE, *timeout, "--episodes", 1, "--run", "main", code=128)
    assert "no observation in 3 tries" in found.err
    assert "stopped; resume with: simgit train --resume --run main" in found.err
    server.faults = ()
    server.delete("leases.coordination.k8s.io", "simgit", "default")  # it could not be given back
    assert _runs(directory)["main"].status == "paused"
    repo("train", "--resume", "--run", "main", "--curve", "d.svg")
    with Repository.open(directory) as reopened:
        kept = [state.info for state in reopened.trajectory("main")]
    failed = [info for info in kept if info["validity"] != "ok"]
    assert failed and all("ready" not in info and info["failure"] for info in failed)


def test_an_object_that_the_cluster_refuses_on_the_way_pauses_the_training(
    repo: Call, server: ApiServer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, sent = Api.apply, []

    def apply(self: Api, path: str, body: Any, **options: Any) -> Any:
        """As if a webhook of the cluster had a rule about what the agent did."""
        sent.append(path)
        if "deployments" in path and len(sent) > 4:
            raise ApiError("denied the request", status=400)
        return kept(self, path, body, **options)

    monkeypatch.setattr(Api, "apply", apply)
    found = repo(*TRAIN, *LIVE, "--episodes", 1, "--run", "main", code=None)
    assert found.code != 0 and "denied the request" in found.err
    assert "stopped; resume with: simgit train --resume --run main" in found.err
    assert _runs(directory)["main"].status == "paused"


def test_without_the_package_a_live_cluster_says_what_to_install(
    repo: Call, server: ApiServer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    found = repo(*TRAIN, *LIVE, code=128)
    assert found.err == (
        "fatal: a live cluster needs the package kubernetes: pip install 'simgit[live]'\n"
    )
    assert _runs(directory) == {}


SIMKUBE = ("--cluster", "live", "--driver", "simkube", "--speed", "60")


@contextmanager
def _with_simkube(
    directory: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Iterator[tuple[ApiServer, tuple[str, ...]]]:
    """Give a server with SimKube, whose time passes while the command waits, and the options."""
    (directory / "traces").mkdir()
    with ApiServer(nodes=3, simkube=SimKubeSettings(**options)) as server:
        clock = server.clock
        monkeypatch.setattr(opened, "Api", lambda context: Api(context, clock=clock))
        server.kubeconfig(directory / "kubeconfig")
        AllowedClusters().allow("loopback", server.url)
        yield server, (*SIMKUBE, "--cluster-set", f"trace_path={directory / 'traces'}")
        assert server.objects("simulations.simkube.io") == []
        assert server.objects("simulationroots.simkube.io") == []
        assert server.objects("pods", "virtual-default") == []


@pytest.mark.slow
def test_a_training_runs_as_simulations_of_simkube(
    repo: Call, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _with_simkube(directory, monkeypatch) as (_, options):
        repo(*TRAIN, *options, "--episodes", 1, "--run", "main")
        with Repository.open(directory) as opened_again:
            first, *rest = [state.info for state in opened_again.trajectory("main")]
            facts = opened_again.runs["main"].metadata["cluster"]
        assert (first["ready"], first["pending"], first["total"]) == (0, 3, 3)
        assert rest and all(info["validity"] == "ok" for info in rest)
        assert len(facts["crds"]) == 2 and facts["image"]


@pytest.mark.slow
def test_a_driver_that_never_starts_is_one_line_and_leaves_nothing(
    repo: Call, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _with_simkube(directory, monkeypatch, driver="never") as (_, options):
        options = (*options, "--cluster-set", "timeout=60")
        found = repo(*TRAIN, *options, "--episodes", 1, "--run", "main", code=128)
    told = [line for line in found.err.splitlines() if line.startswith("fatal:")]
    assert len(told) == 1 and "no observation in 3 tries" in told[0] and "driver" in told[0]
    assert _runs(directory) == {}


def test_a_simulation_of_somebody_else_is_named(
    repo: Call, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _with_simkube(directory, monkeypatch) as (server, options):
        lease = {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "sk-lease", "namespace": "simkube"},
            "spec": {"holderIdentity": "their-simulation", "leaseDurationSeconds": 10**6},
        }  # fmt: skip
        server.create(lease)
        found = repo(*TRAIN, *options, "--episodes", 1, "--run", "main", code=128)
        server.delete("leases.coordination.k8s.io", "sk-lease", "simkube")
    assert "their-simulation" in found.err
    assert _runs(directory) == {}


def _started(directory: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "simgit", *args], cwd=directory, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("pods", [0, 1])
def test_ctrl_c_in_the_middle_of_a_step_leaves_nothing_and_a_run_to_resume(
    repo: Call, server: ApiServer, directory: Path, pods: int
) -> None:
    child = _started(directory, *TRAIN, *LIVE, "--episodes", "50", "--run", "main")

    def is_there() -> bool:
        patches = [r for r in server.requests if r.method == "PATCH" and "deployments" in r.path]
        return len(patches) > 3 and len(server.objects("pods")) >= pods

    _until(is_there)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130, (out, err)
    assert "interrupted; resume with: simgit train --resume --run main" in err
    assert "Traceback" not in err
    assert left_on(server) == []
    info = _runs(directory)["main"]
    assert info.status == "paused"
    # one more than there are: a training with nothing to do replays nothing, and cleans nothing up
    more = info.episodes + 1
    repo("train", "--resume", "--run", "main", "--episodes", more, "--curve", "d.svg")


@pytest.mark.slow
def test_a_sigterm_between_two_steps_leaves_nothing_and_a_run_to_resume(
    repo: Call, server: ApiServer, directory: Path
) -> None:
    # it runs when a step has been cleaned up
    ends = ("--post-hook", "sh -c 'test $SIMGIT_STEP -lt 2 || kill -TERM $PPID'")
    child = _started(directory, *TRAIN, *LIVE, "--episodes", "5", "--run", "main", *ends)
    out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130, (out, err)
    assert "interrupted" in err and "Traceback" not in err
    assert left_on(server) == []
    assert server.objects("leases.coordination.k8s.io", "default") == []


@pytest.mark.slow
def test_a_killed_training_is_resumed_and_what_it_left_is_removed_then(
    repo: Call, server: ApiServer, directory: Path
) -> None:
    child = _started(directory, *TRAIN, *LIVE, "--episodes", "50", "--run", "main")

    def has_left() -> bool:
        patches = [r for r in server.requests if r.method == "PATCH" and "deployments" in r.path]
        return len(patches) > 3 and len(server.objects("pods")) > 0

    _until(has_left)
    child.kill()
    child.communicate(timeout=PATIENCE)
    notes = live_clusters.leftovers()
    assert notes is not None
    assert left_on(server) == [] or notes.exists()
    info = _runs(directory)["main"]
    assert info.status == "crashed"
    more = info.episodes + 1  # a training with nothing to do cleans nothing up
    repo("train", "--resume", "--run", "main", "--episodes", more, "--curve", "d.svg")
