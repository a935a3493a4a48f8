"""Commands on a stranger's repository run none of his code; a user's own needs no question."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from simgit import Repository
from simgit.gym.spec.spec import describe
from tests.cli.conftest import Call
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

MODULE = """
import pathlib, gymnasium
pathlib.Path({mark!r}).touch()
class Env(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(1000)
    action_space = gymnasium.spaces.Discrete(2)
    metadata = {{"render_modes": []}}
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return self.at, {{}}
    def step(self, action):
        self.at += 1 + int(action)
        {step}
        return self.at, 1.0, self.at > 50, False, {{}}
"""
OWN_SCRIPT = """
import mymod
from simgit.gym import Recorder
env = Recorder(mymod.Env(), ".", "main", self_check=False)
env.reset(seed=1)
for i in range(5):
    env.step(i % 2)
env.close()
"""
COMMANDS = {
    "verify": ["verify", "main"],
    "verify a part": ["verify", "main@1..2"],
    "what-if": ["what-if", "main@1", "--action", "0", "--horizon", 1, "--workers", 1],
    "video": ["video", "main", "-o", "out.gif"],
    "play": ["play", "main"],
    "evaluate": ["evaluate", "main"],
    "resume": ["train", "--resume", "--run", "main"],
}


def simgit(where: Path, *args: object) -> subprocess.CompletedProcess[str]:
    """Call a command as ``python -m simgit``, which imports from the current directory."""
    return subprocess.run(
        [sys.executable, "-m", "simgit", *map(str, args)], cwd=where, text=True, check=False,
        capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{where}"},
    )  # fmt: skip


def strange(directory: Path, module: str) -> None:
    """Make a stranger's repository with a module beside it, and leave it in the directory."""
    (directory / f"{module}.py").write_text(MODULE.format(mark=str(directory / "mark"), step=""))
    found: dict[str, Any] = describe(gymnasium.make("CartPole-v1"))
    found["environment"] = {"id": f"{module}:Evil-v0", "entry_point": f"{module}:Env", "kwargs": {}}
    config = {"agent": {"name": "dqn"}, "training": {"episodes": 3}, "environment": {}}
    with Repository.init(directory) as repo:
        with repo.recorder("main", spec=found, config=config) as recorder:
            recorder.append(0, reset={"seed": 1})
            for _ in range(3):
                recorder.append(1, 1, 1.0, False, False, {})
        repo.distrust()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_imports_what_a_strangers_repository_names(
    directory: Path, run: Call, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    strange(directory, "evilmod")
    monkeypatch.syspath_prepend(str(directory))
    found = run(*COMMANDS[command], code=128)
    assert not (directory / "mark").exists() and "evilmod" not in sys.modules
    last = found.err.splitlines()[-1]
    assert last.startswith("fatal: environment 'evilmod:Evil-v0' is not registered here"), found.err


def test_the_error_says_why_and_what_to_do(directory: Path, run: Call) -> None:
    strange(directory, "evilmod")
    assert run("verify", "main", code=128).err == (
        "fatal: environment 'evilmod:Evil-v0' is not registered here, and this repository is not "
        "trusted to name code: pass an environment with env=, or trust what is in it with "
        "'simgit trust'\n"
    )


def test_data_can_be_read_without_trust(directory: Path, run: Call) -> None:
    strange(directory, "evilmod")
    for args in (("log",), ("show", "main"), ("stats",), ("fsck",), ("run", "show", "main")):
        run(*args)
    run("bundle", "create", "x.bundle", "main")
    assert not (directory / "mark").exists()


@pytest.mark.slow
def test_ones_own_environment_in_ones_own_folder_needs_no_question(directory: Path) -> None:
    """The script creates the repository; a later process finds the module by its folder."""
    (directory / "mymod.py").write_text(MODULE.format(mark=str(directory / "mark"), step=""))
    (directory / "train.py").write_text(
        "from simgit import Repository\nRepository.init('.').close()\n" + OWN_SCRIPT
    )
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=directory, check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = simgit(directory, "verify", "main")
    assert (found.returncode, found.stderr) == (0, ""), found.stderr
    assert found.stdout.startswith("exact: ")


@pytest.mark.slow
def test_code_that_ends_the_program_is_a_failure(directory: Path) -> None:
    mark = str(directory / "mark")
    (directory / "mymod.py").write_text(MODULE.format(mark=mark, step=""))
    (directory / "train.py").write_text(OWN_SCRIPT)
    assert simgit(directory, "init").returncode == 0
    subprocess.run(
        [sys.executable, "train.py"], cwd=directory, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=PATIENCE,
    )  # fmt: skip
    for text in ("import sys; sys.exit(0)", MODULE.format(mark=mark, step="raise SystemExit")):
        (directory / "mymod.py").write_text(text)
        found = simgit(directory, "verify", "main")
        assert found.returncode == 128 and "the program" in found.stderr, found.stderr


def test_an_imported_bundle_names_no_code_until_it_is_trusted(
    directory: Path, run: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "his").mkdir()
    strange(directory / "his", "evilmod")
    monkeypatch.syspath_prepend(str(directory / "his"))
    run("-C", "his", "bundle", "create", "../x.bundle", "main")
    run("init", "mine")
    run("-C", "mine", "import", "../x.bundle")
    assert "is not registered here" in run("-C", "mine", "verify", "main", code=128).err
    assert not (directory / "his" / "mark").exists()
    assert run("-C", "mine", "trust").lines == [f"'{directory / 'mine'}' is now trusted"]
    run("-C", "mine", "verify", "main", code=128)
    assert (directory / "his" / "mark").exists()
    sys.modules.pop("evilmod")
