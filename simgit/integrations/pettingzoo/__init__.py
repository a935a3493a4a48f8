"""PettingZoo: environments of several agents, recorded with a lane for each, and put back exactly.

- ``joint``: an environment of either API as one simulator that is moved by joint steps.
- ``lanes``: the runs that an environment is recorded to: one for the whole, one for each agent.
- ``recorders``: the wrappers.
- ``restoring``: resume, branch, restore, verify.
"""

from simgit.integrations.pettingzoo.recorders import AECRecorder, ParallelRecorder, record
from simgit.integrations.pettingzoo.restoring import branch, restore, resume, verify

__all__ = [
    "AECRecorder", "ParallelRecorder", "branch", "record", "restore", "resume", "verify",
]  # fmt: skip
