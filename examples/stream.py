"""Record a program in any language: it prints JSON lines, `simgit commit --stdin` reads them.

python examples/stream.py [DIRECTORY]
"""

from __future__ import annotations

import subprocess
import sys

import simgit

# stands for a simulator in C++, Julia, Rust, …: all that it does is to print
SIMULATOR = r"""
import json
temperature, heating = 18.0, 0
print(json.dumps({"observation": {"temperature": temperature}, "seed": 5}))
for minute in range(1, 181):
    heating = int(temperature < 20.5 if heating else temperature < 19.5)
    temperature += 0.08 * heating - 0.01 * (temperature - 15.0)
    print(json.dumps({
        "observation": {"temperature": temperature},
        "action": heating,
        "reward": -abs(20.0 - temperature) - 0.1 * heating,
        "info": {"minute": minute},
    }))
"""


def main() -> None:
    """Pipe the simulator into simgit, then read the run as columns."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "stream"
    simgit.Repository.init(directory).close()
    simgit_command = [sys.executable, "-m", "simgit", "-C", directory]
    with subprocess.Popen([sys.executable, "-c", SIMULATOR], stdout=subprocess.PIPE) as simulator:
        subprocess.run(
            [*simgit_command, "commit", "--stdin", "--run", "house"],
            stdin=simulator.stdout,
            check=True,
        )

    with simgit.Repository.open(directory) as repo:
        run = repo["house"]
        warm = run.observations["temperature"] > 19.5
        print(f"{len(run)} states, return {run.returns[0]:.2f}, warm for {warm.sum()} minutes")


if __name__ == "__main__":
    main()
