"""The drivers that this process has open, one for each cluster.

Environments of a process share them: their replays follow one another, and each leaves the cluster
empty.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from simgit.errors import ClusterError
from simgit.kube.hooks import Hooks
from simgit.kube.live.api import Api
from simgit.kube.live.cleanup import terminable
from simgit.kube.live.driver import ClusterDriver, LiveSettings

Permit = Callable[[str, str], None]
"""Called with a context and its server's URL; raises ClusterError if they may not be used."""


class _Opened(NamedTuple):
    api: Api
    driver: ClusterDriver


ANSWER_SECONDS: Final = 10.0
"""The seconds within which a cluster has to answer before anything begins."""
_drivers: Final[dict[tuple[int, LiveSettings], _Opened]] = {}
_lock: Final = threading.Lock()
_permit: Permit | None = None
_leftovers: Path | None = None
_hooks = Hooks()
_ending: Final = ExitStack()
"""What is in force while a driver is open."""


def prepare(permit: Permit, leftovers: Path | None) -> None:
    """Take what every driver is opened with.

    Args:
        permit: checks that the user allowed a cluster.
        leftovers: the file that names what could not be removed from clusters.
    """
    global _permit, _leftovers
    _permit, _leftovers = permit, leftovers


@contextmanager
def hooked(hooks: Hooks) -> Iterator[None]:
    """Run hooks before and after each replay that begins in the block, on any cluster."""
    global _hooks
    before, _hooks = _hooks, hooks
    try:
        yield
    finally:
        _hooks = before


def hooks() -> Hooks:
    """Return the hooks of replays."""
    return _hooks


def permitted(context: str | None) -> Api:
    """Return the API server of a context that may be written to.

    Raises:
        NotFound: no such context.
        ClusterError: the user did not allow it, or the kubeconfig cannot be used.
    """
    if _permit is None:
        raise ClusterError("clusters are not prepared: call simgit.kube.live.opened.prepare first")
    api = Api(context)
    try:
        _permit(api.context, api.url)
    except BaseException:
        api.close()
        raise
    return api


def driver(settings: LiveSettings) -> ClusterDriver:
    """Return the driver of a cluster, opened if it is not open in this process.

    Raises:
        NotFound, ClusterError: see ``permitted``.
    """
    key = (os.getpid(), settings)  # connections are not shared over a fork
    with _lock:
        found = _drivers.get(key)
        if found is None:
            found = _drivers[key] = _open(settings)
            # also between two replays, when namespaces and a lease are kept for the next one
            _ending.enter_context(terminable())
    return found.driver


def facts(settings: LiveSettings) -> dict[str, Any]:
    """Return what is recorded of a cluster, see ``ClusterDriver.facts``: it has to answer soon.

    Raises:
        NotFound, ClusterError: see ``driver``; or it cannot be reached.
    """
    found = driver(settings)
    api = _drivers[os.getpid(), settings].api
    with api.within(ANSWER_SECONDS):
        return found.facts()


def close(settings: LiveSettings) -> None:
    """Close the driver of a cluster; the next use opens another one."""
    with _lock:
        found = _drivers.pop((os.getpid(), settings), None)
        if not _drivers and threading.current_thread() is threading.main_thread():
            _ending.close()
    if found is not None:
        try:
            found.driver.close()
        finally:
            found.api.close()


@atexit.register
def _close_all() -> None:
    for pid, settings in list(_drivers):
        if pid == os.getpid():
            with suppress(ClusterError):
                close(settings)


def _open(settings: LiveSettings) -> _Opened:
    api = permitted(settings.context)
    try:
        return _Opened(api, _made(api, settings))
    except BaseException:
        api.close()
        raise


def _made(api: Api, settings: LiveSettings) -> ClusterDriver:
    if settings.driver == "simkube":
        from simgit.kube.live.simulation import SimkubeDriver

        return SimkubeDriver(api, settings, leftovers=_leftovers)
    from simgit.kube.live.replay import ReplayDriver

    return ReplayDriver(api, settings, leftovers=_leftovers)
