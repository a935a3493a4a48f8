"""A Ray cluster as an executor of ``concurrent.futures``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from typing import Any

import ray
import ray.exceptions

from simgit.errors import InvalidInput
from simgit.integrations.ray.cluster import connect, own_error, reserved


def _call(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    return function(*args, **kwargs)


class RayExecutor(Executor):
    """An executor whose calls are tasks of a Ray cluster.

    It connects to a cluster unless this process is connected, and in that case disconnects at the
    end. A task whose process dies is executed again.
    """

    def __init__(
        self, address: str | None = None, *, num_cpus: float = 1.0, max_retries: int = 3
    ) -> None:
        """Connect, and wait for a free CPU.

        Args:
            address: the address of the cluster, as ``ray.init`` takes it; None for that of
                ``RAY_ADDRESS``, or else a cluster on this machine.
            num_cpus: the CPUs of a task.
            max_retries: how often a task whose process died is executed again.

        Raises:
            ClusterError: the cluster cannot be reached, or has no free CPU for 30 seconds.
        """
        self._is_own = connect(address)
        self._is_over = False
        self._waiting: set[Future[Any]] = set()
        self._remote = ray.remote(_call).options(num_cpus=num_cpus, max_retries=max_retries)
        try:
            if num_cpus:
                with reserved(num_cpus, 1):
                    pass
        except BaseException:
            self.shutdown()
            raise
        total = ray.cluster_resources().get("CPU", 1.0)
        self._max_workers = max(1, int(total / num_cpus)) if num_cpus else int(total)

    dumps = staticmethod(ray.cloudpickle.dumps)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in a task; return its future.

        Raises:
            InvalidInput: the executor was shut down, or an argument cannot be sent.
        """
        if self._is_over:
            raise InvalidInput("the executor was shut down")
        try:
            ref = self._remote.remote(fn, args, kwargs)
        except TypeError as error:
            line = str(error).strip().partition("\n")[0]
            raise InvalidInput(f"cannot be sent to other processes: {line}") from None
        made: Future[Any] = Future()
        inner = ref.future()

        def done(_: Any) -> None:
            if not made.set_running_or_notify_cancel():
                return
            error = inner.exception()
            if error is None:
                made.set_result(inner.result())
            elif isinstance(error, ray.exceptions.RayTaskError):
                made.set_exception(own_error(error))
            else:  # a lost process, node or object
                made.set_exception(BrokenExecutor(str(error).partition("\n")[0]))

        def ended(future: Future[Any]) -> None:
            if future.cancelled():
                with suppress(ray.exceptions.RayError):
                    ray.cancel(ref)

        self._waiting.add(made)
        inner.add_done_callback(done)
        made.add_done_callback(ended)
        made.add_done_callback(self._waiting.discard)
        return made

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End; disconnect from the cluster if this object connected to it.

        Calls that this would end are cancelled where they are not waited for.
        """
        self._is_over = True
        if cancel_futures or (self._is_own and not wait):
            for each in list(self._waiting):
                each.cancel()
        if wait:
            wait_for(list(self._waiting))
        if self._is_own:
            self._is_own = False
            ray.shutdown()
