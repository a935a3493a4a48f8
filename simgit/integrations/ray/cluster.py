"""The connection to a Ray cluster, and its errors in one line."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
import ray.exceptions
from ray.util.placement_group import placement_group, remove_placement_group

from simgit.errors import ClusterError, InvalidInput, SimgitError, shown

WAIT_SECONDS = 30.0
"""The seconds without a free CPU after which waiting ends with an error."""


def connect(address: str | None = None) -> bool:
    """Connect to a cluster, unless this process is connected; return True if that was done here.

    Without an address it is that of the environment variable ``RAY_ADDRESS``, or a cluster on this
    machine that ends with this process.

    Raises:
        ClusterError: the cluster cannot be reached.
    """
    if ray.is_initialized():
        return False
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        where = f"the Ray cluster at '{address}'" if address else "a Ray cluster"
        raise ClusterError(f"cannot connect to {where}: {_line(error)}") from error
    finally:  # that of the program is not Ray's to replace
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)
    return True


def get(ref: Any) -> Any:
    """Return the value of an object; an error of simgit's in a task or actor is raised as it is."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise own_error(error) from None


def own_error(error: BaseException) -> BaseException:
    """Return the error of simgit's that a task or actor raised, or the given one."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, SimgitError) else error


@contextmanager
def reserved(num_cpus: float, count: int) -> Iterator[Any]:
    """Reserve CPUs for some tasks or actors; yield the placement group, and give it back.

    Raises:
        ClusterError: so many are not free for 30 seconds.
    """
    group = placement_group([{"CPU": num_cpus}] * count)
    try:
        if not group.wait(WAIT_SECONDS):
            total, free = (
                found.get("CPU", 0.0)
                for found in (ray.cluster_resources(), ray.available_resources())
            )
            raise ClusterError(
                f"no free CPU for {WAIT_SECONDS:g} s: {num_cpus * count:g} needed, the Ray cluster "
                f"has {total:g}, of which {free:g} free; tasks and actors that only wait hold "
                "theirs too, see 'ray status'"
            )
        yield group
    finally:
        with suppress(ray.exceptions.RayError):
            remove_placement_group(group)


def check_sendable(value: Any, name: str) -> None:
    """Check that a value can be sent to other processes.

    Raises:
        InvalidInput: it cannot.
    """
    try:
        ray.cloudpickle.dumps(value)
    except Exception as error:  # whatever the value's class raises
        raise InvalidInput(
            f"the {name} cannot be sent to other processes: {_line(error)}", path=name
        ) from None


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return shown(lines[0]) if lines else type(error).__name__
