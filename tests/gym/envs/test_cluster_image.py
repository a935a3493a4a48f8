"""A cluster as an image: bins as full as nodes are, and what waits beside them."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest

import simgit  # noqa: F401  # its environments are known once it is imported
from simgit.errors import ClusterError, SimgitWarning
from simgit.gym.envs.cluster_rendering import cluster_image, cluster_text
from simgit.gym.envs.simkube import SimKubeEnv
from simgit.kube.embedded import virtual_nodes
from simgit.kube.simulation import simulate
from simgit.kube.task.cluster_setup import cluster_setup
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.edit import set_requests, workload
from simgit.kube.trace.model import Event, Trace
from simgit.plot.bins import NodeBox, PodBox, node_bins
from simgit.plot.letters import text_mask, text_width

EMPTY = (235, 235, 235)
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


def test_images_keep_their_size_whichever_nodes_are_there() -> None:
    """A replay of the short trace ends before the node joins, one of the long trace after it."""
    long = generate("replicas-over").trace
    short = Trace((long.events[0], Event(5)), long.config)
    events = [{"at": 10, "join": {"name": "c"}}, {"at": 20, "leave": "node1"}]
    for faults in ({}, {"timeouts": 1.0}):
        shapes, drawn = set(), []
        for trace in (short, long):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SimgitWarning)  # of events after the end
                env = SimKubeEnv(
                    trace,
                    nodes={"nodes": 2, "events": events},
                    render_mode="rgb_array",
                    faults=faults,
                )
            if not faults:
                env.reset(seed=1)
            image = env.render()
            assert isinstance(image, np.ndarray)
            shapes.add(image.shape)
            drawn.append(area(image, EMPTY))
        assert len(shapes) == 1
        assert faults or min(drawn) > 0


def test_a_cluster_whose_nodes_all_left_is_drawn_without_them() -> None:
    setting = {"nodes": [{"name": "a"}], "events": [{"at": 10, "leave": "a"}]}
    setup = cluster_setup(setting)
    cluster = setup.replay(generate("replicas-over").trace, 0, 0)
    image = cluster_image(cluster, "empty", setup.node_names)
    assert area(image, EMPTY) == 0 and area(image, WAITING) > 0
    assert cluster_text(cluster).startswith("pending: web-1-5 ")


def test_text_shows_which_nodes_are_cordoned() -> None:
    setting = {"nodes": 2, "events": [{"at": 10, "cordon": "node1"}]}
    lines = cluster_text(cluster_setup(setting).replay(generate("cpu-slight").trace, 0, 0)).split(
        "\n"
    )
    assert [" cordoned" in line for line in lines[:2]] == [True, False]
