"""The package stands alone: no store, no gymnasium, no torch, no Kubernetes client."""

import os
import subprocess
import sys

import pytest

CODE = """
import importlib, pkgutil, sys
import simgit.kube
for module in pkgutil.walk_packages(simgit.kube.__path__, "simgit.kube."):
    importlib.import_module(module.name)
ours = {name for name in sys.modules if name.startswith("simgit.")}
import simgit
ours -= {"simgit.errors", "simgit.process"}  # what simgit itself loads
print(sorted(n for n in ours if not n.startswith("simgit.kube")))
heavy = {"gymnasium", "torch", "kubernetes", "lmdb", "blake3", "zstandard", "click", "matplotlib"}
print(sorted(heavy & set(sys.modules)))
"""


REPLAY = """
import hashlib, json
from simgit.kube.embedded import EmbeddedCluster, Faults, PodDelays, virtual_nodes
from simgit.testing.cluster_contract import deployment
cluster = EmbeddedCluster(
    virtual_nodes(5),
    seed=7,
    delays=PodDelays(create=10, create_jitter=900),
    faults=Faults(late_pods=0.2, lost_nodes={"node3": 4}),
)
for cpu in ("1", "3", "17", "2"):
    cluster.apply([deployment(name, replicas=9, cpu=cpu) for name in "abc"])
    cluster.advance(1.5)
cluster.advance(400)
rows = [cluster.pods(), cluster.nodes(), cluster.events()]
print(hashlib.sha256(json.dumps(rows).encode()).hexdigest())
"""


def test_a_replay_does_not_depend_on_the_order_of_hashes() -> None:
    def digest(hash_seed: str) -> str:
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", REPLAY]
        run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return run.stdout

    assert digest("1") == digest("2")


@pytest.mark.slow
def test_nothing_foreign_is_imported() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["[]", "[]"]
