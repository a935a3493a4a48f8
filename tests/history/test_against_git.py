"""Random histories, made in git and in simgit, look alike: logs, merge bases, ~ and ^."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from simgit import NotFound, Oid, Repository

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

Graph = list[list[int]]
"""For each commit its parents, which come before it."""


def random_graph(rng: random.Random) -> Graph:
    """Return a history of one of several shapes: bushy, with long lines, with criss-crosses."""
    count = rng.randint(2, 30)
    graph: Graph = [[]]
    recent = rng.choice([1, 2, 4, 30])
    for i in range(1, count):
        if rng.random() < 0.05:
            graph.append([])
            continue
        parents = [rng.randrange(max(0, i - recent), i)]
        while rng.random() < rng.choice([0.1, 0.4]) and len(parents) < 4:
            other = rng.randrange(max(0, i - 2 * recent), i)
            if other not in parents:
                parents.append(other)
            else:
                break
        graph.append(parents)
    return graph


class Git:
    """A bare git repository with a branch ``n<i>`` for each commit of a graph."""

    def __init__(self, path: Path, graph: Graph) -> None:
        self.path = path
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
        }  # fmt: skip
        self.run("init", "-q", "--bare", str(path), at=False)
        stream = "".join(self._commit(i, parents) for i, parents in enumerate(graph))
        self.run("fast-import", "--quiet", stdin=stream)
        listed = self.run("log", "--all", "--format=%H %s").splitlines()
        self.number = {line.split()[0]: int(line.split()[1]) for line in listed}

    def _commit(self, i: int, parents: list[int]) -> str:
        lines = [f"commit refs/heads/n{i}", f"mark :{i + 1}"]
        lines += [f"committer a <a@b> {1_000_000_000 + i} +0000", f"data {len(str(i))}", str(i)]
        words = ["from", *["merge"] * 9]
        return "\n".join(
            [*lines, *(f"{w} :{p + 1}" for w, p in zip(words, parents, strict=False)), "", ""]
        )

    def run(self, *arguments: str, stdin: str = "", at: bool = True) -> str:
        """Return what git prints; an exit status of 1 is an answer too."""
        where = ["-C", str(self.path)] if at else []
        done = subprocess.run(
            ["git", *where, *arguments], input=stdin, text=True, capture_output=True,
            env=self.environment, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    def commits(self, *arguments: str) -> list[int]:
        """Return the numbers of the commits that git prints."""
        return [self.number[line] for line in self.run(*arguments).split()]

    def resolve(self, revisions: list[str]) -> list[int | None]:
        """Return the commit that each revision names, None for those that name none."""
        answers = self.run("cat-file", "--batch-check", stdin="\n".join(revisions) + "\n")
        first = [line.split()[0] for line in answers.splitlines()]
        return [self.number.get(each) for each in first]


def make_states(graph: Graph) -> tuple[Repository, list[Oid]]:
    """Return a repository with a run ``n<i>`` for each state of a graph."""
    repo = Repository.init(":memory:")
    oids: list[Oid] = []
    for i, parents in enumerate(graph):
        oids.append(repo.commit(action=i, run=f"n{i}", parents=[oids[p] for p in parents]))
    return repo, oids


def is_topological(graph: Graph, listed: list[int]) -> bool:
    place = {number: at for at, number in enumerate(listed)}
    return all(
        place[parent] > place[child]
        for child in listed
        for parent in graph[child]
        if parent in place
    )


@pytest.fixture(params=range(12))
def both(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[random.Random, Graph, Git, Repository, list[Oid]]:
    rng = random.Random(request.param)
    graph = random_graph(rng)
    repo, oids = make_states(graph)
    return rng, graph, Git(tmp_path / "git", graph), repo, oids


Both = tuple[random.Random, Graph, Git, Repository, list[Oid]]


@pytest.mark.slow
def test_logs_list_the_same_in_an_order_that_git_allows(both: Both) -> None:
    rng, graph, git, repo, _ = both
    for _ in range(4):
        a, b, c = (f"n{rng.randrange(len(graph))}" for _ in range(3))
        for wanted in (
            [a],
            [f"{a}..{b}"],
            [f"{a}...{b}"],
            [a, b],
            [a, b, f"^{c}"],
            [f"{a}..{b}", c],
        ):
            listed = [line.action for line in repo.log(*wanted)]
            expected = git.commits("rev-list", *wanted)
            assert sorted(listed) == sorted(expected), (graph, wanted)
            assert is_topological(graph, listed), (graph, wanted, listed)
            assert [line.action for line in repo.log(*wanted, reverse=True)] == listed[::-1]
            assert [line.action for line in repo.log(*wanted, limit=3)] == listed[:3]
    everything = [line.action for line in repo.log(every=True)]
    assert sorted(everything) == list(range(len(graph)))
    assert is_topological(graph, everything)


def test_merge_bases_are_the_same(both: Both) -> None:
    rng, graph, git, repo, oids = both
    for _ in range(12):
        a, b = (rng.randrange(len(graph)) for _ in range(2))
        found = {oids.index(oid) for oid in repo.merge_bases(f"n{a}", f"n{b}")}
        assert found == set(git.commits("merge-base", "--all", f"n{a}", f"n{b}")), (graph, a, b)


def test_ancestors_are_named_in_the_same_way(both: Both) -> None:
    rng, graph, git, repo, oids = both
    revisions = []
    for _ in range(80):
        pieces = [rng.choice(["~", "^", "~0", "~1", "~2", "~3", "^0", "^1", "^2", "^3"])
                  for _ in range(rng.randint(1, 4))]  # fmt: skip
        revisions.append(f"n{rng.randrange(len(graph))}{''.join(pieces)}")
    for revision, expected in zip(revisions, git.resolve(revisions), strict=True):
        try:
            found: int | None = oids.index(repo.resolve(revision))
        except NotFound:
            found = None
        assert found == expected, (graph, revision)


def test_the_runs_that_contain_a_state_are_the_same(both: Both) -> None:
    rng, graph, git, repo, _ = both
    for _ in range(3):
        name = f"n{rng.randrange(len(graph))}"
        listed = git.run("branch", "--contains", name, "--format=%(refname:short)").split()
        assert sorted(repo.contains(name)) == sorted(listed)


def test_parents_and_children_are_the_same(both: Both) -> None:
    _, graph, _, repo, oids = both
    for i, parents in enumerate(graph):
        assert [oids.index(state.oid) for state in repo.parents(f"n{i}")] == parents
        children = {oids.index(state.oid) for state in repo.children(f"n{i}")}
        assert children == {child for child, above in enumerate(graph) if i in above}
    leaves = {oids.index(state.oid) for state in repo.leaves()}
    assert leaves == set(range(len(graph))) - {p for parents in graph for p in parents}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_merge_bases_of_all_pairs_are_the_same(seed: int, tmp_path: Path) -> None:
    graph = random_graph(random.Random(seed))
    repo, oids = make_states(graph)
    ancestors: list[set[int]] = []
    for i, parents in enumerate(graph):
        ancestors.append({i}.union(*(ancestors[p] for p in parents)))
    for a in range(len(graph)):
        for b in range(len(graph)):
            common = ancestors[a] & ancestors[b]
            best = {x for x in common if not any(x in ancestors[y] and x != y for y in common)}
            found = {oids.index(oid) for oid in repo.merge_bases(f"n{a}", f"n{b}")}
            assert found == best, (graph, a, b)
