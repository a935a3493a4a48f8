"""The package stands alone: no store, no gymnasium, no torch, no Kubernetes client."""

import subprocess
import sys

CODE = """
import importlib, pkgutil, sys
import simgit.kube
for module in pkgutil.walk_packages(simgit.kube.__path__, "simgit.kube."):
    importlib.import_module(module.name)
ours = {name for name in sys.modules if name.startswith("simgit.")}
print(sorted(n for n in ours if not n.startswith(("simgit.kube", "simgit.errors"))))
heavy = {"gymnasium", "torch", "kubernetes", "lmdb", "blake3", "zstandard", "click", "matplotlib"}
print(sorted(heavy & set(sys.modules)))
"""


def test_nothing_foreign_is_imported() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["[]", "[]"]
