"""A cluster as an image: bins as full as nodes are, and what waits beside them."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import simgit  # noqa: F401  # its environments are known once it is imported
from simgit.errors import ClusterError
from simgit.gym.envs.cluster_rendering import cluster_image
from simgit.kube.embedded import virtual_nodes
from simgit.kube.simulation import simulate
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.edit import set_requests, workload
from simgit.plot.bins import NodeBox, PodBox, node_bins
from simgit.plot.letters import text_mask, text_width

READY, STARTING, WAITING, TOO_MUCH = (0, 114, 178), (86, 180, 233), (230, 159, 0), (213, 94, 0)


def area(image: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((image == color).all(axis=2).sum())


def test_a_bin_is_as_full_as_the_node() -> None:
    half = node_bins([NodeBox("n", [PodBox(0.5, 0.5, True)])], [])
    full = node_bins([NodeBox("n", [PodBox(1.0, 1.0, True)])], [])
    assert area(full, READY) / area(half, READY) == pytest.approx(2, rel=0.03)
    assert area(full, STARTING) == area(full, WAITING) == 0
    starting = node_bins([NodeBox("n", [PodBox(1.0, 1.0)])], [])
    assert area(starting, STARTING) == area(full, READY)


def test_what_a_waiting_pod_asks_beyond_a_node_is_red() -> None:
    fits = node_bins([NodeBox("n", [])], [PodBox(0.5, 1.0)])
    assert area(fits, WAITING) > 0 and area(fits, TOO_MUCH) == 0
    assert area(node_bins([NodeBox("n", [])], [PodBox(1.1, 1.0)]), TOO_MUCH) > 0


@pytest.mark.parametrize("count", [1, 3, 40, 200])
def test_the_size_depends_on_the_nodes_alone_and_fits_every_codec(count: int) -> None:
    nodes = [NodeBox(f"node{i}", [PodBox(3.0, 3.0, True)] * (i % 4)) for i in range(count)]
    busy = node_bins(nodes, [PodBox(9.0, 0.0)] * 50, "a title that is far too long for it " * 20)
    bare = node_bins([NodeBox("n", [])] * count, [])
    assert busy.shape == bare.shape and busy.dtype == np.uint8
    assert all(side % 2 == 0 for side in busy.shape[:2])


def test_letters_have_the_width_that_is_told() -> None:
    assert text_mask("CPU 3").shape == (10, text_width("CPU 3"))
    assert text_mask("cpu").any() and np.array_equal(text_mask("cpu"), text_mask("CPU"))
    assert not text_mask(" \u2713").any() and text_mask("").shape == (10, 0)


def test_a_cluster_shows_its_pods_where_they_are() -> None:
    trace = set_requests(generate("cpu-slight").trace, workload("web"), cpu="16", memory="32Gi")
    image = cluster_image(simulate(trace, nodes=virtual_nodes(2)), "web")
    one = cluster_image(simulate(trace, nodes=virtual_nodes(4)), "web")
    assert 3 * area(image, READY) == 2 * area(one, READY)
    assert area(image, WAITING) > 0 and area(one, WAITING) == 0


def test_the_environment_renders_images_of_one_size() -> None:
    env = gymnasium.make("simgit:simgit/SimKube-v0", trace="cpu-slight", render_mode="rgb_array")
    env.reset(seed=1)
    before = env.render()
    assert isinstance(before, np.ndarray) and area(before, TOO_MUCH) > 0
    env.step(4)
    env.step(4)
    after = env.render()
    assert isinstance(after, np.ndarray) and after.shape == before.shape
    assert area(after, READY) > 0 == area(after, WAITING)
    env.close()


def test_a_cluster_that_was_not_seen_is_said_to_be_so() -> None:
    faults = {"api_errors": 1.0}
    env = gymnasium.make(
        "simgit:simgit/SimKube-v0", render_mode="rgb_array", faults=faults
    ).unwrapped
    with pytest.raises(ClusterError, match="no observation"):
        env.reset(seed=1)
    unseen = env.render()
    assert isinstance(unseen, np.ndarray) and area(unseen, READY) == area(unseen, WAITING) == 0
    assert unseen[:20].min() < 100, "the title says it"
