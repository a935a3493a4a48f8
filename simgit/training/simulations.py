"""Training as a type of simulations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simgit.training.config import Config
from simgit.training.trainer import SIMKUBE, resume
from simgit.training.trainer import train as begin

if TYPE_CHECKING:
    from simgit.live.control import Control
    from simgit.training.loop import TrainingEpisode


def train(control: Control) -> None:
    """Train an agent, or resume a training from its newest checkpoint.

    Settings: those of the agent and the training as ``simgit train`` records them, and
    ``environment``: the ``id``, and the arguments that it is made with.
    """
    repo, run = control.repo, control.run
    if repo.runs[run].oid is None:
        where = dict(control.config["environment"])
        seed = {} if control.seed is None else {"seed": control.seed}
        times = {**control.config["training"], **seed}
        config = Config.of({**control.config, "training": times}, run)
        training = begin(repo, run, config, where.pop("id"), where)
    else:
        training = resume(repo, run)

    def tell(result: TrainingEpisode) -> None:
        control.log(f"episode {result.number}: return {result.return_:.6g}, {result.length} steps")

    with training:
        training.finish(tell)


train.defaults = {  # type: ignore[attr-defined]
    "agent": {"name": "dqn"},
    "training": {"episodes": 60, "checkpoint": 20, "trials": 1},
    "environment": {"id": SIMKUBE},
}
train.imports = ("environment.id",)  # type: ignore[attr-defined]
train.environments = (("environment.id", "environment"),)  # type: ignore[attr-defined]
train.is_fixed = True  # type: ignore[attr-defined]
