"""Which states of a history have an attachment, by looking at the states or at the attachments."""

from __future__ import annotations

import random

import pytest

from simgit import Repository
from simgit.recording.attached_steps import attached_steps


@pytest.mark.slow
@pytest.mark.parametrize("others", [0, 600])
def test_the_steps_are_those_of_the_path_newest_first(others: int) -> None:
    """With many attachments of other states, the states are looked at instead."""
    draw = random.Random(others)
    with Repository.init(":memory:") as repo:
        with repo.recorder("main") as recorder:
            for i in range(300):
                recorder.append([float(i)])
        repo.branch("other", "main@150")
        with repo.recorder("other") as recorder:
            for i in range(others + 250):
                recorder.append([-float(i) - 1])
        expected = sorted(draw.sample(range(300), 9), reverse=True)
        for step in expected:
            repo.attach(f"main@{step}", "a", step)
        repo.attach("main@299", "b", 0)
        for step in range(151, 151 + max(others, 5)):
            repo.attach(f"other@{step}", "a", step)
        states = repo.trajectory("main")
        for newest in (299, 298, 150, 70, 5, 0):
            found = list(attached_steps(repo.odb, states, "a", newest))
            assert found == [step for step in expected if step <= newest]
        assert list(attached_steps(repo.odb, states, "none", 299)) == []
        there = attached_steps(repo.odb, repo.trajectory("other"), "a", 160)
        assert list(there)[:3] == ([160, 159, 158] if others else [155, 154, 153])


def test_another_name_serves_from_a_step_on() -> None:
    with Repository.init(":memory:") as repo:
        with repo.recorder("main") as recorder:
            for i in range(300):
                recorder.append([float(i)])
        states = repo.trajectory("main")
        for step, name in ((5, "x"), (20, "a"), (120, "x"), (120, "y"), (150, "x"), (280, "y")):
            repo.attach(f"main@{step}", name, step)
        for others in (0, 300):  # more attachments than states: the states are looked at
            for step in range(others):
                repo.attach(f"main@{step}", "b", step)
            found = attached_steps(repo.odb, states, "a", 299, beside={100: "y", 0: "x"})
            assert list(found) == [280, 120, 20, 5]
            found = attached_steps(repo.odb, states, "a", 299, 20, {110: "x"})
            assert list(found) == [150, 120, 20]
