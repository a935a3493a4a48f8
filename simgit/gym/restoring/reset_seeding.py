"""Which environments forget everything at a reset that is given a seed.

From such a reset a state can be reached without what was before. A reset shows only its first
observation: what an environment keeps over it, a running mean of rewards say, may show much later.
So this is believed only of classes that were looked at.
"""

from __future__ import annotations

from typing import Any, Final

from simgit.gym import drivers
from simgit.gym.drivers.wrappers import class_name, is_core, layers

KEEPS_ALL: Final = "replay-creation"
"""The driver of environments that nothing but their making begins anew."""
_ENVIRONMENTS: Final = ("gymnasium.envs.", "ale_py.", "minigrid.", "simgit.gym.envs.simkube.")
"""Modules of environments that forget, but for those that are replayed from their making."""
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
"""Wrappers that have no state, or begin anew at each reset.

Not among them: means (NormalizeObservation, NormalizeReward), counts of episodes
(RecordEpisodeStatistics), buffers that are not emptied (MaxAndSkipObservation), and what calls
functions of the user.
"""


def forgets(env: Any) -> bool:
    """Return whether it is known of an environment, and all its wrappers, that it forgets."""
    return not keeps_all(env) and all(map(_forgets, layers(env)))


def keeps_all(env: Any) -> bool:
    """Return whether it is known of an environment that a reset is not a beginning."""
    return drivers.select(env).name == KEEPS_ALL


def _forgets(layer: Any) -> bool:
    name = class_name(layer)
    return name.startswith(_ENVIRONMENTS) if is_core(layer) else name in _WRAPPERS
