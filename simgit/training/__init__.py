"""The agent loop: every step of a training is a state, from which it can be resumed or branched.

``train`` begins a run, with a new agent or that of another, ``resume`` continues one, ``evaluate``
measures an agent. Agents,
environments and the store come together here; none of the three depends on the others.
"""

from simgit.training.config import Config
from simgit.training.evaluation import Evaluation, evaluate
from simgit.training.loop import TrainingEpisode, Transition, episode, step
from simgit.training.trainer import Training, resume, train

__all__ = [
    "Config",
    "TrainingEpisode",
    "Evaluation",
    "Training",
    "Transition",
    "episode",
    "evaluate",
    "resume",
    "step",
    "train",
]
