"""Processes that end at a fail point, or are killed at any time, and what they leave behind."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import simgit
from simgit import Repository
from simgit.storage.failpoints import set_hook
from simgit.testing.failpoints import Fault, arm, points

from .processes import Child, Say, in_child, start
from .workload import Held, Workload, check, held

COMMANDS: Final = 12
"""So many commands a session has."""
SEEDS: Final = 40
"""Sessions beyond these repeat their commands, with other faults."""
ACTIONS: Final = ("exit", "kill", "raise", "delay")
WRITERS: Final = 4
MEAN: Final = 0.015
"""Seconds after which a writer is killed, on average: before a fast machine has done it all."""
POINTS: Final = points(Path(simgit.__file__).parent)


@dataclass
class Reference:
    """What happens without faults.

    Attributes:
        contents: for each command what the repository holds after each of its transactions; those
            of number 0 are of the empty repository.
        passed: for each command how many fail points it passes.
    """

    contents: list[list[Held]] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)

    def expected(self, started: int) -> list[Held]:
        """Return what there may be once a command has begun and its end is not known."""
        return [self.contents[started][-1], *self.contents[started + 1]]


@dataclass
class Tally:
    """What a sweep has done and found; ``trace`` tells what led there, process by process."""

    kills: int = 0
    points: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add what another part of the sweep has done."""
        self.kills += other.kills
        self.points += other.points
        self.failures += other.failures

    def fail(self, what: str) -> None:
        """Note something wrong, with all that led there."""
        self.failures.append("\n".join([*self.trace, what]))


@contextmanager
def place(directory: Path) -> Iterator[Path]:
    """Yield an empty directory, removed afterwards."""
    with TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as found:
        yield Path(found)


@cache
def reference(workload_seed: int, directory: Path, prefix: str = "", gc: bool = True) -> Reference:
    """Run a workload undisturbed; return what it does."""
    status, found = in_child(lambda: _undisturbed(workload_seed, directory, prefix, gc))
    assert status == 0, found
    result: Reference = found
    return result


def _undisturbed(seed: int, directory: Path, prefix: str, gc: bool) -> Reference:
    work, result = Workload(seed, directory, prefix, gc), Reference()
    work.prepare()
    with place(directory) as path, Repository.init(path) as repo:
        result.contents.append([held(repo, prefix)])
        for i in range(COMMANDS):
            contents: list[Held] = []
            passed: list[str] = []

            def hook(
                point: str, passed: list[str] = passed, contents: list[Held] = contents
            ) -> None:
                passed.append(point)
                if point == "commit.after":
                    contents.append(held(repo, prefix))

            set_hook(hook)
            work.command(i)[1](repo)
            set_hook(None)
            result.contents.append([*contents, held(repo, prefix)])
            result.passed.append(len(passed))
    return result


def _perform(path: Path, work: Workload, first: int, fault: Fault | None, say: Say) -> None:
    """Do the commands from one on; say how many are done, and which point the fault hit."""
    with Repository.open(path) as repo:
        if fault is not None:
            arm(_Told(fault, say))
        for i in range(first, COMMANDS):
            work.command(i)[1](repo)
            say(i + 1)


class _Told(Fault):
    """A fault that says where it strikes before it does."""

    def __init__(self, fault: Fault, say: Say) -> None:
        super().__init__(fault.point, fault.action, fault.left)
        self.say = say

    def passed(self, name: str) -> None:
        """Say the point's name first, if it is the last that is passed."""
        if self.left == 1:
            self.say(name)
        super().passed(name)


def _acknowledged(child: Child, first: int) -> int:
    return max([first, *(said for said in child.said if isinstance(said, int))])


def next_wait(wait: float, went_on: bool) -> float:
    """Return how long to wait on average before the next kill: longer, where nothing gets done."""
    return MEAN if went_on else 2 * wait


def session(seed: int, directory: Path, at_random_times: bool = False) -> Tally:
    """Let one writer be cut off again and again until it has done its commands."""
    rng, tally, done = random.Random(seed), Tally(), 0
    tally.trace.append(f"session({seed}, directory, {at_random_times})")
    known = reference(seed % SEEDS, directory)
    work = Workload(seed % SEEDS, directory)
    with place(directory) as path:
        Repository.init(path).close()
        wait = MEAN
        while done < COMMANDS and not tally.failures:
            fault, before = None, done
            if not at_random_times:
                fault = Fault(
                    "*", rng.choice(ACTIONS), rng.randint(1, 1 + sum(known.passed[done : done + 3]))
                )
            tally.trace.append(f"  command {done}, {work.command(done)[0]}: {fault or 'kill'}")
            child = start(lambda say, fault=fault, at=done: _perform(path, work, at, fault, say))
            if at_random_times:
                time.sleep(rng.expovariate(1 / wait))
                child.kill()
            child.wait()
            tally.trace.append(f"  exit {child.status}; it said {child.said}")
            tally.kills += child.status != 0
            tally.points.update(said for said in child.said if said in POINTS)
            done = _acknowledged(child, done)
            if done < COMMANDS:
                done = _judge(path, known, done, tally)
            wait = next_wait(wait, done > before)
        shutil.rmtree(path / ".simgit", ignore_errors=True)
    return tally


def _judge(path: Path, known: Reference, done: int, tally: Tally) -> int:
    """Check what a writer has left; return how many commands are done."""
    expected = known.expected(done)
    status, found = in_child(lambda: check(path, expected))
    if status != 0:
        tally.fail(str(found))
        return COMMANDS
    return done + (found == expected[-1])


def many(seed: int, directory: Path) -> Tally:
    """Let several writers be killed at random times, each with runs of its own."""
    rng, tally = random.Random(seed), Tally()
    tally.trace.append(f"many({seed}, directory)")
    prefixes = [f"w{n}-" for n in range(WRITERS)]
    known = {p: reference(seed % 8, directory, p, False) for p in prefixes}
    done = dict.fromkeys(prefixes, 0)
    with place(directory) as path:
        Repository.init(path).close()
        wait = MEAN
        while any(count < COMMANDS for count in done.values()) and not tally.failures:
            before = dict(done)
            children = {p: _writer(path, seed % 8, directory, p, done[p]) for p in prefixes}
            for prefix in rng.sample(prefixes, WRITERS):
                time.sleep(rng.expovariate(1 / wait))
                children[prefix].kill()
            for prefix, child in children.items():
                tally.kills += child.wait() != 0
                tally.trace.append(
                    f"  {prefix} from command {done[prefix]}: exit {child.status}; it said {child.said}"
                )
                done[prefix] = _acknowledged(child, done[prefix])
            for prefix in prefixes:
                if done[prefix] < COMMANDS:
                    done[prefix] = _judge_one(path, known, done, prefix, tally)
            wait = next_wait(wait, done != before)
    return tally


def _writer(path: Path, seed: int, directory: Path, prefix: str, first: int) -> Child:
    work = Workload(seed, directory, prefix, False)
    return start(lambda say: _perform(path, work, first, None, say))


def _judge_one(
    path: Path, known: dict[str, Reference], done: dict[str, int], prefix: str, tally: Tally
) -> int:
    expected = known[prefix].expected(done[prefix])
    status, found = in_child(lambda: check(path, expected, prefix))
    if status != 0:
        tally.fail(f"{prefix} after {done}: {found}")
        return COMMANDS
    return done[prefix] + (found == expected[-1])
