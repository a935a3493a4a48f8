"""Tests on a real control plane, or on a user's own cluster.

SIMGIT_TEST_CONTROL_PLANE names a folder of binaries (``build_control_plane.sh`` makes one);
SIMGIT_TEST_KUBECONFIG a cluster that may be written to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kube.live.control_plane import ControlPlane, binaries

WANTED = (
    "no control plane: set SIMGIT_TEST_CONTROL_PLANE (see tests/kube/live/build_control_plane.sh)"
)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of our own, which ends with the session; its nodes are made by tests."""
    folder = binaries()
    if folder is None:
        pytest.skip(WANTED)
    plane = ControlPlane(folder, tmp_path_factory.mktemp("control-plane"))
    yield plane
    plane.stop()


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest) -> Path:
    """The kubeconfig of a real cluster: the user's, else of a control plane of our own."""
    given = os.environ.get("SIMGIT_TEST_KUBECONFIG")
    if given:
        return Path(given)
    if binaries() is None:
        pytest.skip(f"{WANTED} or SIMGIT_TEST_KUBECONFIG")
    plane: ControlPlane = request.getfixturevalue("control_plane")
    return plane.kubeconfig
