"""Gymnasium: record any environment, go back to any state, and continue exactly."""

from simgit.gym.recorder import Recorder
from simgit.gym.vector import VectorRecorder

__all__ = ["Recorder", "VectorRecorder"]
