"""Several processes record while one undoes: nobody loses what was recorded."""

from __future__ import annotations

import multiprocessing
import os
import random
from pathlib import Path

import numpy as np
import pytest

from simgit import Conflict, NotFound, Repository

SPAWN = multiprocessing.get_context("spawn")
WRITERS = 3
SESSIONS = 4
STATES = 60


def record(path: str, number: int) -> None:
    """Record sessions on a run of one's own, with attachments and commits between them."""
    name = f"writer{number}"
    with Repository.open(path) as repo:
        for session in range(SESSIONS):
            with repo.recorder(name, flush_every=10) as recorder:
                for i in range(STATES - 1):
                    recorder.append(np.float32([number, session, i]), i)
            oid = repo.commit({"session": session}, run=name)
            repo.attach(oid, "note", b"%d" % session)


def meddle(repo: Repository, rng: random.Random) -> None:
    """Change, undo or redo something of one's own, on the runs that are being written too."""
    name = f"writer{rng.randrange(WRITERS)}"
    tip = repo.runs[name].oid if name in repo.runs else None
    choice = rng.randrange(8)
    if choice == 0 and tip:
        repo.tag(f"tag{rng.randrange(5)}", tip, force=True)
    elif choice == 1 and tip:
        repo.branch(f"branch{rng.randrange(10**9)}", tip)
    elif choice == 2 and tip:
        repo.configure(name, {"lr": rng.random()})
    elif choice == 3:
        repo.undo(rng.choice(own(repo)))
    elif choice == 4:
        repo.redo()
    elif choice == 5:
        list(repo.at_operation(f"@~{rng.randrange(8)}").runs.values())
    elif choice == 6:
        repo.operations(20)
    else:
        repo.undo()


def own(repo: Repository) -> list[int]:
    """Return the newest operations of this process."""
    return [each.number for each in repo.operations(30) if each.process["pid"] == os.getpid()]


@pytest.mark.slow
def test_writers_lose_nothing_to_one_who_undoes(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    with Repository.init(tmp_path) as repo:
        repo.commit(0)
        writers = [SPAWN.Process(target=record, args=(str(tmp_path), i)) for i in range(WRITERS)]
        for writer in writers:
            writer.start()
        done = 0
        while any(writer.is_alive() for writer in writers):
            if any(name.startswith("writer") for name in repo.runs):
                done += attempt(repo, rng)
        for writer in writers:
            writer.join()
        assert [writer.exitcode for writer in writers] == [0] * WRITERS
        assert done > 10
        assert not repo.fsck().problems
        for number in range(WRITERS):
            check_writer(repo, number)


def attempt(repo: Repository, rng: random.Random) -> bool:
    """Return whether something could be done; that it cannot be is an answer too."""
    try:
        meddle(repo, rng)
    except (Conflict, NotFound):
        return False
    return True


def check_writer(repo: Repository, number: int) -> None:
    name = f"writer{number}"
    assert not [each for each in repo.runs if "conflict" in each]
    assert repo.runs[name].step == SESSIONS * STATES - 1
    actions = [line.action for line in repo.log(name, reverse=True)]
    assert actions == [*range(STATES - 1), None] * SESSIONS
    for session in range(SESSIONS):
        end = f"{name}@{(session + 1) * STATES - 1}"
        assert repo.attachment(end, "note") == b"%d" % session
