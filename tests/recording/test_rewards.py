"""Rewards that are not finite are rewards like others."""

from __future__ import annotations

import math

import pytest

from simgit import Repository


def test_rewards_that_are_infinite_or_not_a_number_are_kept_and_pass_a_check() -> None:
    rewards = [math.nan if i == 5 else -math.inf if i % 2 else math.inf for i in range(100)]
    with Repository.init(":memory:") as repo:
        with repo.recorder(flush_every=7) as rec:
            for i, reward in enumerate(rewards):
                rec.append(i, reward=reward, reset=i % 10 == 0)
        found = repo.trajectory("main")
        assert str(found.rewards.tolist()) == str(rewards)
        assert len(found.returns) == 10
        assert not repo.fsck().problems
        assert math.isnan(repo.runs["main"].return_)
        assert [state.reward for state in (repo.state("main@0"), repo.state("main@1"))] == [
            math.inf,
            -math.inf,
        ]


@pytest.mark.parametrize("reward", [0.1, -0.0, 1e308, 5e-324, 2**53, 2**60])
def test_a_reward_is_stored_exactly(reward: float) -> None:
    with Repository.init(":memory:") as repo:
        repo.commit(1, reward=reward)
        found = repo.state().reward
        assert found == reward
        assert found is not None and math.copysign(1, found) == math.copysign(1, reward)
