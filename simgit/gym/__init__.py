"""Gymnasium: record any environment, go back to any state, and continue exactly."""

from simgit.gym.lane import Lane
from simgit.gym.recorder import Recorder
from simgit.gym.restore import EnvironmentChanged, Plan, Untrusted, plan, restore
from simgit.gym.vector import VectorRecorder
from simgit.gym.verify import judge, verify
from simgit.gym.whatif import Continuation, step_batch, what_if

__all__ = [
    "Continuation",
    "EnvironmentChanged",
    "Lane",
    "Plan",
    "Recorder",
    "Untrusted",
    "VectorRecorder",
    "judge",
    "plan",
    "restore",
    "step_batch",
    "verify",
    "what_if",
]
