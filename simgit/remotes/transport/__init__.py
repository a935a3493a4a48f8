"""Transports: the seam between a remote and its storage.

- ``base``: the seam, what every transport promises, and the probe of a store's conditions.
- ``memory``, ``directory``, ``s3``: the three; ``s3`` is the only door to obstore.
- ``address``: URLs, and which transport one is for.
"""

from simgit.remotes.transport.address import open_transport
from simgit.remotes.transport.base import Counts, Got, Listed, Transport, probe_conditions

__all__ = ["Counts", "Got", "Listed", "Transport", "open_transport", "probe_conditions"]
