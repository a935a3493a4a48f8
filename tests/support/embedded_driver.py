"""A driver of live clusters that has the embedded one behind it, for tests of the interface."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from simgit.kube.cluster import KubeCluster, PodSelection
from simgit.kube.live.driver import LiveSettings
from simgit.kube.simulation import SimulationSpec, simulate
from simgit.kube.trace.model import Trace


class EmbeddedDriver:
    """Counts replays; each has another seed, and number n fails with ``errors[n]``."""

    def __init__(self, settings: LiveSettings) -> None:
        self.settings = settings
        self.replays = 0
        self.left = 0
        self.is_open = True
        self.errors: dict[int, BaseException] = {}
        self.always: BaseException | None = None

    @contextmanager
    def replay(
        self, trace: Trace, simulation: SimulationSpec, selection: PodSelection, *, label: str
    ) -> Iterator[KubeCluster]:
        assert self.is_open
        assert label
        number, self.replays = self.replays, self.replays + 1
        error = self.errors.get(number, self.always)
        if error is not None:
            raise error
        self.left += 1
        try:
            yield simulate(trace, simulation, seed=number)
        finally:
            self.left -= 1

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """Stand for the API's time limit, too."""
        assert seconds > 0
        return nullcontext()

    def facts(self) -> dict[str, Any]:
        return {"server": "v1.99.0", "nodes": 3}

    def close(self) -> None:
        self.is_open = False
