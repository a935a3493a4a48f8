"""The agent loop: an agent meets an environment, every step is a state, and it can go on anywhere.

``train`` begins a run, ``resume`` goes on with one, ``evaluate`` says how good an agent is. Here
the agents, the environments and the store come together; none of the three knows the others.
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
