"""A loop in the style of CleanRL: actor and critic on a vector of environments, in one file.

python examples/train_cleanrl.py [DIRECTORY]
"""

from __future__ import annotations

import sys

import gymnasium as gym
import torch
from torch import nn

import simgit
from simgit.gym import VectorRecorder

torch.set_num_threads(1)  # faster with networks as small as these

NUM_ENVS, NUM_STEPS, UPDATES, GAMMA, LR = 4, 32, 150, 0.99, 0.004


class Agent(nn.Module):
    """A policy and a value function."""

    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
        self.critic = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))


def train(envs: VectorRecorder) -> None:
    """Collect a rollout from all environments, update, repeat; keep the agent now and then."""
    torch.manual_seed(0)
    agent = Agent()
    optimizer = torch.optim.Adam(agent.parameters(), lr=LR)
    obs = torch.as_tensor(envs.reset(seed=0)[0])
    for update in range(1, UPDATES + 1):
        logprobs, values, rewards, dones = [], [], [], []
        for _ in range(NUM_STEPS):
            policy = torch.distributions.Categorical(logits=agent.actor(obs))
            action = policy.sample()
            logprobs.append(policy.log_prob(action))
            values.append(agent.critic(obs).flatten())
            next_obs, reward, terminations, truncations, _ = envs.step(action.numpy())
            rewards.append(torch.as_tensor(reward, dtype=torch.float32))
            dones.append(torch.as_tensor(terminations | truncations, dtype=torch.float32))
            obs = torch.as_tensor(next_obs)
        returns, after = [], agent.critic(obs).flatten().detach()
        for reward, done in zip(reversed(rewards), reversed(dones), strict=True):
            after = reward + GAMMA * after * (1 - done)
            returns.insert(0, after)
        advantages = torch.stack(returns) - torch.stack(values)
        gain = (torch.stack(logprobs) * advantages.detach()).mean()
        loss = advantages.square().mean() / 100 - gain
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update % 30 == 0:
            parameters = agent.state_dict().items()
            envs.attach(0, "agent", {name: p.numpy() for name, p in parameters})


def main() -> None:
    """Record every environment of the vector as a run: train/0, train/1, …"""
    directory = sys.argv[1] if len(sys.argv) > 1 else "train-cleanrl"
    with simgit.Repository.init(directory) as repo:
        envs = gym.make_vec("CartPole-v1", num_envs=NUM_ENVS, vectorization_mode="sync")
        recorded = VectorRecorder(envs, repo, "train", config={"lr": LR})
        train(recorded)
        recorded.close()
        for name in recorded.runs:
            lengths = repo[name].lengths[:-1]
            early, late = lengths[:20].mean(), lengths[-20:].mean()
            print(f"{name}  {len(lengths)} episodes, from {early:.0f} steps to {late:.0f}")


if __name__ == "__main__":
    main()
