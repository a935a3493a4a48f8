"""The agent that a training begins with: of another run, or of a file, and what it has to fit.

Nothing of the other run's environment continues; its states stay as they are. The agent as it
began is attached to the new run's first state, so that the run can be resumed exactly whatever
becomes of the one that it came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from simgit import agents
from simgit.agents import Agent
from simgit.errors import InvalidInput, NotFound
from simgit.gym.envs.agent_view import View
from simgit.objects.oid import Oid
from simgit.repository import Repository
from simgit.training import checkpoints
from simgit.training.checkpoints import Checkpoint

INITIAL: Final = "initial-agent"
"""The beginning of the name of the attachment of the agent that a run began with.

The rest is a hash of it: runs of other agents may share their first state.
"""
TRAINED_IN: Final = "trained_in"
"""The key of a checkpoint file that has the description of its agent's environment."""
_SIMKUBE: Final = "simgit/SimKube"


def described(env: Any, view: View) -> dict[str, Any]:
    """Return what an agent's environment means by its numbers, as far as it has names for it."""
    task, spec = getattr(env.unwrapped, "task", None), getattr(env.unwrapped, "spec", None)
    return {
        "environment": getattr(spec, "id", None), "actions": list(view.actions),
        "vector": getattr(task, "vector", None),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class AgentSource:
    """An agent's checkpoint, and where it comes from.

    ``state`` is the state that it is attached to (None for a file), ``trained_in`` the description
    of its environment, see ``described``; empty if it is not known.
    """

    name: str
    data: Mapping[str, Any]
    state: Oid | None = None
    trained_in: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The agent's name."""
        return str(self.data.get("kind"))

    def settings(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Return the agent's settings, with some of them chosen."""
        return {**(self.data.get("settings") or {}), **chosen}

    def check_fit(self, size: int, actions: Sequence[str], here: Mapping[str, Any]) -> None:
        """Check that the agent fits an environment: vectors and actions, their names if known.

        Args:
            size: the number of elements of an observation.
            actions: the names of the actions by number.
            here: the description of the environment; {} if it is not known.

        Raises:
            InvalidInput: it does not; the message says what differs.
        """
        there, begin = self.trained_in, f"'{self.name}' was trained"
        trained = self.data.get("observation_size", size)
        if trained != size:
            raise InvalidInput(f"{begin} on observations of size {trained}, not {size}")
        count = self.data.get("actions", len(actions))
        if count != len(actions):
            raise InvalidInput(f"{begin} with {count} actions, not {len(actions)}{_choose(count)}")
        ids = [str(each.get("environment") or "") for each in (there, here)]
        if all(ids) and len({each.startswith(_SIMKUBE) for each in ids}) == 2:
            raise InvalidInput(f"{begin} in '{ids[0]}', not in '{ids[1]}'")
        vectors = (there.get("vector"), here.get("vector"))
        if all(vectors) and vectors[0] != vectors[1]:
            raise InvalidInput(
                f"{begin} on vector '{vectors[0]}', not '{vectors[1]}' (--vector {vectors[0]})"
            )
        for number, (a, b) in enumerate(zip(there.get("actions") or (), actions, strict=False)):
            if a != b:
                raise InvalidInput(f"{begin} with '{a}' as action {number}, not '{b}'")

    def load_into(self, agent: Agent, transfer: bool) -> None:
        """Load all of the checkpoint, or with ``transfer`` only what was learned.

        Raises:
            InvalidInput: the agent is of another kind or shape, or the checkpoint was made in the
                middle of an episode.
        """
        if transfer:
            agents.transfer(agent, self.data)
        else:
            agents.check_between_episodes(self.data)
            agent.load(self.data)

    def plain(self, transfer: bool, began: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the configuration of a run says of the agent that it begins with.

        ``began`` is the checkpoint of the new agent, which is attached to the run's first state.
        """
        state = {} if self.state is None else {"state": str(self.state)}
        digest = blake2b(agents.to_json(began).encode(), digest_size=8).hexdigest()
        attachment = f"{INITIAL}-{digest}"
        return {"from": self.name, **state, "transfer": transfer, "attachment": attachment}


def _choose(count: Any) -> str:
    from simgit.kube.task.actions import STANDARD

    if type(count) is not int or not 0 < count < len(STANDARD):
        return ""
    names = ",".join(f'"{each}"' for each in STANDARD[:count])
    return f" (--env-set 'actions=[{names}]' takes the first {count})"


def is_recorded(repo: Repository, subject: str) -> bool:
    """Return True if a subject is a run or another revision, not a policy or a file."""
    return subject in repo.runs or not (subject in agents.names() or Path(subject).is_file())


def meant(repo: Repository | None, subject: str) -> Checkpoint | None:
    """Return the checkpoint that ``subject`` names; None for a policy or a file.

    Raises:
        NotFound: no policy, run or file of this name, or no checkpoint.
    """
    if repo is not None and is_recorded(repo, subject):
        return checkpoints.of(repo, subject)
    if subject in agents.names() or Path(subject).is_file():
        return None
    raise NotFound(f"policy, run or checkpoint file '{subject}' not found", name=subject)


def source(repo: Repository | None, subject: str) -> AgentSource:
    """Return the agent of a checkpoint file, of a run (its best), or up to a state (the newest).

    Raises:
        NotFound: no run or file of this name, or no checkpoint.
        InvalidInput: the file is not a checkpoint.
    """
    found = meant(repo, subject)
    if found is None and subject in agents.names():
        raise InvalidInput(
            f"agent '{subject}' is a name of an agent, not of a run or a checkpoint file: "
            f"--agent {subject} begins with a new one"
        )
    if found is None or repo is None:
        data = agents.recognised(agents.read_checkpoint(Path(subject)))
        return AgentSource(subject, data, None, data.get(TRAINED_IN) or {})
    data = agents.recognised(checkpoints.read(repo, found))
    return AgentSource(subject, data, found.state, _trained_in(repo, found.state))


def _trained_in(repo: Repository, state: Oid) -> dict[str, Any]:
    """Return the description of a recorded environment, which need not be made for it."""
    spec = repo.origin(state).get("environment") or {}
    arguments = spec.get("kwargs") or {}
    if not str(spec.get("id")).startswith(_SIMKUBE):
        return {"environment": spec.get("id")}
    return {
        "environment": spec["id"], "actions": arguments.get("actions"),
        "vector": arguments.get("vector"),
    }  # fmt: skip
