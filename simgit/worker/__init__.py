"""Workers: processes that record into repositories of their own, and push to one remote.

``open`` opens a worker, ``claim`` takes a piece of work that no other worker may do.
"""

from simgit.worker.claims import Claim, claim
from simgit.worker.pusher import WorkResult
from simgit.worker.worker import ResumedRun, Worker
from simgit.worker.worker import open_worker as open

__all__ = ["Claim", "ResumedRun", "WorkResult", "Worker", "claim", "open"]
