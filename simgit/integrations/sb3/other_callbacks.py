"""The callbacks beside simgit's: their counters, and the environments that they evaluate in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.vec_env import DummyVecEnv

from simgit.errors import InvalidInput, warn
from simgit.gym import drivers
from simgit.gym.drivers.plain import decode
from simgit.integrations.objects import CODE, Objects
from simgit.integrations.sb3 import wrappers
from simgit.integrations.sb3.pieces import encoded, learns, name_of, put, put_learner

_COUNTERS: Final = ("n_calls", "num_timesteps")
_STATE: Final[dict[str, tuple[str, ...]]] = {
    "EvalCallback": (
        "best_mean_reward", "last_mean_reward", "evaluations_results", "evaluations_timesteps",
        "evaluations_length", "evaluations_successes", "_is_success_buffer",
    ),
    "MaskableEvalCallback": (
        "best_mean_reward", "last_mean_reward", "evaluations_results", "evaluations_timesteps",
        "evaluations_length", "evaluations_successes", "_is_success_buffer",
    ),
    "StopTrainingOnMaxEpisodes": ("n_episodes",),
    "StopTrainingOnNoModelImprovement": ("last_best_mean_reward", "no_improvement_evals"),
    "EveryNTimesteps": ("last_time_trigger",),
    "LogEveryNTimesteps": ("last_time_trigger",),
}  # fmt: skip
"""What changes in the library's own callbacks; the rest is what the script gave."""
_LIBRARY: Final = ("stable_baselines3.", "sb3_contrib.")
_NOT_KEPT: Final = frozenset({
    "model", "locals", "globals", "parent", "callback", "callbacks", "callback_on_new_best",
    "eval_env", "verbose",
})  # fmt: skip


def callbacks(root: Any) -> Iterator[Any]:
    """Yield a callback and those below it, without the lists and simgit's own."""
    for each in everything(root):
        if type(each) is not CallbackList and not _is_own(each):
            yield each


def everything(root: Any) -> Iterator[Any]:
    """Yield a callback and all below it."""
    yield root
    below = [getattr(root, "callback_on_new_best", None), getattr(root, "callback", None)]
    for each in [*getattr(root, "callbacks", ()), *below]:
        if isinstance(each, BaseCallback):
            yield from everything(each)


def _is_own(callback: Any) -> bool:
    return any(kind.__module__.startswith("simgit.") for kind in type(callback).__mro__)


def place(root: Any) -> int:
    """Return how many callbacks a list has before simgit's: these act before a checkpoint."""
    own = [i for i, each in enumerate(getattr(root, "callbacks", ())) if _is_own(each)]
    return own[0] if own else 0


def capture(root: Any, said: set[str]) -> list[dict[str, Any]]:
    """Return the state of each callback; ``said`` has what a warning was given of."""
    found = []
    for each in callbacks(root):
        state, learners = _state(each, said)
        data = {"kind": name_of(each), "state": state, "learners": learners}
        venv = vars(each).get("eval_env")
        if venv is not None:
            data["evaluation"] = _environments(venv, said)
        found.append(data)
    return found


def _state(callback: Any, said: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    name = type(callback).__name__
    is_library = type(callback).__module__.startswith(_LIBRARY)
    state, left, learners = {}, [], {}
    for key, value in vars(callback).items():
        if is_library and key not in (*_COUNTERS, *_STATE.get(name, ())):
            continue
        if key in _NOT_KEPT or isinstance(value, CODE):
            continue
        try:
            if learns(value):
                learners[key] = Objects({}, said).saved(value, f"{name}.{key}")
            else:
                state[key] = encoded(value, f"'{key}'")
        except InvalidInput:
            left.append(key)
    if left:
        _say(f"callback '{name}' continues without its '{', '.join(left)}'", said)
    return state, learners


def _environments(venv: Any, said: set[str]) -> dict[str, Any]:
    base = venv.unwrapped
    data: dict[str, Any] = {
        "seeds": encoded(list(base._seeds), "the seeds of an evaluation"),
        "wrappers": wrappers.capture(venv),
    }
    try:
        if type(base) is not DummyVecEnv:
            raise InvalidInput("it is in other processes")
        taken = [drivers.select(env).snapshot(env) for env in base.envs]
        if not all(taken) or any(drivers.needs_trust(each or {}) for each in taken):
            raise InvalidInput("it has no snapshots of plain data")
        data["environments"] = [drivers.pack(each) for each in taken if each is not None]
    except InvalidInput as error:
        _say(f"an evaluation environment is not restored: {error}", said)
    return data


def _say(message: str, said: set[str]) -> None:
    if message not in said:
        said.add(message)
        warn(message)


def put_back(root: Any, data: Sequence[Mapping[str, Any]]) -> None:
    """Put the state of callbacks back; of each kind the first to the first, and so on."""
    waiting = list(callbacks(root))
    for recorded in data:
        found = next((each for each in waiting if name_of(each) == recorded["kind"]), None)
        if found is None:
            name = recorded["kind"].rpartition(".")[2]
            warn(f"callback '{name}' was there at the checkpoint and is not now")
            continue
        waiting.remove(found)
        for key, value in recorded["state"].items():
            if key not in _NOT_KEPT:
                setattr(found, key, put(vars(found).get(key), decode(value)))
        for key, value in recorded.get("learners", {}).items():
            put_learner(vars(found).get(key), value, f"{type(found).__name__}.{key}")
        if "evaluation" in recorded:
            _put_environments(found.eval_env, recorded["evaluation"])


def _put_environments(venv: Any, data: Mapping[str, Any]) -> None:
    wrappers.put_back(venv, data["wrappers"])
    base = venv.unwrapped
    base._seeds = decode(data["seeds"])
    for env, snapshot in zip(getattr(base, "envs", ()), data.get("environments", ()), strict=False):
        driver = drivers.serving(env, drivers.unpack(snapshot)["driver"])
        driver.restore(env, snapshot)
