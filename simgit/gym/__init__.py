"""Gymnasium: record any environment, restore any state, and continue exactly.

- ``spec``: environments and spaces as canonical data in a run's root state, and back.
- ``drivers``: snapshots of environments, one driver for each way to take them.
- ``envs``: the environments of simgit, registered when this package is imported.
- ``recording``: wrappers that record one environment or a vector of them.
- ``restoring``: environments put back into recorded states, and verification.
- ``tools``: doctor, films, playing, what-if, recording without a script.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from simgit.gym.envs.registration import register

if TYPE_CHECKING:
    from simgit.errors import Untrusted
    from simgit.gym.recording.recorder import Recorder
    from simgit.gym.recording.sub_env import Lane
    from simgit.gym.recording.vector import VectorRecorder
    from simgit.gym.recording.volatile import volatile
    from simgit.gym.restoring.restore import (
        EnvironmentChanged,
        RestorePlan,
        plan,
        restore,
    )
    from simgit.gym.restoring.verify import judge, verify
    from simgit.gym.tools.collect import CollectionSpec, collect_once
    from simgit.gym.tools.drift import DriftReport, drift
    from simgit.gym.tools.fan_out import Arm, FanOutRow, fan_out
    from simgit.gym.tools.rollout import Continuation
    from simgit.gym.tools.whatif import step_batch, what_if

__all__ = [
    "Arm",
    "CollectionSpec",
    "Continuation",
    "DriftReport",
    "EnvironmentChanged",
    "FanOutRow",
    "Lane",
    "RestorePlan",
    "Recorder",
    "Untrusted",
    "VectorRecorder",
    "collect_once",
    "drift",
    "fan_out",
    "judge",
    "plan",
    "restore",
    "step_batch",
    "verify",
    "volatile",
    "what_if",
]
_LAZY = {
    "Arm": "tools.fan_out",
    "CollectionSpec": "tools.collect",
    "Continuation": "tools.rollout",
    "DriftReport": "tools.drift",
    "EnvironmentChanged": "restoring.restore",
    "FanOutRow": "tools.fan_out",
    "Lane": "recording.sub_env",
    "RestorePlan": "restoring.restore",
    "Recorder": "recording.recorder",
    "Untrusted": "spec.permit",
    "VectorRecorder": "recording.vector",
    "collect_once": "tools.collect",
    "drift": "tools.drift",
    "fan_out": "tools.fan_out",
    "judge": "restoring.verify",
    "plan": "restoring.restore",
    "restore": "restoring.restore",
    "step_batch": "tools.whatif",
    "verify": "restoring.verify",
    "volatile": "recording.volatile",
    "what_if": "tools.whatif",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'simgit.gym' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(f"simgit.gym.{_LAZY[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


register()
