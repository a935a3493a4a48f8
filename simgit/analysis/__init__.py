"""Analysis of recorded runs and clusters: numbers, statistics, and their pictures.

``simgit.plot`` draws plain data; this package gets them from repositories and clusters.
"""

from simgit.analysis.action_values import Thoughts, draw_policy, draw_values, policy, thoughts
from simgit.analysis.cluster import ClusterSample, loop_usage, sample, trace_usage, usage
from simgit.analysis.loop import episode_title, one_episode, pod_history_of, pod_steps, pods
from simgit.analysis.runs import (
    MEASURES,
    Episodes,
    RunNode,
    by_seed,
    curves,
    draw_tree,
    learning_curves,
    series_curves,
    tree,
)
from simgit.analysis.statistics import Estimate, band

__all__ = [
    "MEASURES",
    "Episodes",
    "Estimate",
    "RunNode",
    "ClusterSample",
    "Thoughts",
    "band",
    "by_seed",
    "curves",
    "draw_policy",
    "draw_tree",
    "draw_values",
    "episode_title",
    "learning_curves",
    "loop_usage",
    "one_episode",
    "pod_history_of",
    "pod_steps",
    "pods",
    "policy",
    "sample",
    "series_curves",
    "thoughts",
    "trace_usage",
    "tree",
    "usage",
]
