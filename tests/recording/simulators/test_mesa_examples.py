"""The models that mesa ships, unchanged: recorded, resumed in a new process, put back anywhere."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Divergence, Repository
from tests.support.paths import ROOT

MODELS: dict[str, dict[str, Any]] = {
    "BoltzmannWealth": {"n": 30}, "Schelling": {}, "VirusOnNetwork": {"num_nodes": 40},
    "ConwaysGameOfLife": {"width": 20, "height": 20}, "BoidFlockers": {"population_size": 20},
    "EpsteinCivilViolence": {"width": 15, "height": 15}, "PdGrid": {"width": 12, "height": 12},
    "SugarscapeG1mt": {"initial_population": 40}, "WolfSheep": {},
}  # fmt: skip
pytestmark = pytest.mark.slow  # to import them takes seconds
FAST = ("BoltzmannWealth", "VirusOnNetwork")
NUMBERS = ("wealth", "state", "sugar", "spice", "energy", "happy", "arrest_probability", "score")


def numbers(agents: list[Any], key: str) -> Any:
    """Return an attribute of those agents that have it, of members of an Enum the value."""
    found = [getattr(each, key, None) for each in agents]
    found = [getattr(each, "value", each) for each in found]
    return np.array([float(each) for each in found if isinstance(each, (int, float))])


def hooks(name: str, seeds_all: bool = True) -> dict[str, Any]:
    from mesa import examples

    kind, arguments = getattr(examples, name), MODELS[name]

    def rebuild(seed: int) -> Any:
        if name == "VirusOnNetwork" and seeds_all:
            random.seed(seed)  # networkx draws its graph from the global generator
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if name == "WolfSheep":
                from mesa.experimental.devs import ABMSimulator

                return kind(seed=seed, simulator=ABMSimulator(), **arguments)
            return kind(seed=seed, **arguments)

    def advance(model: Any, action: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.step()

    def observe(model: Any) -> dict[str, Any]:
        agents = sorted(model.agents, key=lambda each: each.unique_id)
        seen: dict[str, Any] = {key: numbers(agents, key) for key in NUMBERS}
        places = [
            each.pos if getattr(each, "pos", None) is not None else getattr(each, "position", None)
            for each in agents
        ]
        seen["places"] = [tuple(np.ravel(p).tolist()) for p in places if p is not None]
        seen["cells"] = [each.cell.coordinate for each in agents if getattr(each, "cell", None)]
        return {"observation": {"count": len(agents), **seen}, "time": float(model.steps)}

    return {"rebuild": rebuild, "advance": advance, "observe": observe}


def record(where: str | Path | Repository, name: str, stop: int) -> None:
    repo = where if isinstance(where, Repository) else Repository.init(where)
    with repo.recorder(name, **hooks(name)) as rec:
        if not rec.position:
            rec.reset(seed=11)
        while rec.position <= stop:
            rec.step()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_mesa(name: str, tmp_path: Path, seed: int) -> None:
    pytest.importorskip("mesa.examples")
    whole, stop = Repository.init(":memory:"), 20
    record(whole, name, stop)
    first, last = whole.state(f"{name}@0").observation, whole.state(name).observation
    assert repr(first) != repr(last), "nothing happens in the model"
    model = whole.simulator(f"{name}@t={seed % stop}", **hooks(name))
    assert model.steps == seed % stop
    if name in FAST:
        record(tmp_path, name, 3)
        record(tmp_path, name, stop)
    else:
        script = (
            "import sys, warnings; warnings.simplefilter('ignore')\n"
            "from tests.recording.simulators.test_mesa_examples import record\n"
            "record(sys.argv[1], sys.argv[2], int(sys.argv[3]))\n"
        )
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "random"}
        for until in (9, stop):
            arguments = [str(tmp_path), name, str(until)]
            subprocess.run([sys.executable, "-c", script, *arguments], check=True, env=environ)
    with Repository.open(tmp_path) as parts:
        assert parts.resolve(name) == whole.resolve(name)


def test_a_model_that_draws_from_elsewhere_is_not_taken_for_the_same() -> None:
    """mesa's VirusOnNetwork makes its graph without its seed: that is found, and named."""
    pytest.importorskip("mesa.examples")
    repo, given = Repository.init(":memory:"), hooks("VirusOnNetwork", seeds_all=False)
    before = random.getstate()
    try:
        random.seed(1)
        with repo.recorder("main", **given) as rec:
            rec.reset(seed=11)
            for _ in range(12):
                rec.step()
        with pytest.raises(Divergence, match=r"observation"):
            repo.simulator("main", **given)
        assert repo.verify_simulator("main", **given).verdict.result in (
            "not deterministic", "depends on the process",
        )  # fmt: skip
    finally:
        random.setstate(before)
