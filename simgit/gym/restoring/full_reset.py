"""The environments whose seeded reset forgets everything before it.

From such a reset a state can be reached without the states before it. A reset shows only its first
observation: what an environment keeps over it, a running mean of rewards say, may show much later.
So only classes that were examined are listed. Of others their authors say it, in the metadata of
the class: ``metadata = {"simgit": {"reset_forgets": True}}``; a wrapper has metadata of its own.
"np_random" says it of resets without a seed too: that they draw from this generator, and keep
nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import getattr_static
from typing import Any, Final

from simgit.errors import shown, warn
from simgit.gym import drivers
from simgit.gym.drivers.wrappers import class_name, is_core, layers
from simgit.gym.restoring.run_notes import FORGETS, RESETS, UNSEEDED, said_of
from simgit.refs.runs import DECLARATIONS, is_declaration

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


def forgets(env: Any, kind: str = RESETS) -> bool | None:
    """Return whether an environment with all its wrappers forgets at resets of a kind.

    True if all are known or declared to, False if one is declared not to, else None.
    """
    found = [_forgets(layer, kind) for layer in layers(env)]
    if all(found):
        is_declared = all(said_of(said(layer), kind) for layer in layers(env) if is_core(layer))
        return True if is_declared or not keeps_all(env) else None
    return False if False in found else None


def keeps_all(env: Any) -> bool:
    """Return True if an environment has no snapshots: state that nobody sees may survive resets."""
    return drivers.select(env).name == KEEPS_ALL


def said(layer: Any) -> Any:
    """Return what the metadata of an environment or wrapper itself declare, None if nothing."""
    metadata = getattr_static(layer, "metadata", None)  # a wrapper shows those of its environment
    own = metadata.get("simgit") if isinstance(metadata, Mapping) else None
    return own.get(FORGETS) if isinstance(own, Mapping) else None


def declaration(env: Any) -> dict[str, Any]:
    """Return what is noted with a run of what its environment and wrappers declare.

    What may not stand there is warned of.
    """
    for each in (layer for layer in layers(env) if said(layer) is not None):
        if not is_declaration(said(each)):
            warn(
                f"'{FORGETS}' in the metadata of '{class_name(each)}' must be {DECLARATIONS}, "
                f"got {shown(said(each))}: it counts for nothing"
            )
    if all(said(layer) is None for layer in layers(env)):
        return {}
    if forgets(env, UNSEEDED):
        return {FORGETS: "np_random"}
    found = forgets(env)
    return {} if found is None else {FORGETS: found}


def _forgets(layer: Any, kind: str) -> bool | None:
    found = said(layer)
    if found is not None:
        return said_of(found, kind)
    name = class_name(layer)
    known = name.startswith(_ENVIRONMENTS) if is_core(layer) else name in _WRAPPERS
    return True if known else None
