"""Federated training: many workers train from one global agent, and their mean is the next one.

A round: each worker continues at the state of the run ``GROUP/global``, in its own run
``GROUP/worker/N``, trains for some episodes, and pushes. The coordinator makes a state whose
parents are the workers' newest states and the global one, attaches the mean of their agents, and
moves ``GROUP/global`` there if nobody else did meanwhile. No worker waits for another one, and
nothing that a worker did is dropped: what comes too late for its round is a parent of a later
state.

With one worker there is nothing to average: ``GROUP/global`` moves forward to its newest state,
and the training is the one that it would be without rounds.
"""

from simgit.training.federated.federation import Federation
from simgit.training.federated.local import LocalRound, train_round
from simgit.training.federated.merging import GlobalRound, merge_round
from simgit.training.federated.rounds import train_federated

__all__ = [
    "Federation",
    "GlobalRound",
    "LocalRound",
    "merge_round",
    "train_federated",
    "train_round",
]
