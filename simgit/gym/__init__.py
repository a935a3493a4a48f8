"""Gymnasium environments: recorded to runs, step for step."""

from simgit.gym.recorder import Recorder

__all__ = ["Recorder"]
