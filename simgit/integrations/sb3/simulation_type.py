"""The type of simulations that train an algorithm by names and settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simgit.errors import InvalidInput

if TYPE_CHECKING:
    from simgit.live.control import Control


def sb3(control: Control) -> None:
    """Train an algorithm of Stable-Baselines3, or resume a training from its newest checkpoint.

    Settings: ``environment``: the ``id``, and the arguments that it is made with; ``agent``: the
    ``name`` of the algorithm, such as "sb3:PPO", and its arguments, such as ``policy``;
    ``training``: the ``total`` of timesteps, and the timesteps between two checkpoints, ``every``.
    """
    from simgit.integrations.sb3 import training  # seconds: not for the list of types

    repo, run = control.repo, control.run
    if repo.runs[run].oid is None:
        where, agent = dict(control.config["environment"]), dict(control.config["agent"])
        times = control.config["training"]
        if not where.get("id"):
            raise InvalidInput("setting 'environment.id' is missing", path="environment.id")
        seed = {} if control.seed is None else {"seed": control.seed}
        work = training.begin(
            repo, run, agent.pop("name"), agent, where.pop("id"), where, steps=times["total"],
            every=times["every"], **seed,
        )  # fmt: skip
    else:
        work = training.resume(repo, run)
    shown = [0]

    def tell(steps: int, mean: float) -> None:
        if steps * 10 // work.total != shown[0]:
            shown[0] = steps * 10 // work.total
            control.log(f"{steps} of {work.total} timesteps: mean return {mean:.6g}")

    work.finish(tell)


sb3.defaults = {  # type: ignore[attr-defined]
    "environment": {"id": ""},
    "agent": {"name": "sb3:PPO"},
    "training": {"total": 10_000, "every": None},
}
sb3.imports = ("environment.id",)  # type: ignore[attr-defined]
sb3.environments = (("environment.id", "environment"),)  # type: ignore[attr-defined]
sb3.is_fixed = True  # type: ignore[attr-defined]
