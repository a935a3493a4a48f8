"""Analysis of recorded runs and clusters: numbers, statistics, and their pictures.

``simgit.plot`` draws plain data; this package gets them from repositories and clusters.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simgit.analysis.action_values import Thoughts, draw_policy, draw_values, policy, thoughts
    from simgit.analysis.cluster import ClusterSample, loop_usage, sample, trace_usage, usage
    from simgit.analysis.loop import episode_title, one_episode, pod_history_of, pod_steps, pods
    from simgit.analysis.run_nodes import RunNode, tree
    from simgit.analysis.runs import (
        MEASURES,
        Episodes,
        by_seed,
        curves,
        draw_tree,
        learning_curves,
        series_curves,
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

_MODULES = {
    **dict.fromkeys(
        ("Thoughts", "draw_policy", "draw_values", "policy", "thoughts"), "action_values"
    ),
    **dict.fromkeys(("ClusterSample", "loop_usage", "sample", "trace_usage", "usage"), "cluster"),
    **dict.fromkeys(
        ("episode_title", "one_episode", "pod_history_of", "pod_steps", "pods"), "loop"
    ),
    **dict.fromkeys(
        (
            "MEASURES",
            "Episodes",
            "by_seed",
            "curves",
            "draw_tree",
            "learning_curves",
            "series_curves",
        ),
        "runs",
    ),
    **dict.fromkeys(("RunNode", "tree"), "run_nodes"),
    **dict.fromkeys(("Estimate", "band"), "statistics"),
}


def __getattr__(name: str) -> Any:
    # imported when it is first used: the tree of runs needs no cluster
    if name not in _MODULES:
        raise AttributeError(f"module 'simgit.analysis' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(f"simgit.analysis.{_MODULES[name]}"), name)
    return value
