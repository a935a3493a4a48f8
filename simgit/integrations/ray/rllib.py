"""RLlib: a callback that records the episodes of a training, and keeps its checkpoints."""

from __future__ import annotations

import atexit
import os
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ray.rllib.callbacks.callbacks import RLlibCallback as Base
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

import simgit.worker
from simgit.errors import InvalidInput, SimgitError
from simgit.objects.coerce import check_number
from simgit.refs.names import check_ref_name
from simgit.repository import Repository
from simgit.storage.directory import DIRECTORY, is_repository

if TYPE_CHECKING:
    from simgit.worker import Worker

_open: Final[weakref.WeakSet[RLlibCallback]] = weakref.WeakSet()
"""The callbacks of this process that have something open."""


class RLlibCallback(Base):  # type: ignore[misc]
    """Records each episode where it ends, and attaches checkpoints where a training step ends.

    Give it to a configuration with ``functools.partial``: each process of RLlib makes its own.
    Each EnvRunner records into the run ``NAME/runner/N``, an episode after another, as RLlib's
    ``SingleAgentEpisode`` has them: what connectors changed in them is changed here too. Those of
    evaluations are in ``NAME/evaluation/N``. ``NAME/checkpoints`` has a state for each checkpoint,
    whose files are those of ``Algorithm.save_to_path``.

    A remote gets all of it, pushed in the background by a worker in each process; a repository is
    written at once, and must lie where all EnvRunners are.
    """

    def __init__(
        self,
        place: str | Path,
        name: str = "rllib",
        *,
        checkpoint: int = 1,
        **options: Any,
    ) -> None:
        """Note where to record; nothing is opened yet.

        Args:
            place: an absolute path of a repository; or the URL or absolute path of a remote.
            name: what the names of the runs begin with.
            checkpoint: the number of ``Algorithm.train`` calls between two checkpoints; 0 for none.
            options: of a remote: those of ``simgit.worker.open``.

        Raises:
            InvalidInput: the path is relative: processes of Ray have other working directories; or
                another argument cannot be.
        """
        super().__init__()
        text = os.fspath(place)
        if "://" not in text and not Path(text).is_absolute():
            raise InvalidInput(
                f"'{text}' is a relative path, and processes of Ray have other working "
                "directories: give an absolute one"
            )
        self._place, self._name, self._options = text, check_ref_name(name), options
        self._every = check_number(checkpoint, "checkpoint", 0, whole=True)
        self._trained = 0
        self._worker: Worker | None = None
        self._repo: Repository | None = None
        self._recorder: Any = None
        self._run = ""

    # --- what is open ---

    def _opened(self, run: str) -> Repository:
        """Open the repository, or a worker, for a run of this process."""
        if self._repo is None:
            self._run = f"{self._name}/{run}"
            is_here = "://" not in self._place and is_repository(Path(self._place) / DIRECTORY)
            if is_here:
                if self._options:
                    raise InvalidInput(f"'{self._place}' is a repository: it takes no options")
                self._repo = Repository.open(self._place)
            else:
                self._worker = simgit.worker.open(self._place, self._run, **self._options)
                self._repo = self._worker.repository
                self._worker.run()  # what an earlier process completed goes on
            _open.add(self)
            atexit.register(_close, weakref.ref(self))
        return self._repo

    def flush(self) -> None:
        """Store what is buffered, and push it if there is a remote.

        Raises:
            TransportError, StorageError: it cannot be stored or pushed; what is stored is kept.
        """
        if self._recorder is not None:
            self._recorder.flush()
        if self._worker is not None:
            self._worker.push()

    def close(self) -> None:
        """Store and push everything, and close what is open; closing twice is fine."""
        recorder, worker, repo = self._recorder, self._worker, self._repo
        self._recorder = self._worker = self._repo = None
        _open.discard(self)
        if recorder is not None:
            recorder.close()
        if worker is not None:
            worker.close()
        elif repo is not None:
            repo.close()

    # --- EnvRunners ---

    def on_episode_end(
        self,
        *,
        episode: Any,
        prev_episode_chunks: Sequence[Any] | None = None,
        env_runner: Any = None,
        **_: Any,
    ) -> None:
        """Record an episode.

        Raises:
            InvalidInput: it is of several agents, or its beginning is not known.
        """
        if not isinstance(episode, SingleAgentEpisode):
            raise InvalidInput(
                "RLlibCallback records episodes of one agent; of several, record the environment "
                "with simgit.integrations.pettingzoo"
            )
        parts = [*(prev_episode_chunks or ()), episode]
        if parts[0].t_started:
            raise InvalidInput(
                "this version of Ray does not tell how the episode began: use "
                "env_runners(batch_mode='complete_episodes')"
            )
        if self._recorder is None:
            config = getattr(env_runner, "config", None)
            kind = "evaluation" if getattr(config, "in_evaluation", False) else "runner"
            repo = self._opened(f"{kind}/{getattr(env_runner, 'worker_index', 0)}")
            self._recorder = repo.recorder(self._run)
        for state in _states(parts):
            self._recorder.append(**state)

    def on_sample_end(self, **_: Any) -> None:
        """Store the episodes that have ended, so that a process that is killed loses none."""
        if self._recorder is not None:
            self._recorder.flush()

    # --- the algorithm ---

    def on_train_result(self, *, algorithm: Any, result: Mapping[str, Any], **_: Any) -> None:
        """Let all EnvRunners push, and keep a checkpoint if one is due."""
        algorithm.env_runner_group.foreach_env_runner(_flush_all)
        if (evaluation := getattr(algorithm, "eval_env_runner_group", None)) is not None:
            evaluation.foreach_env_runner(_flush_all)
        self._trained += 1
        if self._every and self._trained % self._every == 0:
            self._keep(algorithm, result)

    def _keep(self, algorithm: Any, result: Mapping[str, Any]) -> None:
        repo = self._opened("checkpoints")
        with tempfile.TemporaryDirectory(prefix="simgit-rllib-") as folder:
            algorithm.save_to_path(folder)
            files = {
                str(path.relative_to(folder)): path
                for path in Path(folder).rglob("*")
                if path.is_file()
            }
            number = int(result.get("training_iteration", self._trained))
            if self._run not in repo.runs:
                repo.create_run(self._run)
            info = {"iteration": number, **_told(result)}
            message = f"checkpoint of iteration {number}"
            repo.commit(run=self._run, files=files, info=info, message=message)
        if self._worker is not None:
            self._worker.push()


def restore_checkpoint(repo: Repository, revision: str, directory: str | Path) -> Path:
    """Write the checkpoint of a state to a directory, for ``Algorithm.from_checkpoint``; return it.

    RLlib reads it with pickle, which may execute anything: only for checkpoints that you trust.

    Args:
        repo: the repository.
        revision: a state of a run ``NAME/checkpoints``.
        directory: a new or empty directory.

    Raises:
        NotFound: there is no such state.
        InvalidInput: it has no files, or the directory is not empty.
    """
    files = repo.files(revision)
    if not files:
        raise InvalidInput(f"'{revision}' has no files: it is not a checkpoint of RLlib")
    target = Path(directory)
    if target.exists() and any(target.iterdir()):
        raise InvalidInput(f"'{target}' is not empty")
    for name, oid in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            for piece in repo.read_blob(oid):
                out.write(piece)
    return target


def _states(parts: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield the states of an episode, which RLlib may have in parts."""
    ends = [part.t_started for part in parts[1:]] + [parts[-1].t]
    for part, end in zip(parts, ends, strict=True):
        observations, infos = part.get_observations(), part.get_infos()
        actions, rewards = part.get_actions(), part.get_rewards()
        if part is parts[0]:
            yield {"observation": observations[0], "info": infos[0] or None, "reset": True}
        # a learner in the same process lengthens earlier parts: what is theirs ends where the next
        # one begins
        for i in range(end - part.t_started):
            is_last = part.t_started + i + 1 == ends[-1]
            yield {
                "observation": observations[i + 1], "action": actions[i],
                "reward": float(rewards[i]), "info": infos[i + 1] or None,
                "terminated": bool(is_last and part.is_terminated),
                "truncated": bool(is_last and part.is_truncated),
            }  # fmt: skip


def _told(result: Mapping[str, Any]) -> dict[str, float]:
    """Return what is known of a training step that one looks for among checkpoints."""
    runners = result.get("env_runners") or {}
    found = {}
    for name, key in (
        ("return", "episode_return_mean"), ("length", "episode_len_mean"),
        ("steps", "num_env_steps_sampled_lifetime"),
    ):  # fmt: skip
        with suppress(TypeError, ValueError):
            if (value := runners.get(key)) is not None and float(value) == float(value):
                found[name] = float(value)
    return found


def _flush_all(_: Any = None) -> None:
    """Store and push what the callbacks of this process have."""
    for each in list(_open):
        each.flush()


def _close(found: weakref.ref[RLlibCallback]) -> None:
    """Close a callback at the end of its process; what cannot be pushed then is kept."""
    callback = found()
    if callback is not None:
        with suppress(SimgitError):
            callback.close()
