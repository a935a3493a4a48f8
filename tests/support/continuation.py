"""Whether an environment goes on as it would have: run here, restored and run in another process.

`python tests/support/continuation.py REPOSITORY` reads cases from stdin, one JSON document a line
({"make": …, "state": run, "actions": [...]}), and prints the digests of what each returns.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def make(recipe: dict[str, Any]) -> Any:
    """Return an environment: {"id", "kwargs", "wrappers": [[entry point, kwargs]], "vector": n}."""
    import importlib

    import gymnasium as gym

    warnings.simplefilter("ignore")
    for module in recipe.get("import", ()):
        importlib.import_module(module)
    kwargs = recipe.get("kwargs", {})
    if "vector" in recipe:
        return gym.make_vec(recipe["id"], num_envs=recipe["vector"], **kwargs)
    env = gym.make(recipe["id"], **kwargs)
    for name, arguments in recipe.get("wrappers", ()):
        module, _, attribute = name.partition(":")
        env = getattr(importlib.import_module(module), attribute)(env, **arguments)
    return env


def digest(value: Any) -> str:
    """Return a digest of the bytes of nested values, their types with them."""
    return hashlib.blake2b(_bytes(value), digest_size=8).hexdigest()


def _bytes(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"{" + b"".join(_bytes(k) + _bytes(v) for k, v in value.items()) + b"}"
    if isinstance(value, (list, tuple)):
        return b"(" + b"".join(map(_bytes, value)) + b")"
    if isinstance(value, (bool, int, str, type(None))):
        return repr(value).encode()
    array = np.asarray(value)
    if array.dtype == object:
        return b"(" + b"".join(map(_bytes, array.ravel().tolist())) + b")"
    return f"{array.dtype}{array.shape}".encode() + array.tobytes()


def forget_clock(info: Any) -> Any:
    """Return info without the wall-clock time that RecordEpisodeStatistics puts there."""
    if isinstance(info, dict) and isinstance(info.get("episode"), dict):
        return info | {"episode": {k: v for k, v in info["episode"].items() if k != "t"}}
    return info


def advance(env: Any, action: Any) -> str:
    """Step, and reset where an episode ends; return the digest of all that was returned."""
    observation, reward, terminated, truncated, info = env.step(action)
    returned = [digest((observation, reward, terminated, truncated, forget_clock(info)))]
    if np.ndim(terminated) == 0 and (terminated or truncated):
        returned.append(digest(env.reset()))
    return "".join(returned)


def sample(env: Any, count: int) -> list[Any]:
    """Return actions as JSON holds them."""
    return [np.asarray(env.action_space.sample()).tolist() for _ in range(count)]


def as_action(env: Any, action: Any) -> Any:
    """Return an action that came from JSON in the form of its space."""
    dtype = env.action_space.dtype
    return np.asarray(action, dtype) if isinstance(action, list) else dtype.type(action)


def goes_on(env: Any, actions: Sequence[Any]) -> list[str]:
    """Return the digests of what actions lead to."""
    return [advance(env, as_action(env, action)) for action in actions]


def elsewhere(repository: Path, cases: Iterable[dict[str, Any]]) -> list[list[str]]:
    """Restore each case's snapshot in a new process and go on; return the digests of each."""
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run(
        [sys.executable, __file__, str(repository)],
        input=lines, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def main(path: str) -> None:
    """Answer the cases on stdin."""
    from simgit import Repository
    from simgit.gym import drivers

    with Repository.open(path, read_only=True) as repo:
        for line in sys.stdin:
            case = json.loads(line)
            env = make(case["make"])
            driver = drivers.select(env)
            driver.restore(env, repo.attachment(case["state"], "snapshot"))
            print(json.dumps(goes_on(env, case["actions"])))


if __name__ == "__main__":
    main(sys.argv[1])
