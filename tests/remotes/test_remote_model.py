"""Three repositories, one remote, and gc: whatever is killed, each ref can be fetched whole."""

from __future__ import annotations

import inspect
import itertools
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from simgit import Oid, Repository
from simgit.errors import Conflict, NotFound, StorageError
from simgit.objects.kinds import Binding
from simgit.odb import ancestry
from simgit.remotes import joining, layout, packs, tombs
from simgit.remotes.checking import check
from simgit.remotes.transport.base import Transport
from tests.remotes.remote_support import (
    DAY,
    Clock,
    ClockedMemory,
    Killed,
    Watched,
    check_whole,
    close,
    fetch,
    gc,
    killed_at,
    opened,
    push,
)

_numbers = itertools.count()
REPOS = st.integers(0, 2)
RUNS = st.sampled_from(["main", "main", "a"])
KILLS = st.one_of(*[st.none()] * 3, st.integers(0, 40))
"""The request that is not made any more; none is killed most of the time."""


class Remote(RuleBasedStateMachine):
    """The model has no copy of what should be there: each ref must be whole, and its own state."""

    @initialize(cut=st.sampled_from([1500, 6000, 20_000]))
    def begin(self, cut: int) -> None:
        packs.CUT = cut  # the test puts it back
        self.clock = Clock()
        self.storage = ClockedMemory(f"model-{next(_numbers)}", self.clock)
        self.repos = [Repository.init(":memory:") for _ in range(3)]
        self.count = 0
        self.go_on(0, "main", 4)
        self.fetch(1, None)
        self.fetch(2, None)

    def teardown(self) -> None:
        for repo in getattr(self, "repos", ()):
            repo.close()

    # --- what is done in a repository ---

    @rule(repo=REPOS, run=RUNS, states=st.integers(1, 60))
    def commit(self, repo: int, run: str, states: int) -> None:
        for _ in range(states):
            self.count += 1
            self.repos[repo].commit({"y": self.count}, 0, 1.0, run=run)

    @rule(repo=REPOS, run=RUNS, at=st.integers(0, 50), size=st.sampled_from([10, 4000]))
    def attach(self, repo: int, run: str, at: int, size: int) -> None:
        found = self.repos[repo].runs
        if run in found and found[run].step is not None:
            self.count += 1
            step = min(at, found[run].step or 0)
            data = self.count.to_bytes(4, "big") * (size // 4)
            self.repos[repo].attach(f"{run}@{step}", f"note{self.count % 3}", data)

    @rule(repo=REPOS, source=RUNS, back=st.integers(0, 20), run=RUNS)
    def branch(self, repo: int, source: str, back: int, run: str) -> None:
        here = self.repos[repo]
        for start in (f"origin/{source}", source):
            if run not in here.runs:
                try:
                    here.branch(run, f"{start}~{back}")
                except NotFound:
                    continue

    @rule(repo=REPOS, run=RUNS)
    def remove(self, repo: int, run: str) -> None:
        if run in self.repos[repo].runs:
            self.repos[repo].delete_run(run, force=True)

    @rule(repo=REPOS, run=RUNS)
    def tag(self, repo: int, run: str) -> None:
        found = self.repos[repo].runs
        if run in found and found[run].oid is not None:
            self.count += 1
            self.repos[repo].tag(f"t{self.count}", run, message="a note" * (self.count % 2))

    @rule(repo=REPOS)
    def local_gc(self, repo: int) -> None:
        self.repos[repo].gc()

    @rule(repo=REPOS, run=RUNS, states=st.integers(1, 30))
    def go_on(self, repo: int, run: str, states: int) -> None:
        """Record and push, over and over: so packs become many."""
        for _ in range(3):
            self.commit(repo, run, states)
            self._push(repo, None, [f"runs/{run}"])

    @rule(repo=REPOS, run=RUNS, back=st.integers(1, 9), kill=KILLS)
    def rewind(self, repo: int, run: str, back: int, kill: int | None) -> None:
        """Take back states, record others, and push them over those of the remote."""
        here = self.repos[repo]
        self.fetch(repo, None)
        try:
            here.branch("new", f"origin/{run}~{back}")
        except NotFound:
            return
        if run in here.runs:
            here.delete_run(run, force=True)
        here.rename_run("new", run)
        self.commit(repo, run, 2)
        self._push(repo, kill, [f"runs/{run}"], force=True)

    # --- what is done at the remote ---

    def _may_be_killed(self, kill: int | None, work: Callable[[Transport], Any]) -> Any:
        storage = self.storage if kill is None else killed_at(self.storage, kill)
        try:
            return work(storage)
        except (Killed, Conflict, NotFound, StorageError):
            return None

    def _push(self, repo: int, kill: int | None, names: list[str] | None, **options: bool) -> None:
        here = self.repos[repo]
        done = self._may_be_killed(
            kill, lambda t: push(here, t, names, clock=self.clock, **options)
        )
        for each in done.refs.values() if done else ():
            if each.what in ("new", "forward", "updated", "forced", "aside"):
                with Repository.init(":memory:") as other:
                    fetch(other, self.storage, [each.name])
                    assert attached(here, each.new) <= attached(other, each.new)

    @rule(repo=REPOS, run=RUNS, how=st.sampled_from(["", "force", "aside"]), kill=KILLS)
    def push(self, repo: int, run: str, how: str, kill: int | None) -> None:
        self._push(repo, kill, [f"runs/{run}"], force=how == "force", aside=how == "aside")

    @rule(repo=REPOS, kill=KILLS)
    def push_all(self, repo: int, kill: int | None) -> None:
        self._push(repo, kill, None, aside=True)

    @rule(repo=REPOS, run=RUNS, kill=KILLS)
    def delete(self, repo: int, run: str, kill: int | None) -> None:
        here = self.repos[repo]
        gone = [f"runs/{run}"]
        self._may_be_killed(kill, lambda t: push(here, t, [], gone, clock=self.clock))

    @rule(repo=REPOS, kill=KILLS)
    def fetch(self, repo: int, kill: int | None) -> None:
        self._may_be_killed(kill, lambda t: fetch(self.repos[repo], t))

    @rule(kill=KILLS, join=st.booleans())
    def collect(self, kill: int | None, join: bool) -> None:
        self._may_be_killed(kill, lambda t: gc(t, self.clock, join=join, grace_days=1.0))

    @rule(kill=KILLS, repo=REPOS)
    def live_long(self, kill: int | None, repo: int) -> None:
        """Let gc run often enough for all of its phases; a push begins meanwhile and is killed."""
        for _ in range(5):
            self.collect(None, True)
            self.clock.sleep(1.1 * DAY)
            if kill is not None:
                self._push(repo, kill, None, aside=True)

    @rule(repo=REPOS, at=st.integers(0, 25), days=st.sampled_from([0.0, 1.1]), force=st.booleans())
    def meet(self, repo: int, at: int, days: float, force: bool) -> None:
        """Push, while gc runs before some request, perhaps so often that all its phases pass."""

        def hook(number: int, what: str, key: str) -> None:
            for _ in range(4 * (number == at)):
                self.clock.sleep(days * DAY)
                self.collect(None, True)

        names = [f"runs/{run}" for run in self.repos[repo].runs]
        with suppress(Conflict, NotFound, StorageError):
            push(
                self.repos[repo], Watched(self.storage, hook), names, clock=self.clock,
                force=force, aside=not force,
            )  # fmt: skip

    @rule(days=st.sampled_from([0.02, 0.5, 1.1]))
    def wait(self, days: float) -> None:
        self.clock.sleep(days * DAY)

    @invariant()
    def all_is_there(self) -> None:
        if not any(key == layout.REMOTE for key in self.storage.objects):
            return
        check_whole(self.storage)
        connection = opened(self.storage)
        try:
            assert check(connection).problems == []
        finally:
            close(connection)


def attached(repo: Repository, tip: Oid | None) -> set[tuple[bytes, bytes]]:
    """Return the states with what is attached to them, of those that lead to a state."""
    found = set()
    with repo.odb.read() as txn:
        reach = ancestry.reach(repo.odb, txn, [repo.odb.locate(txn, tip)] if tip else [])
        for _, oid in txn.scan("attachments"):
            binding = repo.odb.object(txn, Oid(oid))
            assert isinstance(binding, Binding)
            place = repo.odb.locate(txn, binding.state)
            if reach.get(place.line, -1) >= place.step:
                found.add((bytes(binding.state), bytes(binding.target)))
    return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be many packs and shards of few states."""
    monkeypatch.setattr(packs, "CUT", packs.CUT)
    monkeypatch.setattr(joining, "MANY", 2)
    monkeypatch.setattr(layout, "MAX_LISTED", 4)
    monkeypatch.setattr(layout, "FANOUT", 2)
    monkeypatch.setattr(tombs, "_PATIENCE", 0)


@pytest.mark.slow
def test_each_ref_is_whole_after_each_step(small: None) -> None:
    run_state_machine_as_test(
        Remote,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_each_ref_is_whole_on_random_walks(small: None, seed: int) -> None:
    """Hypothesis prefers short and similar stories; these are long, and use every rule."""
    draw = random.Random(seed)

    def value(name: str) -> Any:
        kill = None if draw.random() < 0.6 else draw.randrange(40)
        run = draw.choice(["main", "main", "a", "b"])
        size = draw.choice([10, 4000])
        days = draw.choice([0.02, 0.5, 1.1])
        return {
            "repo": draw.randrange(3), "run": run, "source": run, "kill": kill, "size": size,
            "states": draw.randint(1, 30), "back": draw.randint(0, 9), "at": draw.randrange(30),
            "how": draw.choice(["", "force", "aside"]), "join": draw.random() < 0.7, "days": days,
            "force": draw.random() < 0.4,
        }[name]  # fmt: skip

    machine = Remote()
    machine.begin(draw.choice([1500, 6000, 20_000]))
    rules = [each.function for each in machine.rules]
    assert len(rules) > 10
    for _ in range(40):
        chosen = draw.choice(rules)
        names = inspect.signature(chosen).parameters
        chosen(machine, **{name: value(name) for name in names if name != "self"})
        machine.all_is_there()
    machine.teardown()
