"""Records nasty environments in one process, and restores them in others with another hash seed.

Each case is recorded, and restored, in a process of its own (a fork, before any environment was
made), so that classes and modules are as new. The outcome of a state is

- ``equal``: the recorded actions that follow have the recorded results;
- ``refused``: the restore raised an error of simgit, a divergence among them;
- ``warned``: it went on differently, after a warning;
- ``raised``: the environment raised an exception afterwards;
- ``silent``: it went on differently, and nothing was said. There must be none of these.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

STEPS = 45
AFTER = 20
STATES = (0, 3, 5, 8, 13, 14, 21, 26, 32, 40)
"""The restored states, by step."""
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Case:
    """An environment, the time at which its number changes, and how it is recorded."""

    name: str
    when: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The name of its directory."""
        options = "-".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}-{self.when}-{options}".rstrip("-")


def cases(names: Iterable[tuple[str, str]], **options: Any) -> list[Case]:
    """Return the cases whose packages are installed."""
    from tests.gym.nasty.envs import NEEDS

    return [
        Case(name, when, options)
        for name, when in names
        if name not in NEEDS or find_spec(NEEDS[name]) is not None
    ]


def outcomes(directory: Path, chosen: Sequence[Case]) -> dict[str, list[str]]:
    """Record and restore cases; return the outcome of each state, and how it was restored."""
    found: dict[str, list[str]] = {}
    for task, seed in (("record", "1"), ("restore", "2")):
        lines = _elsewhere(directory, task, seed, chosen)
        found = {each["run"]: each["found"] for each in lines}
    return found


def _elsewhere(directory: Path, task: str, seed: str, chosen: Sequence[Case]) -> list[Any]:
    """Do a task for all cases in two new processes; return what they print."""
    halves = [chosen[i::2] for i in range(2)]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.gym.nasty.matrix", task, str(directory)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": _path()},
        )
        for _ in halves
    ]  # fmt: skip
    for process, half in zip(running, halves, strict=True):
        assert process.stdin is not None
        process.stdin.write(json.dumps([vars(case) for case in half]))
        process.stdin.close()
    found = []
    for process in running:
        assert process.stdout is not None
        with process.stdout as lines:
            found += [json.loads(line) for line in lines if line.startswith("{")]
        assert process.wait() == 0
    return found


def _path() -> str:
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


# --- in another process --------------------------------------------------------------------------


def record(directory: Path, case: Case) -> list[str]:
    """Record a case; return the verdict."""
    from simgit.gym import Recorder

    options = dict(case.options)
    if options.pop("lanes", None):
        return _record_lanes(directory, case, options)
    env = Recorder(_make(case), directory / case.run, provenance=False, **options)
    env.reset(seed=3)
    for i in range(STEPS + AFTER):
        if any(env.step((i * i + 1) % 3)[2:4]):
            env.reset()
    env.close()
    verdict = env.repo.runs["main"].metadata.get("verdict", {})
    return [str(verdict.get("result"))]


def _record_lanes(directory: Path, case: Case, options: dict[str, Any]) -> list[str]:
    import gymnasium as gym
    import numpy as np

    from simgit.gym import VectorRecorder

    vector = gym.make_vec(
        f"nasty/{case.name}-v0", case.options["lanes"], vectorization_mode="sync", when=case.when
    )
    env = VectorRecorder(vector, directory / case.run, provenance=False, **options)
    env.reset(seed=3)
    for i in range(STEPS + AFTER):
        env.step(np.array([(i * i + lane) % 3 for lane in range(case.options["lanes"])]))
    env.close()
    return []


def _make(case: Case) -> Any:
    import gymnasium as gym

    from tests.gym.nasty import envs

    kind = envs.HIDING[case.name]
    if issubclass(kind, gym.Wrapper):
        return kind(gym.make("nasty/Shown-v0", disable_env_checker=True), case.when)
    return gym.make(f"nasty/{case.name}-v0", when=case.when, disable_env_checker=True)


def restore(directory: Path, case: Case) -> list[str]:
    """Restore all states of a case; return the outcome of each."""
    from simgit import Repository

    run = "main/1" if "lanes" in case.options else "main"
    with Repository.open(directory / case.run) as repo:
        return [_outcome(repo, run, step) for step in STATES]


def _outcome(repo: Any, run: str, step: int) -> str:
    from simgit import SimgitError
    from simgit.gym import restore

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            env = restore(repo, f"{run}@{step}", trust=True)
        except SimgitError as error:
            return f"refused: {type(error).__name__}: {error}"
    try:
        differs = _difference(env, repo, run, step)
    except Exception as error:
        return f"raised: {type(error).__name__}: {error}"
    if differs is None:
        return "equal"
    told = [each for each in said if type(each.message).__module__.startswith("simgit")]
    return f"{'warned' if told else 'silent'}: {differs}"


def _difference(env: Any, repo: Any, run: str, step: int) -> str | None:
    """Return the first difference among the states that follow, None without one."""
    for state in repo[run][step + 1 : step + 1 + AFTER]:
        if state.reset is not None:
            observation, reward = env.reset(**state.reset)[0], None
        else:
            observation, reward = env.step(state.action)[:2]
        if observation.tolist() != state.observation.tolist() or reward != state.reward:
            return f"step {state.step}: {reward}, recorded {state.reward}"
    return None


def _forked(work: Callable[[], list[str]]) -> list[str]:
    """Do work in a fork of this process; return its result."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(here)
        try:
            data = json.dumps(work())
        except BaseException:
            data = json.dumps([f"failed: {traceback.format_exc()}"])
        with os.fdopen(there, "w") as pipe:
            pipe.write(data)
        os._exit(0)
    os.close(there)
    with os.fdopen(here) as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    found: list[str] = json.loads(data)
    return found


def main(task: str, directory: str) -> None:
    """Do a task for the cases on stdin."""
    for module in ("simgit.gym.recording.recorder", "simgit.gym.restoring.verify",
                   "tests.gym.nasty.envs"):  # fmt: skip
        importlib.import_module(module)
    work = {"record": record, "restore": restore}[task]
    for each in json.load(sys.stdin):
        case = Case(**each)
        found = _forked(lambda case=case: work(Path(directory), case))  # type: ignore[misc]
        print(json.dumps({"run": case.run, "found": found}), flush=True)


def kinds(found: Iterable[str]) -> Counter[str]:
    """Count outcomes by their kind."""
    return Counter(each.partition(":")[0] for each in found)


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main(*sys.argv[1:])
