"""The drivers that this process has open, one for each cluster.

Environments of a process share them: their replays follow one another, and each leaves the cluster
empty.
"""

from __future__ import annotations

import atexit
import os
import threading
from pathlib import Path
from typing import Final

from simgit.kube.live.driver import Driver, LiveSettings

_drivers: Final[dict[tuple[int, LiveSettings], Driver]] = {}
_lock: Final = threading.Lock()
leftovers: Path | None = None
"""The file that names what could not be removed from a cluster; see the drivers."""


def driver(settings: LiveSettings) -> Driver:
    """Return the driver of a cluster, opened if it is not open in this process.

    Raises:
        NotFound: no such context.
        ClusterError: the context may not be used, or its cluster cannot be reached.
    """
    key = (os.getpid(), settings)  # connections are not shared over a fork
    with _lock:
        found = _drivers.get(key)
        if found is None:
            found = _drivers[key] = _open(settings)
    return found


def close(settings: LiveSettings) -> None:
    """Close the driver of a cluster; the next use opens another one."""
    with _lock:
        found = _drivers.pop((os.getpid(), settings), None)
    if found is not None:
        found.close()


@atexit.register
def _close_all() -> None:
    for pid, settings in list(_drivers):
        if pid == os.getpid():
            close(settings)


def _open(settings: LiveSettings) -> Driver:
    from simgit.kube.live.api import Api

    api = Api(settings.context)
    try:
        if settings.driver == "simkube":
            from simgit.kube.live.simulation import SimkubeDriver

            return SimkubeDriver(api, settings, leftovers=leftovers)
        from simgit.kube.live.replay import ReplayDriver

        return ReplayDriver(api, settings, leftovers=leftovers)
    except BaseException:
        api.close()
        raise
