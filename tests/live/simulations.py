"""Types of simulations for the tests, by import path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from simgit.errors import InvalidInput


def swing(control: Any) -> None:
    """Draws its actions from the action space; asks, and takes changes."""
    config = control.config
    env = control.env("Pendulum-v1")
    for step in control.range(config["steps"]):
        action = env.action_space.sample() * config["scale"]
        if step == config["ask"]:
            action[0] = control.ask("which torque?", {"torque": 2.0}, timeout=config["patience"])[
                "torque"
            ]
        if step in config["raise_at"]:
            raise ValueError("the arm broke")
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
        time.sleep(config["pace"])
        if step in config["die_at"] and not (control.shared / f"died-{step}").exists():
            (control.shared / f"died-{step}").touch()
            control.flush()
            os.kill(os.getpid(), 9)


swing.defaults = {  # type: ignore[attr-defined]
    "steps": 300, "scale": 1.0, "ask": -1, "patience": None, "pace": 0.0, "raise_at": [],
    "die_at": [],
}  # fmt: skip
swing.queries = {  # type: ignore[attr-defined]
    "energy": lambda control, argument: float(abs(control.last.observation).sum()),
    "config": lambda control, argument: control.config,
    "bad": lambda control, argument: 1 / 0,
}


def learner(control: Any) -> None:
    """Has state of its own, which it keeps: a weight that each step moves."""
    env = control.env("CartPole-v1")
    weight = float(control.resumed or 0.0)
    control.checkpoint(lambda: weight)
    for step in control.range(control.config["steps"]):
        weight += control.config["lr"] * float(control.last.observation[2])
        *_, terminated, truncated, _ = env.step(int(weight > 0))
        if terminated or truncated:
            env.reset()
        if step % 40 == 39:
            control.checkpoint(weight)
        time.sleep(control.config["pace"])


learner.defaults = {"steps": 200, "lr": 0.1, "pace": 0.0}  # type: ignore[attr-defined]


def deaf(control: Any) -> None:
    """Never looks, ignores SIGTERM, and has a grandchild."""
    import signal

    env = control.env("CartPole-v1")
    env.step(0)
    control.flush()
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    (control.shared / "grandchild").write_text(str(child.pid))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(0.05)


def broken(control: Any) -> None:
    """Raises before anything is recorded."""
    raise InvalidInput("no gravity")


def leaves(control: Any) -> None:
    """Leaves as a script does."""
    sys.exit(control.config["code"])


leaves.defaults = {"code": 0}  # type: ignore[attr-defined]


def no_states(control: Any) -> None:
    """Records nothing but metrics."""
    for step in control.range(5):
        control.metrics({"loss": 1.0 / (step + 1)})
        control.log(f"step {step}\x1b[2J")


def count(control: Any) -> None:
    """Imports little; notes where two processes execute it at once."""
    from simgit.process import is_alive, this_writer

    note = control.folder / "writer"
    if note.exists() and is_alive(json.loads(note.read_text())):
        (control.shared / "twice").touch()
    note.write_text(json.dumps(this_writer()))
    recorder = control.recorder()
    if not control.position:
        recorder.append(observation=0.0)
    for step in control.range(control.config["steps"]):
        recorder.append(observation=float(step) * control.config["by"], action=step)
        if step % 5 == 4:
            control.flush()
        time.sleep(control.config["pace"])


count.defaults = {"steps": 40, "by": 1.0, "pace": 0.0}  # type: ignore[attr-defined]


def asking(control: Any) -> None:
    """Counts, and asks one question in between."""
    recorder = control.recorder()
    if not control.position:
        recorder.append(observation=0.0)
    by = 1.0
    for step in control.range(12):
        if step == 6:
            by = control.ask("by what?", {"by": 2.0})["by"]
        recorder.append(observation=step * by, action=step)
        control.flush()
        time.sleep(0.01)


def asks(control: Any) -> None:
    """Asks three questions."""
    for number in range(3):
        control.ask(f"question {number}", {"n": 0})
        time.sleep(0.2)


def measured(control: Any) -> None:
    """Logs a number at each step, and dies once."""
    env = control.env("Pendulum-v1")
    for step in control.range(90):
        *_, truncated, _ = env.step(env.action_space.sample())
        if truncated:
            env.reset()
        control.metrics({"loss": 1.0 / (step + 1)})
        if step == control.config["die_at"] and not (control.shared / "died").exists():
            (control.shared / "died").touch()
            control.flush()
            control._metrics.flush()
            os.kill(os.getpid(), 9)


measured.defaults = {"die_at": -1}  # type: ignore[attr-defined]


def slow(control: Any) -> None:
    """Looks once a second."""
    control.looks = 0
    while True:
        control.check()
        control.looks += 1
        time.sleep(1.0)


slow.queries = {"looks": lambda control, argument: control.looks}  # type: ignore[attr-defined]


def forks(control: Any) -> None:
    """Has a worker, and terminates it."""
    import multiprocessing

    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    worker.start()
    time.sleep(0.3)
    worker.terminate()
    worker.join(20)
    if worker.is_alive():
        worker.kill()
        raise RuntimeError("the worker did not end")


def reads(control: Any) -> None:
    """Records a state, and then reads a file that is not there."""
    control.recorder().append(observation=0.0)
    control.flush()
    Path(control.config["path"]).read_text()


reads.defaults = {"path": ""}  # type: ignore[attr-defined]
