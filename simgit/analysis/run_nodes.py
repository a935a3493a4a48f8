"""The tree of a repository's runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simgit.errors import IntegrityError
from simgit.objects.oid import Oid
from simgit.refs.runs import RunInfo
from simgit.repository import Repository


@dataclass(frozen=True)
class RunNode:
    """A run in the tree of runs: ``depth`` below its root, branched at ``start`` (0 for a root)."""

    info: RunInfo
    depth: int
    start: int
    last: tuple[bool, ...]
    """For each level above and its own, True if it is the last child."""
    parent: str | None = None
    """The parent run."""


def _starts(repo: Repository, infos: Mapping[str, RunInfo]) -> dict[str, int]:
    """Return the step of each run's branch point, 0 without one."""
    starts: dict[Oid | None, int] = {info.oid: info.step or 0 for info in infos.values()}
    starts[None] = 0
    with repo.odb.read() as txn:
        for point in {info.branch_point for info in infos.values()} - starts.keys():
            assert point is not None
            starts[point] = repo.odb.locate(txn, point).step
    return {name: starts[info.branch_point] for name, info in infos.items()}


def tree(repo: Repository) -> list[RunNode]:
    """Return the runs, each followed by those branched off it, by step and name.

    A run branched off a state by oid is below the run that recorded the state.
    """
    infos = dict(repo.runs.items())
    starts = _starts(repo, infos)
    owners = {
        point: _owner(repo, infos, starts, point)
        for point in {info.branch_point for info in infos.values() if info.parent is None}
        if point is not None
    }

    def above(name: str) -> str | None:
        info = infos[name]
        if info.parent is None and info.branch_point is not None:
            return owners[info.branch_point]
        return info.parent if info.parent in infos else None

    children: dict[str | None, list[str]] = {}
    for name in sorted(infos, key=lambda name: (starts[name], name)):
        children.setdefault(above(name), []).append(name)
    nodes: list[RunNode] = []

    ahead: list[tuple[str, tuple[bool, ...]]] = [(r, ()) for r in reversed(children.get(None, []))]
    while ahead:
        name, last = ahead.pop()
        nodes.append(RunNode(infos[name], len(last), starts[name], last, above(name)))
        below = children.get(name, [])
        ahead += [(child, (*last, child == below[-1])) for child in reversed(below)]
    if len(nodes) < len(infos):
        left_out = min(infos.keys() - {node.info.name for node in nodes})
        raise IntegrityError(f"run '{left_out}' is its own ancestor; see 'simgit fsck'")
    return nodes


def _owner(
    repo: Repository, infos: Mapping[str, RunInfo], starts: Mapping[str, int], point: Oid
) -> str | None:
    """Return the first run that recorded a state itself."""
    step = repo.state(point).step
    found = [
        infos[name] for name in repo.contains(point)
        if infos[name].branch_point is None or starts[name] < step
    ]  # fmt: skip
    return min(found, key=lambda info: info.created).name if found else None
