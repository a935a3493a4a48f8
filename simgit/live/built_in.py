"""Types of simulations that come with simgit."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from simgit.errors import InvalidInput, plural

if TYPE_CHECKING:
    from simgit.live.control import Control


def environment(control: Control) -> None:
    """Record an environment while a policy acts in it.

    Settings: ``id`` of the environment, ``arguments`` that it is made with, ``policy``: "random",
    "ask" (people say each action) or a function of the observation as "module:name", ``steps``,
    and ``pace``: seconds between two steps, for people who watch.
    """
    from simgit.gym.tools.collect import make_policy

    config = control.config
    if not config["id"]:
        raise InvalidInput("setting 'id' is missing: the id of an environment", path="id")
    env = control.env(config["id"], **config["arguments"])
    own: dict[str, Any] = {"random": _random, "ask": partial(_asking, control)}
    policies: dict[str, Any] = {}  # a fork has that of its parent up to its branch point
    for _ in control.range("steps"):
        assert control.last is not None
        name = config["policy"]
        if name not in policies:
            policies[name] = own[name](env) if name in own else make_policy(name, env, None)
        *_, terminated, truncated, _ = env.step(policies[name](control.last.observation))
        if terminated or truncated:
            env.reset()
        if config["pace"]:
            time.sleep(float(config["pace"]))


def _random(env: Any) -> Any:
    """Return a policy that draws actions; the seed of the action space is part of the states."""
    return lambda _: env.action_space.sample()


def _asking(control: Control, env: Any) -> Any:
    """Return a policy that asks people for each action."""
    from simgit.gym.tools.asked_actions import action_form, action_of

    space = env.action_space
    form = action_form(space)

    def policy(_: Any) -> Any:
        while True:
            given = control.ask("which action?", form)["action"]
            if (action := action_of(space, given)) is not None:
                return action
            control.log(f"action {given} does not fit {space}", "warning")

    return policy


environment.defaults = {  # type: ignore[attr-defined]
    "id": "", "arguments": {}, "policy": "random", "steps": 1000, "pace": 0.0,
}  # fmt: skip
environment.imports = ("id", "policy")  # type: ignore[attr-defined]
environment.environments = (("id", "arguments"),)  # type: ignore[attr-defined]


def command(control: Control) -> None:
    """Record what a program writes to its standard output, as ``simgit commit --stdin`` does.

    Settings: ``command``, a list of arguments or a text as for a shell, which is not used.
    """
    from simgit.recording.stream import fields_of, read_records

    given = control.config["command"]
    arguments = shlex.split(given) if isinstance(given, str) else [str(each) for each in given]
    if not arguments:
        raise InvalidInput("setting 'command' is missing: a program and its arguments")
    recorder = control.recorder()
    try:
        program = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=sys.stderr)
    except OSError as error:
        raise InvalidInput(f"cannot start '{arguments[0]}': {error.strerror}") from None
    count = 0
    try:
        with program:
            assert program.stdout is not None
            for place, record in read_records(program.stdout):
                control.progress(count)
                control.check()
                try:
                    recorder.append(**fields_of(record))
                except InvalidInput as error:
                    raise InvalidInput(f"{place}: {error}") from None
                count += 1
    except BaseException:
        with suppress(ProcessLookupError):
            program.terminate()
        raise
    if program.returncode:
        raise InvalidInput(
            f"'{arguments[0]}' left with exit code {program.returncode} after "
            f"{plural(count, 'record')}"
        )


command.defaults = {"command": []}  # type: ignore[attr-defined]
command.imports = ("command",)  # type: ignore[attr-defined]
command.is_local = True  # type: ignore[attr-defined]


def demo(control: Control) -> None:
    """Swing a pendulum that people can push: it asks for a torque, and takes changes while it runs.

    Settings: ``steps``, ``pace``: seconds between two steps, ``push``: a torque that is added to
    each action, ``ask``: the step at which it asks, -1 for none, ``patience``: seconds that it
    waits for the answer.
    """
    config = control.config
    env = control.env("Pendulum-v1", render_mode="rgb_array")
    for step in control.range("steps"):
        action = env.action_space.sample() + float(config["push"])
        if step == config["ask"]:
            control.log("which torque?")
            found = control.ask("which torque?", {"torque": 2.0}, timeout=float(config["patience"]))
            action[0] = found["torque"]
        low, high = env.action_space.low, env.action_space.high  # type: ignore[attr-defined]
        *_, terminated, truncated, _ = env.step(action.clip(low, high).astype("float32"))
        if terminated or truncated:
            control.log(f"episode over at step {step + 1}")
            env.reset()
        if config["pace"]:
            time.sleep(float(config["pace"]))


def _energy(control: Control, _: Any) -> float:
    last = control.last
    return 0.0 if last is None else float(0.5 * last.observation[2] ** 2 + last.observation[0])


demo.defaults = {  # type: ignore[attr-defined]
    "steps": 2000, "pace": 0.02, "push": 0.0, "ask": 500, "patience": 60.0,
}  # fmt: skip
demo.queries = {"energy": _energy}  # type: ignore[attr-defined]
