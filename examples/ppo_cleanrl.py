"""PPO in one file, as CleanRL has it, killed and resumed exactly: six lines end with ``# simgit``.

python examples/ppo_cleanrl.py [DIRECTORY]
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn, optim
from torch.distributions.categorical import Categorical

from simgit.integrations.torch import TrainingLoop  # simgit


@dataclass
class Args:
    """The settings."""

    seed: int = 1
    num_envs: int = 4
    num_steps: int = 32
    num_iterations: int = 12
    learning_rate: float = 2.5e-3
    anneal_lr: bool = True
    gamma: float = 0.99
    gae_lambda: float = 0.95
    num_minibatches: int = 4
    update_epochs: int = 4
    clip_coef: float = 0.2
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5


def make_env() -> gym.Env[Any, Any]:
    """Return one environment."""
    return gym.wrappers.RecordEpisodeStatistics(gym.make("CartPole-v1"))


def layer_init(layer: Any, std: float = 2**0.5) -> Any:
    """Initialise a layer."""
    nn.init.orthogonal_(layer.weight, std)
    nn.init.constant_(layer.bias, 0.0)
    return layer


class Agent(nn.Module):
    """A policy and a value function."""

    def __init__(self, envs: Any) -> None:
        super().__init__()
        size = int(np.prod(envs.single_observation_space.shape))
        self.critic = nn.Sequential(
            layer_init(nn.Linear(size, 64)), nn.Tanh(),
            layer_init(nn.Linear(64, 64)), nn.Tanh(),
            layer_init(nn.Linear(64, 1), std=1.0),
        )  # fmt: skip
        self.actor = nn.Sequential(
            layer_init(nn.Linear(size, 64)), nn.Tanh(),
            layer_init(nn.Linear(64, 64)), nn.Tanh(),
            layer_init(nn.Linear(64, envs.single_action_space.n), std=0.01),
        )  # fmt: skip

    def get_value(self, x: Any) -> Any:
        """Return the values of observations."""
        return self.critic(x)

    def get_action_and_value(self, x: Any, action: Any = None) -> Any:
        """Return action, its log-probability, the entropy and the value."""
        probs = Categorical(logits=self.actor(x))
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action), probs.entropy(), self.critic(x)


def train(directory: str, run: str, kill_at: int = 0, args: Args | None = None) -> str:
    """Train, and return a digest of the parameters and of the optimizer's state."""
    args = args or Args()
    batch_size = args.num_envs * args.num_steps
    minibatch_size = batch_size // args.num_minibatches
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)

    envs: Any = gym.vector.SyncVectorEnv([make_env for _ in range(args.num_envs)])
    agent = Agent(envs)
    optimizer = optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    loop = TrainingLoop(directory, run, envs, every=2, agent=agent, optimizer=optimizer)  # simgit
    envs = loop.envs  # simgit

    obs = torch.zeros((args.num_steps, args.num_envs, *envs.single_observation_space.shape))
    actions = torch.zeros((args.num_steps, args.num_envs))
    logprobs = torch.zeros((args.num_steps, args.num_envs))
    rewards = torch.zeros((args.num_steps, args.num_envs))
    dones = torch.zeros((args.num_steps, args.num_envs))
    values = torch.zeros((args.num_steps, args.num_envs))

    global_step = 0
    next_obs = torch.Tensor(envs.reset(seed=args.seed)[0])
    next_done = torch.zeros(args.num_envs)

    for iteration in loop(range(1, args.num_iterations + 1)):  # simgit
        global_step, next_obs, next_done = loop.point(global_step, next_obs, next_done)  # simgit
        if args.anneal_lr:
            frac = 1.0 - (iteration - 1.0) / args.num_iterations
            optimizer.param_groups[0]["lr"] = frac * args.learning_rate

        for step in range(args.num_steps):
            global_step += args.num_envs
            obs[step] = next_obs
            dones[step] = next_done
            with torch.no_grad():
                action, logprob, _, value = agent.get_action_and_value(next_obs)
                values[step] = value.flatten()
            actions[step] = action
            logprobs[step] = logprob
            seen, reward, terminations, truncations, _ = envs.step(action.numpy())
            if global_step == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            rewards[step] = torch.tensor(reward).view(-1)
            next_obs = torch.Tensor(seen)
            next_done = torch.Tensor(np.logical_or(terminations, truncations))

        with torch.no_grad():
            next_value = agent.get_value(next_obs).reshape(1, -1)
            advantages = torch.zeros_like(rewards)
            lastgaelam: Any = 0
            for t in reversed(range(args.num_steps)):
                nonterminal = 1.0 - (next_done if t == args.num_steps - 1 else dones[t + 1])
                nextvalues = next_value if t == args.num_steps - 1 else values[t + 1]
                delta = rewards[t] + args.gamma * nextvalues * nonterminal - values[t]
                lastgaelam = delta + args.gamma * args.gae_lambda * nonterminal * lastgaelam
                advantages[t] = lastgaelam
            returns = advantages + values

        b_obs = obs.reshape((-1, *envs.single_observation_space.shape))
        b_logprobs, b_actions = logprobs.reshape(-1), actions.reshape(-1)
        b_advantages, b_returns, b_values = (x.reshape(-1) for x in (advantages, returns, values))
        b_inds = np.arange(batch_size)
        for _ in range(args.update_epochs):
            np.random.shuffle(b_inds)
            for start in range(0, batch_size, minibatch_size):
                mb = b_inds[start : start + minibatch_size]
                _, newlogprob, entropy, newvalue = agent.get_action_and_value(
                    b_obs[mb], b_actions.long()[mb]
                )
                ratio = (newlogprob - b_logprobs[mb]).exp()
                mb_advantages = b_advantages[mb]
                mb_advantages = (mb_advantages - mb_advantages.mean()) / (
                    mb_advantages.std() + 1e-8
                )
                clipped = torch.clamp(ratio, 1 - args.clip_coef, 1 + args.clip_coef)
                pg_loss = torch.max(-mb_advantages * ratio, -mb_advantages * clipped).mean()
                newvalue = newvalue.view(-1)
                moved = torch.clamp(newvalue - b_values[mb], -args.clip_coef, args.clip_coef)
                v_loss = torch.max(
                    (newvalue - b_returns[mb]) ** 2, (b_values[mb] + moved - b_returns[mb]) ** 2
                )
                v_loss = 0.5 * v_loss.mean()
                loss = pg_loss - args.ent_coef * entropy.mean() + v_loss * args.vf_coef
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
                optimizer.step()

    loop.close()  # simgit
    return digest(agent, optimizer)


def digest(agent: Any, optimizer: Any) -> str:
    """Return a hash of all parameters, and of the state of the optimizer."""
    hasher = hashlib.sha256()
    for tensor in agent.state_dict().values():
        hasher.update(tensor.numpy().tobytes())
    for state in optimizer.state_dict()["state"].values():
        for key in sorted(state):
            hasher.update(state[key].numpy().tobytes())
    return hasher.hexdigest()[:16]


def main() -> None:
    """Train undisturbed; then train in a process that is killed, and resume it in another."""
    if len(sys.argv) > 2:
        print(train(sys.argv[1], sys.argv[2], int(sys.argv[3])))
        return
    directory = sys.argv[1] if len(sys.argv) > 1 else "ppo-cleanrl"
    full = train(directory, "full")
    print(f"undisturbed:          {full}")
    call = [sys.executable, __file__, directory, "killed"]
    ended = subprocess.run([*call, "900"], check=False)
    print(f"killed:               by {signal.Signals(-ended.returncode).name}")
    again = subprocess.run([*call, "0"], check=True, capture_output=True, text=True).stdout.strip()
    print(f"resumed in a process: {again}")
    assert again == full


if __name__ == "__main__":
    main()
