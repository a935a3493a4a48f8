"""A torch network and its optimiser as an attachment: saved with a state, loaded again, continued.

python examples/checkpoint_torch.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from typing import Any

import torch

import simgit


def make() -> tuple[Any, Any]:
    """Return a network and its optimiser."""
    net = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    return net, torch.optim.Adam(net.parameters(), lr=1e-3)


def train(net: Any, optimizer: Any, updates: int) -> float:
    """Fit a fixed target; return the last loss."""
    x = torch.linspace(-1, 1, 64).reshape(16, 4)
    loss = torch.zeros(())
    for _ in range(updates):
        loss = (net(x) - x[:, :2].sin()).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def main() -> None:
    """Attach a checkpoint to every state, then continue from one of them in a new network."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "torch-checkpoints"
    torch.manual_seed(0)
    net, optimizer = make()
    with simgit.Repository.init(directory) as repo:
        with repo.recorder("main") as recorder:
            for _ in range(5):
                recorder.append(train(net, optimizer, 20))
                recorder.attach("agent", {"net": net.state_dict(), "adam": optimizer.state_dict()})

        found = repo.attachment("main@2", "agent", tensors=True)
        other, adam = make()
        other.load_state_dict(found["net"])
        adam.load_state_dict(found["adam"])
        loss = train(other, adam, 20)
        print(
            f"continued from main@2: loss {loss:.6f}, recorded {repo['main'].observations[3]:.6f}"
        )
        assert loss == repo["main"].observations[3]


if __name__ == "__main__":
    main()
