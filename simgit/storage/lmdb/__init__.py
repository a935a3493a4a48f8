"""Storage on LMDB, in one directory: ``data.mdb``, ``lock.mdb`` and ``origin``.

LMDB allows one environment per file and process, and none of it to a forked child.
So handles share one ``Environment`` through a registry, and open it anew in a child.
The file format is that of LMDB 0.9, whatever engine the library would choose.
Only default flags are used: without ``sync`` a power cut loses the store, and with ``writemap``
two processes that grow the file corrupt it.
"""

from simgit.storage.lmdb.store import LmdbStorage

__all__ = ["LmdbStorage"]
