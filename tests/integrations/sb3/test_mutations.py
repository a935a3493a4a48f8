"""Every piece of a checkpoint matters: without it the training becomes another one, loudly or not.

The cuts are out of phase with target updates, policy delays and ends of episodes, where leaving
something out would not be noticed.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")

from simgit import Divergence
from simgit.integrations.sb3 import checkpoints
from tests.integrations.sb3.cases import CASES, IGNORED
from tests.support.unchecked import unchecked  # noqa: F401

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{each}") for each in (*IGNORED, ".*continues without.*")
]
Mutation = Callable[[dict[str, Any]], Any]


def attribute(name: str) -> Mutation:
    return lambda data: data["attributes"].pop(name)


def wrapper(name: str) -> Mutation:
    return lambda data: data["wrappers"][0]["state"].pop(name)


def optimizer(name: str) -> Mutation:
    return lambda data: data["parameters"][name]["state"].clear()


def weights(data: dict[str, Any]) -> None:
    first = next(iter(data["parameters"]["policy"]))
    data["parameters"]["policy"][first] = data["parameters"]["policy"][first] * np.float32(1.0001)


def numpys(data: dict[str, Any]) -> None:
    data["random"]["globals"]["numpy"] = np.random.RandomState(5).get_state(legacy=False)


def pythons(data: dict[str, Any]) -> None:
    version, words, gauss = random.Random(5).getstate()
    data["random"]["globals"]["python"] = [version, np.array(words, np.uint32), gauss]


def counter(data: dict[str, Any]) -> None:
    data["callbacks"][0]["state"].pop("n_calls")


def tensor(data: dict[str, Any]) -> None:
    data["tensors"] = {name: value * 0 for name, value in data["tensors"].items()}


def bare(data: dict[str, Any]) -> None:
    data["replay"]["pieces"] = data["replay"]["pieces"][:0]


PIECES: list[tuple[str, int, str, Mutation]] = [
    ("ppo-2-plain", 128, "weights", weights),
    ("ppo-2-plain", 128, "optimizer", optimizer("policy.optimizer")),
    ("ppo-2-plain", 128, "torch", lambda data: data["random"]["globals"].pop("torch")),
    ("ppo-2-plain", 128, "numpy", numpys),
    ("ppo-2-plain", 128, "python", pythons),
    ("ppo-2-plain", 128, "ep_info_buffer", attribute("ep_info_buffer")),
    ("ppo-2-plain", 128, "_n_updates", attribute("_n_updates")),
    ("ppo-2-normalize", 128, "returns", wrapper("returns")),
    ("ppo-2-normalize", 128, "obs_rms", wrapper("obs_rms")),
    ("ppo-2-normalize", 128, "ret_rms", wrapper("ret_rms")),
    ("ppo-2-stack", 128, "stacked_obs", wrapper("stacked_obs")),
    ("ppo-2-monitor", 128, "episode_returns", wrapper("episode_returns")),
    ("ppo-2-monitor", 128, "episode_lengths", wrapper("episode_lengths")),
    ("a2c-2-plain", 98, "optimizer", optimizer("policy.optimizer")),
    ("ppo-gsde-once", 128, "matrices", lambda data: data["matrices"].clear()),
    ("ppo-eval", 128, "n_calls", counter),
    ("ppo-eval", 128, "evaluation", lambda data: data["callbacks"][0].pop("evaluation")),
    ("recurrent", 128, "lstm", lambda data: data.update(lstm=None)),
    ("dqn-1-plain", 180, "numpy", numpys),
    ("dqn-1-plain", 180, "replay", bare),
    ("dqn-1-plain", 180, "optimizer", optimizer("policy.optimizer")),
    ("dqn-1-plain", 180, "_n_calls", attribute("_n_calls")),
    ("dqn-1-plain", 180, "spaces", lambda data: data["random"]["spaces"].clear()),
    ("dqn-1-plain", 180, "_episode_num", attribute("_episode_num")),
    ("qrdqn-1-plain", 180, "_n_calls", attribute("_n_calls")),
    ("td3-steady", 99, "noise", lambda data: data["noise"]["state"].clear()),
    ("td3-steady", 99, "_n_updates", attribute("_n_updates")),
    ("td3-steady", 99, "critic", optimizer("critic.optimizer")),
    ("td3-steady", 99, "actor", optimizer("actor.optimizer")),
    ("sac-1-plain", 90, "log_ent_coef", tensor),
    ("sac-1-plain", 90, "ent_coef_optimizer", optimizer("ent_coef_optimizer")),
    ("tqc-1-plain", 90, "log_ent_coef", tensor),
    ("her", 120, "episode", lambda data: data["replay"]["rest"].pop("_current_ep_start")),
]  # fmt: skip
QUICK = ("_n_calls", "replay")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "pieces"),
    [
        pytest.param("dqn-1-plain", QUICK, id="quick"),
        *(pytest.param(case, None, id=case, marks=pytest.mark.slow)
          for case in dict.fromkeys(each[0] for each in PIECES)),
    ],
)  # fmt: skip
def test_leaving_a_piece_out_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, pieces: Any
) -> None:
    path, loaded = tmp_path / "runs", checkpoints.load
    full = CASES[case].train(path, case)[0]
    for name, at, piece, mutate in PIECES:
        if name != case or piece not in (pieces or (piece,)):
            continue

        def without(repo: Any, found: Any, at: int = at, mutate: Mutation = mutate) -> Any:
            data = copy.deepcopy(loaded(repo, found))
            assert found.timesteps == at
            mutate(data)
            return data

        with monkeypatch.context() as patch, suppress(Divergence, ValueError):
            patch.setattr(checkpoints, "load", without)
            assert CASES[case].resume(path, case, at)[0] != full, piece
        assert CASES[case].resume(path, case, at)[0] == full, piece  # with it all is as it was
