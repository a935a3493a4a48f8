"""The contract of a cluster, for the replayer on the loopback API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simgit.kube.cluster import KubeCluster
from simgit.kube.trace.model import Trace
from simgit.testing.cluster_contract import ClusterContract
from tests.kube.live.loopback import SIMULATION, WEB, loopback, replayer


@pytest.mark.slow
class TestReplayer(ClusterContract):
    settle = 0.15

    @pytest.fixture
    def cluster(self, tmp_path: Path) -> Iterator[KubeCluster]:
        with (
            loopback(tmp_path) as (_, api),
            replayer(api) as driver,
            driver.replay(Trace(), SIMULATION, WEB, label="contract") as cluster,
        ):
            yield cluster
