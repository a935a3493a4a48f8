"""Gymnasium: record any environment, go back to any state, and continue exactly."""

from simgit.gym.recorder import Recorder

__all__ = ["Recorder"]
