"""A run folder: log, steps as JSON lines, checkpoints and pictures of a training."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Final, TextIO

from simgit.analysis import learning_curves
from simgit.errors import NotFound
from simgit.plot import state_values
from simgit.repository import Repository
from simgit.training.loop import Tell, TrainingEpisode, Transition
from simgit.training.trainer import Training

_COLUMNS: Final = 40
"""The greatest number of states in the picture of the agent."""


class RunFolder:
    """Writes a training to a directory, in addition to the repository.

    ``step.jsonl`` and ``train.log`` are appended to; ``summary.json``, ``checkpoint_latest`` and
    the pictures are replaced atomically at each checkpoint and at the end.
    """

    def __init__(
        self, directory: Path, repo: Repository, training: Training, words: Sequence[str] = ()
    ) -> None:
        """Create the directory, and write the command line to it."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._repo = repo
        self._training = training
        self._steps = self._open("step.jsonl")
        self._log = self._open("train.log")
        self._began = monotonic()
        self._stepped = monotonic()
        self._shown: list[Transition] = []
        (directory / "command.txt").write_text(shlex.join(("simgit", *words)) + "\n")
        self._say(f"run {training.run}: {training.config.plain()}")

    def _open(self, name: str) -> TextIO:
        return (self._directory / name).open("a", encoding="utf-8")

    def step(self, done: Transition) -> None:
        """Append a step; traces are given by states: ``simgit kube trace`` prints them."""
        if self._shown and self._shown[-1].ended:
            self._shown = []
        self._shown.append(done)
        now, before = monotonic(), self._stepped
        self._stepped = now
        run, at = self._training.run, self._training.env.step_count
        counts = {name: done.info.get(name) for name in ("ready", "pending", "total")}
        changed = {n: done.info[n] for n in ("changed", "blocked", "error") if n in done.info}
        loop = getattr(self._training.env.unwrapped, "loop", None)
        record = {
            "timestamp": datetime.now(UTC).isoformat(),
            "sim_name": run,
            "sim_uid": f"{run}@{at}",
            "namespace": None if loop is None else loop.workload.namespace,
            "trace_in": f"{run}@{at - 1}",
            "trace_out": f"{run}@{at}",
            "obs": counts,
            "dqn_state": [float(each) for each in done.before],
            "action_idx": done.number,
            "action": done.action,
            "action_info": changed,
            "reward": done.reward,
            "duration_s": round(now - before, 6),
            "seed": self._training.config.episode_seed(self._training.done + 1),
            "at_target": done.terminated,
        }
        self._steps.write(json.dumps(record) + "\n")

    def telling(self, tell: Tell) -> Callable[[TrainingEpisode], None]:
        """Return a function that calls ``tell`` with an episode and writes it."""

        def both(done: TrainingEpisode) -> None:
            tell(done)
            self.episode(done)

        return both

    def episode(self, done: TrainingEpisode) -> None:
        """Log an episode; write a checkpoint if the run has a new one."""
        trace = f" trace {done.trace}" if done.trace else ""
        metrics = " ".join(f"{name} {value:.4g}" for name, value in done.metrics.items())
        self._say(
            f"episode {done.number}{trace} seed {done.seed} length {done.length} "
            f"return {done.return_:.6g} {'solved' if done.terminated else 'not solved'} {metrics}"
        )
        config = self._training.config
        if done.number % config.checkpoint == 0 or done.number == config.episodes:
            self._checkpoint(done)

    def _checkpoint(self, done: TrainingEpisode) -> None:
        for name in (f"checkpoint_ep{done.number}", "checkpoint_latest"):
            self._training.save(self._directory / name)
        self._summarise(done.number)
        self._steps.flush()
        self._log.flush()

    def _summarise(self, episodes: int) -> None:
        summary = {
            "run": self._training.run,
            "episodes": episodes,
            "at_target": self._training.solved,
            "duration_s": round(monotonic() - self._began, 3),
            "config": self._training.config.plain(),
        }
        text = json.dumps(summary, indent=1, sort_keys=True) + "\n"
        self._replace("summary.json", lambda path: path.write_text(text))

    def _replace(self, name: str, write: Callable[[Path], object]) -> None:
        """Replace a file atomically."""
        partial = self._directory / f".{name}.partial"
        write(partial)
        partial.replace(self._directory / name)

    def _say(self, text: str) -> None:
        self._log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")

    def finish(self) -> None:
        """Draw the pictures, if matplotlib is installed, and close the files."""
        self._summarise(self._training.done)
        self._steps.close()
        self._log.close()
        try:
            self._draw()
        except NotFound as error:
            (self._directory / "pictures.txt").write_text(f"no pictures: {error}\n")

    def _draw(self) -> None:
        run = self._training.run
        title = f"{run}: return and length of episodes"
        curve = learning_curves(self._repo, [run], ["returns", "lengths"], title=title)
        curve.save(self._directory / "learning_curve_latest.png")
        values = getattr(self._training.agent, "values", None)
        shown = self._shown[:_COLUMNS]
        if values is None or not shown:
            return
        picture = state_values(
            values([each.before for each in shown]), self._training.view.actions,
            [str(n) for n in range(len(shown))], chosen=[each.number for each in shown],
            title="Values of actions, last episode", x_label="step of the episode",
        )  # fmt: skip
        picture.save(self._directory / "agent_visualization_latest.png")
