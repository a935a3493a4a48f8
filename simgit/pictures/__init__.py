"""From what was recorded to pictures: which numbers, joined and grouped how.

``simgit.plot`` draws; here is where the numbers come from: runs of a repository, and clusters.
"""

from simgit.pictures.agent import Thoughts, draw_policy, draw_values, policy, thoughts
from simgit.pictures.cluster import Sample, loop_usage, sample, trace_usage, usage
from simgit.pictures.loop import episode_title, one_episode, pod_history_of, pod_steps, pods
from simgit.pictures.runs import (
    MEASURES,
    Episodes,
    Node,
    by_seed,
    curves,
    draw_tree,
    learning_curves,
    tree,
)

__all__ = [
    "MEASURES", "Episodes", "Node", "Sample", "Thoughts", "by_seed", "curves", "draw_policy",
    "draw_tree", "draw_values", "episode_title", "learning_curves", "loop_usage", "one_episode",
    "pod_history_of", "pod_steps", "pods", "policy", "sample", "thoughts", "trace_usage", "tree",
    "usage",
]  # fmt: skip
