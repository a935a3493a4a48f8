"""The extras ``envs`` and ``robotics``: what they install together is imported and stepped."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from tests.support.paths import ROOT

STEP = """\
import warnings
warnings.simplefilter("ignore")
import gymnasium
for name in {modules!r}:
    gymnasium.register_envs(__import__(name))
for name in {ids!r}:
    env = gymnasium.make(name)
    env.reset(seed=1)
    for _ in range(3):
        env.step(env.action_space.sample())
    env.close()
"""
DM_CONTROL = """\
import numpy as np
from dm_control import composer, mjcf, suite
for domain, task in (("cartpole", "swingup"), ("walker", "walk"), ("humanoid", "run")):
    env = suite.load(domain, task)
    env.reset()
    for _ in range(3):
        env.step(np.zeros(env.action_spec().shape))
"""
FAMILIES: dict[str, tuple[str, str]] = {
    "classic control": ("gymnasium", STEP.format(modules=[], ids=["CartPole-v1", "Acrobot-v1"])),
    "toy text": ("gymnasium", STEP.format(modules=[], ids=["FrozenLake-v1", "Blackjack-v1"])),
    "Box2D": ("Box2D", STEP.format(modules=[], ids=["LunarLander-v3", "BipedalWalker-v3"])),
    "MuJoCo": ("mujoco", STEP.format(modules=[], ids=["HalfCheetah-v5", "Humanoid-v5"])),
    "Atari": ("ale_py", STEP.format(modules=["ale_py"], ids=["ALE/Pong-v5"])),
    "minigrid": ("minigrid", STEP.format(modules=["minigrid"], ids=["MiniGrid-Empty-5x5-v0"])),
    "dm_control": ("dm_control", DM_CONTROL),
    "Gymnasium-Robotics": (
        "gymnasium_robotics",
        STEP.format(
            modules=["gymnasium_robotics"],
            ids=["FetchReach-v4", "HandReach-v3", "PointMaze_UMaze-v3", "FrankaKitchen-v1"],
        ),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_imported_and_stepped(family: str, tmp_path: Path) -> None:
    package, script = FAMILIES[family]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    environ = {**os.environ, "MUJOCO_GL": "disable", "SDL_VIDEODRIVER": "dummy"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environ, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_both_extras_have_the_same_cap_of_mujoco() -> None:
    """What breaks with a later one is installed by the second, which has all of the first."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    capped = [each for each in extras["envs"] if re.fullmatch(r"mujoco>=3,<3\.\d+", each)]
    assert len(capped) == 1 and "simgit[envs]" in extras["robotics"]
    try:
        version("dm_control")
        present = version("mujoco")
    except PackageNotFoundError:
        return
    most = int(capped[0].rpartition(".")[2])
    assert tuple(map(int, present.split(".")[:2])) < (3, most), "reinstall: make clean"
