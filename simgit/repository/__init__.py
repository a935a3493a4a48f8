"""The repository: one object through which everything that is stored is reached.

Its operations stand in modules by subject; modules that only some operations need are imported
there, since a command that reads one state should not wait for all the others.
"""

from simgit.objects.oid import Oid
from simgit.repository.attachments import AttachmentOperations
from simgit.repository.history import HistoryOperations
from simgit.repository.maintenance import UpkeepOperations
from simgit.repository.operations import LogOperations
from simgit.repository.recording import RecordingOperations
from simgit.repository.remotes import TransportOperations
from simgit.repository.trajectories import DataOperations

__all__ = ["Repository"]


class Repository(
    RecordingOperations,
    LogOperations,
    AttachmentOperations,
    HistoryOperations,
    DataOperations,
    TransportOperations,
    UpkeepOperations,
):
    """A store of simulation states with its runs, tags and HEAD.

    Use ``init`` or ``open``. A context manager; safe with threads; it can be used after a fork,
    and by many processes at once.
    """

    def _repr_html_(self) -> str:
        from simgit.repository.display import to_html

        head = self.head
        where = f"detached at {head.short()}" if isinstance(head, Oid) else head
        title = f"{self.directory or 'repository in memory'}, {self.size():,} bytes, HEAD {where}"
        return to_html(title, self.runs())
