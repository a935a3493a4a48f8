"""The commands on a real control plane, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.live
Simgit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def simgit(kubeconfig: Path, tmp_path: Path) -> Iterator[Simgit]:
    """The command in a folder of its own, on a cluster with three virtual nodes."""
    environment = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "SIMGIT_CONFIG_DIR": str(tmp_path / "config"),
        "PYTHONPATH": str(ROOT),
    }

    def call(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "simgit", *map(str, words)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    call("kube", "preflight", code=3)  # there are no nodes
    call("kube", "allow", "test")
    call("kube", "nodes", "create", 3)
    yield call
    call("kube", "cleanup")
    call("kube", "nodes", "delete")


def test_a_training_is_recorded_and_agrees_with_the_embedded_cluster(simgit: Simgit) -> None:
    simgit("kube", "preflight")
    simgit("init")
    live = ("--cluster", "live", "--driver", "replayer", "--speed", 1000)
    options = ("--trace", "cpu-slight", "--agent", "dqn", "--episodes", 3, "--max-steps", 4)
    done = json.loads(simgit("train", *live, *options, "--run", "main", "--json").stdout)
    assert done["episodes"] == 3
    states = simgit("log", "--json", "main").stdout.splitlines()
    assert len(states) == done["steps"] + 3
    first = json.loads(simgit("show", "main@0", "--json").stdout)
    assert (first["info"]["pending"], first["info"]["validity"]) == (3, "ok")
    assert simgit("verify", "main").stdout == "live: not re-executed\n"
    for step in (0, done["steps"]):
        assert simgit("kube", "compare", f"main@{step}").stdout.splitlines()[-1] == "agree"
    compared = simgit("kube", "compare", "main@2", "--live", "--speed", 1000)
    assert compared.stdout.splitlines()[-1] == "agree"
    assert simgit("kube", "cleanup", "--all", "--dry-run").stdout == "nothing to remove\n"
