"""Agents: plain arrays in, actions out; they depend on neither store nor cluster.

``make`` builds one by its name, ``load`` rebuilds one from its checkpoint. Importing this package
does not load torch; making a DQN does.
"""

from simgit.agents.base import Agent, Checkpoint
from simgit.agents.checkpoint import from_json, read_checkpoint, to_json, write_checkpoint
from simgit.agents.registry import LEARNERS, complete, defaults, load, make, names
from simgit.agents.transfer import check_between_episodes, recognised, transfer

__all__ = [
    "Agent", "Checkpoint", "LEARNERS", "check_between_episodes", "complete", "defaults",
    "from_json", "load", "make", "names", "read_checkpoint", "recognised", "to_json", "transfer",
    "write_checkpoint",
]  # fmt: skip
