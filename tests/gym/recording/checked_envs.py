"""Environments for the self-check: each would show if it were touched, or hides something."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np


class Counting(gym.Env[Any, Any]):
    """Counts its steps; an episode has six."""

    observation_space = gym.spaces.Discrete(1 << 40)
    action_space = gym.spaces.Discrete(3)
    length = 6

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self.time = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return self.seen(), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        return self.seen(), 1.0, self.time == self.length, False, {}

    def seen(self) -> int:
        return self.time


class OfClass(Counting):
    """Draws from a generator of its class, and counts what is made of it."""

    rng = np.random.default_rng(42)
    made = closed = 0

    def __init__(self, path: str | None = None) -> None:
        super().__init__(path)
        OfClass.made += 1

    def seen(self) -> int:
        return int(self.rng.integers(1000))

    def close(self) -> None:
        OfClass.closed += 1


class Device(Counting):
    """Writes down each reset in a file, with the process, and that it is closed."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.log("reset")
        return super().reset(seed=seed)

    def log(self, text: str) -> None:
        assert self.path is not None
        with Path(self.path).open("a") as file:
            file.write(f"{text} {os.getpid()}\n")

    def close(self) -> None:
        self.log("close")


class Marked(Device):
    """Says that it must not be re-executed."""

    metadata: ClassVar[dict[str, Any]] = {"simgit": {"reexecute": False}}  # type: ignore[misc]


class HashOrder(Counting):
    """Depends on the hashes of texts, which are of the process."""

    def seen(self) -> int:
        return hash(f"{self.time}") % (1 << 40)


class Clock(Counting):
    """Depends on the time."""

    def seen(self) -> int:
        return time.monotonic_ns() % (1 << 40)


class Elsewhere(Counting):
    """Acts up in every process but that which recorded it (which sets ``home``)."""

    home = 0
    how = ""

    def step(self, action: Any) -> Any:
        if os.getpid() != int(os.environ.get("CHECKED_HOME", "0")):
            getattr(self, os.environ["CHECKED_HOW"])()
        return super().step(action)

    def exits(self) -> None:
        sys.exit(3)

    def hangs(self) -> None:
        time.sleep(3600)

    def dies(self) -> None:
        os._exit(9)

    def prints(self) -> None:
        print("on stdout")
        print("on stderr", file=sys.stderr)
        os.write(1, b"on 1\n")
        os.write(2, b"on 2\n")

    def breaks(self) -> None:
        raise ConnectionError("no such robot")

    def spawns(self) -> None:
        subprocess.Popen(["sleep", "3600"])


class Unmade(Counting):
    """Cannot be made in another process."""

    def __init__(self, path: str | None = None) -> None:
        super().__init__(path)
        if os.getpid() != int(os.environ.get("CHECKED_HOME", "0")):
            raise OSError("no licence here")


class OfTorch(Counting):
    """Draws from torch's generator."""

    def seen(self) -> int:
        import torch

        return int(torch.randint(1000, ()))


class KnowsTorch(Counting):
    """Shows whether torch is loaded, and does not load it."""

    def seen(self) -> int:
        return int("torch" in sys.modules)
