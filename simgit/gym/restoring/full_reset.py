"""The environments whose seeded reset forgets everything before it.

From such a reset a state can be reached without the states before it. A reset shows only its first
observation: what an environment keeps over it, a running mean of rewards say, may show much later.
So only classes that were examined are listed.
"""

from __future__ import annotations

from typing import Any, Final

from simgit.gym import drivers
from simgit.gym.drivers.wrappers import class_name, is_core, layers

KEEPS_ALL: Final = "replay-creation"
"""The driver of environments that keep state over every reset."""
_ENVIRONMENTS: Final = ("gymnasium.envs.", "ale_py.", "minigrid.", "simgit.gym.envs.simkube.")
"""Modules of environments that forget, except those that are replayed from creation."""
_WRAPPERS: Final = frozenset(
    f"gymnasium.wrappers.{name}"
    for name in (
        "array_conversion.ArrayConversion",
        "atari_preprocessing.AtariPreprocessing",
        "common.Autoreset",
        "common.OrderEnforcing",
        "common.PassiveEnvChecker",
        "common.TimeLimit",
        "jax_to_numpy.JaxToNumpy",
        "jax_to_torch.JaxToTorch",
        "numpy_to_torch.NumpyToTorch",
        "stateful_action.RepeatAction",
        "stateful_action.StickyAction",
        "stateful_observation.DelayObservation",
        "stateful_observation.FrameStackObservation",
        "stateful_observation.TimeAwareObservation",
        "transform_action.ClipAction",
        "transform_action.DiscretizeAction",
        "transform_action.RescaleAction",
        "transform_observation.AddRenderObservation",
        "transform_observation.DiscretizeObservation",
        "transform_observation.DtypeObservation",
        "transform_observation.FilterObservation",
        "transform_observation.FlattenObservation",
        "transform_observation.GrayscaleObservation",
        "transform_observation.RescaleObservation",
        "transform_observation.ReshapeObservation",
        "transform_observation.ResizeObservation",
        "transform_reward.ClipReward",
    )
)
"""Wrappers that have no state, or clear it at each reset.

Not among them: means (NormalizeObservation, NormalizeReward), counts of episodes
(RecordEpisodeStatistics), buffers that are not cleared (MaxAndSkipObservation), and wrappers that
call functions of the user.
"""


def forgets(env: Any) -> bool:
    """Return True if an environment and all its wrappers are known to forget at a seeded reset."""
    return not keeps_all(env) and all(map(_forgets, layers(env)))


def keeps_all(env: Any) -> bool:
    """Return True if an environment is known to keep state over every reset."""
    return drivers.select(env).name == KEEPS_ALL


def _forgets(layer: Any) -> bool:
    name = class_name(layer)
    return name.startswith(_ENVIRONMENTS) if is_core(layer) else name in _WRAPPERS
