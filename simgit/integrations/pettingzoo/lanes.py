"""The runs that an environment of several agents is recorded to.

RUN has the joint steps, RUN/AGENT what one agent has seen. In a lane, ``info.joint_step`` is the
step of RUN at which a state was given, so that the lanes can be aligned, cut and branched. The
states of a joint step are written to the lanes first: after a kill a lane may be ahead of RUN, and
is cut when it is resumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from simgit.errors import InvalidInput, NotFound, SimgitWarning, warn
from simgit.integrations.pettingzoo.joint import LaneState
from simgit.objects.oid import Oid
from simgit.objects.simplify import Simplifier
from simgit.repository import Repository

JOINT_STEP: Final = "joint_step"
"""The key of a lane's info for the step of the whole."""
_UNUSABLE: Final = re.compile(r"[^A-Za-z0-9_+=,-]+")


def lane_name(run: str, agent: Any) -> str:
    """Return the name of the run of an agent."""
    text = "-".join(map(str, agent)) if isinstance(agent, tuple) else str(agent)
    return f"{run}/{_UNUSABLE.sub('-', text).strip('-') or 'agent'}"


class AgentLanes:
    """Writes a run and the lanes of its agents, all in the same transactions.

    A lane is opened when its agent is there for the first time.
    """

    def __init__(
        self, repo: Repository, run: str, agents: Iterable[Any], options: Mapping[str, Any]
    ) -> None:
        self._repo = repo
        if "on_conflict" in options:
            raise InvalidInput("on_conflict has no meaning here: name another run", path="run")
        self._options = dict(options)
        self._agents: list[Any] = []
        self._left_out: set[str] = set()
        self._recorder: Any = None
        self.run = run
        self._open(list(agents))

    def _open(self, agents: list[Any]) -> None:
        names = [lane_name(self.run, each) for each in agents]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidInput(f"two agents have the same lane '{twice}': rename one", name=twice)
        self._recorder = self._repo.recorder([self.run, *names], **self._options)
        self.run = self._recorder.runs[0]
        self._recorder.simplifier = Simplifier(self._leave_out)
        self._agents = agents

    def _leave_out(self, path: str, why: str) -> None:
        if path not in self._left_out:
            self._left_out.add(path)
            warn(f"'{path}' is left out of run '{self.run}': {why}", SimgitWarning)

    def record(self, step: int, joint: Mapping[str, Any], lanes: Iterable[LaneState]) -> None:
        """Record a joint step: what the agents have seen, then the whole.

        Args:
            step: its step in the run.
            joint: the arguments of ``append`` for the whole.
            lanes: those for the agents.
        """
        lanes = list(lanes)
        new = [each.agent for each in lanes if each.agent not in self._agents]
        if new:
            self._recorder.close()
            self._open([*self._agents, *new])
        for agent, fields in lanes:
            info = {**(fields.get("info") or {}), JOINT_STEP: step}
            self._recorder.append(1 + self._agents.index(agent), **{**fields, "info": info})
        self._recorder.append(0, **joint)

    def attach(self, name: str, data: Any) -> None:
        """Bind data to the newest joint step."""
        self._recorder.attach(0, name, data)

    def flush(self) -> None:
        """Store what is buffered, durably."""
        self._recorder.flush()

    def close(self) -> None:
        """Store everything, and release the runs."""
        if self._recorder is not None:
            self._recorder.close()


def lanes_of(repo: Repository, run: str) -> list[str]:
    """Return the lanes of a run."""
    return [name for name in repo.runs if name.startswith(f"{run}/")]


def lane_at(repo: Repository, lane: str, step: int) -> Oid | None:
    """Return the newest state of a lane that was given up to a step of the whole, or None."""
    if repo.runs[lane].oid is None:
        return None
    found = repo.log(lane, where=f"info.{JOINT_STEP} <= {step}", limit=1)
    return next((line.oid for line in found), None)


def cut_lanes(repo: Repository, run: str, step: int) -> None:
    """Remove what lanes have that was given after a step of the whole; see above."""
    for lane in lanes_of(repo, run):
        tip = repo.runs[lane].oid
        kept = lane_at(repo, lane, step)
        if tip is None or tip == kept:
            continue
        if kept is None:
            with suppress(NotFound):
                repo.delete_run(lane, force=True)
        else:
            repo.reset(kept, run=lane)
