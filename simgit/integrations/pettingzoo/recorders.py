"""Wrappers that record an environment of PettingZoo; what it returns is passed on unchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pettingzoo.utils.wrappers import BaseParallelWrapper, BaseWrapper

from simgit.errors import AlreadyExists, SimgitWarning, warn
from simgit.integrations.pettingzoo.joint import JointEnv, JointParallel, JointTurns, joint_env
from simgit.integrations.pettingzoo.lanes import AgentLanes
from simgit.recording.catch_up import CatchUp
from simgit.repository import Repository


class JointRecording:
    """The recording of a joint environment: to its lanes, or compared with what is there.

    Args:
        repo: the repository.
        run: the run of the whole.
        joint: the environment.
        options: arguments of ``Repository.recorder``.
        step: the step of the newest state that the environment has given, -1 for none.
        catch_up: compares the next states with recorded ones.
        is_own: close the repository with the environment.
    """

    def __init__(
        self,
        repo: Repository,
        run: str,
        joint: JointEnv,
        options: Mapping[str, Any],
        step: int = -1,
        catch_up: CatchUp | None = None,
        is_own: bool = False,
    ) -> None:
        self.repo = repo
        self._is_own = is_own
        self.joint = joint
        self.step_count = step
        self._catch_up = None if catch_up is None or catch_up.is_done else catch_up
        agents = list(getattr(joint.env, "possible_agents", None) or [])
        self._lanes = AgentLanes(repo, run, agents, options)

    @property
    def run(self) -> str:
        """The name of the run of the whole."""
        return self._lanes.run

    def reset(self, seed: Any, options: Any) -> Any:
        """Reset the environment, and record that."""
        mark = {"seed": seed, "options": options}
        mark = {key: value for key, value in mark.items() if value is not None}
        if seed is None and self.step_count < 0:
            warn(
                f"the first reset of run '{self.run}' had no seed: it cannot be restored",
                SimgitWarning,
            )
        result = self.joint.reset(mark)
        self._record({"reset": mark or True})
        return result

    def step(self, action: Any) -> Any:
        """Move the environment by a joint step, and record it."""
        recorded = self.joint.recorded(action)
        result = self.joint.step(action)
        self._record({"action": recorded})
        return result

    def _record(self, given: dict[str, Any]) -> None:
        fields = given | self.joint.joint()
        if self._catch_up is not None:
            self._catch_up.append(**fields)
            if self._catch_up.is_done:
                self._catch_up = None
        else:
            self._lanes.record(self.step_count + 1, fields, self.joint.lanes())
        self.step_count += 1

    def attach(self, name: str, data: Any) -> None:
        """Bind data to the newest joint step."""
        (self._catch_up or self._lanes).attach(name, data)

    def flush(self) -> None:
        """Store what is buffered, durably."""
        self._lanes.flush()

    def close(self) -> None:
        """Store everything, and release the runs."""
        self._lanes.close()
        if self._is_own:
            self.repo.close()


class ParallelRecorder(BaseParallelWrapper):  # type: ignore[misc]
    """A recorded environment of the parallel API.

    Attributes:
        recording: the recording; it has ``run``, ``step_count``, ``attach`` and ``flush``.
        returned: what the newest reset or step returned.
    """

    def __init__(self, joint: JointParallel, make: Callable[..., JointRecording]) -> None:
        super().__init__(joint.env)
        self.recording = make(joint)
        self.returned: Any = None

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        """Reset the environment, and record that."""
        self.returned = self.recording.reset(seed, options)
        return self.returned

    def step(self, actions: Any) -> Any:
        """Move all agents, and record that."""
        self.returned = self.recording.step(actions)
        return self.returned

    def close(self) -> None:
        """Store everything, release the runs, and close the environment."""
        self.recording.close()
        super().close()


class AECRecorder(BaseWrapper):  # type: ignore[misc]
    """A recorded environment of the AEC API, in which agents take turns.

    Attributes:
        recording: the recording; it has ``run``, ``step_count``, ``attach`` and ``flush``.
    """

    def __init__(self, joint: JointTurns, make: Callable[..., JointRecording]) -> None:
        super().__init__(joint.env)
        self._joint = joint
        self.recording = make(joint)

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        """Reset the environment, and record that."""
        self.recording.reset(seed, options)

    def last(self, observe: bool = True) -> Any:
        """Return what was recorded for the agent whose turn it is.

        The environment is not asked again: some draw random numbers when they are looked at.
        """
        seen = self._joint.seen
        return super().last(observe) if seen is None or not observe else seen

    def step(self, action: Any) -> None:
        """Move the agent whose turn it is, and record that."""
        self.recording.step(action)

    def close(self) -> None:
        """Store everything, release the runs, and close the environment."""
        self.recording.close()
        super().close()


def wrapped(joint: JointEnv, make: Callable[..., JointRecording]) -> Any:
    """Return the wrapper that records a joint environment."""
    if isinstance(joint, JointParallel):
        return ParallelRecorder(joint, make)
    assert isinstance(joint, JointTurns)
    return AECRecorder(joint, make)


def record(env: Any, repo: Repository | str | Path, run: str = "main", **options: Any) -> Any:
    """Return an environment of PettingZoo that records to a new run, with a lane for each agent.

    Args:
        env: the environment, of the parallel or the AEC API.
        repo: the repository, or a path, where one is made if there is none.
        run: the run of the whole; the agents' are ``RUN/AGENT``. ``{auto}`` stands for a number.
        options: arguments of ``Repository.recorder``, such as ``config`` and ``flush_seconds``.

    Raises:
        InvalidInput: it is no environment of PettingZoo.
        AlreadyExists: the run has states; use ``resume``.
    """
    joint = joint_env(env)
    is_own = not isinstance(repo, Repository)
    repo = repo if isinstance(repo, Repository) else Repository.init(repo)
    if run in repo.runs and repo.runs[run].oid is not None:
        raise AlreadyExists(f"run '{run}' has states: resume it, or record to another", name=run)
    return wrapped(joint, lambda made: JointRecording(repo, run, made, options, is_own=is_own))
