"""The settings of a federated training, and its runs in a repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from simgit.agents.transfer import LEARNED
from simgit.analysis.shared_states import RunNames, free_name
from simgit.errors import InvalidInput, NotFound
from simgit.objects.coerce import check_number
from simgit.objects.oid import Oid
from simgit.refs.names import RUNS, check_ref_name
from simgit.refs.remotes import ORIGIN
from simgit.repository import Repository
from simgit.training.checkpoints import AGENT
from simgit.training.config import Config
from simgit.training.trainer import SIMKUBE

ROUND: Final = "federated-round"
"""The attachment of a state that ends a round: ``round``, and what was done in it.

At a worker's state: ``episodes`` and ``explored``, the steps that it explored in the round. At the
global state: ``workers``, those whose agents were averaged.
"""


@dataclass(frozen=True)
class Federation:
    """The settings that workers and coordinator of a federated training share.

    Attributes:
        remote: the URL of the remote: a path, ``file:///path`` or ``s3://bucket/prefix``.
        config: the settings of the training; its seed is that of the first agent.
        local_episodes: the episodes of a worker in a round.
        group: what the names of all its runs begin with.
        rounds: the number of rounds in all.
        environment: the id of a registered environment.
        arguments: the environment's arguments.
        storage: how to reach the remote: ``endpoint``, ``region``, ``profile``.
    """

    remote: str
    config: Config
    local_episodes: int
    group: str = "federated"
    rounds: int = 1
    environment: str = SIMKUBE
    arguments: Mapping[str, Any] = field(default_factory=dict)
    storage: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the settings; raise InvalidInput for those that cannot be."""
        check_ref_name(f"{self.group}/global")
        check_number(self.local_episodes, "local_episodes", 1, whole=True)
        check_number(self.rounds, "rounds", 1, whole=True)
        if self.config.load is not None:
            raise InvalidInput("a federated training begins with a new agent", path="load")
        if self.config.agent not in LEARNED:
            raise InvalidInput(f"agent '{self.config.agent}' does not learn: it has no mean")
        url = self.remote if "://" in self.remote else str(Path(self.remote).expanduser().resolve())
        object.__setattr__(self, "remote", url)

    @property
    def global_run(self) -> str:
        """The name of the run with the global states."""
        return f"{self.group}/global"

    def worker_run(self, index: int) -> str:
        """Return the name of a worker, and of its run."""
        return f"{self.group}/worker/{index}"


def check_remote(federation: Federation, repo: Repository) -> None:
    """Check that the remote ``origin`` of a repository is that of a federation.

    Raises:
        InvalidInput: it is another one, or there is none.
    """
    found = repo.remotes().get(ORIGIN)
    if found is None or _plain(found.url) != _plain(federation.remote):
        there = "has no remote" if found is None else f"has '{found.url}' as"
        raise InvalidInput(
            f"the repository {there} '{ORIGIN}', but the workers push to '{federation.remote}'",
            path="repo",
        )


def _plain(url: str) -> str:
    """Return a URL in the form in which equal remotes are equal."""
    if url.startswith("file://"):
        url = unquote(url.removeprefix("file://").removeprefix("localhost"))
    return url.rstrip("/") if "://" in url else str(Path(url).resolve())


def tip_of(repo: Repository, run: str) -> Oid | None:
    """Return the newest state of a run; None without one."""
    return repo.runs[run].oid if run in repo.runs else None


def fetched(repo: Repository, run: str) -> Oid | None:
    """Fetch a run, set that of this repository to it, and return its state; None without one."""
    with repo.remote() as remote:
        if not remote.exists or RUNS + run not in remote.refs(run):
            return None
        remote.fetch([run])
    return followed(repo, run)


def followed(repo: Repository, run: str) -> Oid | None:
    """Set a run of this repository to what was fetched of it, and return its state."""
    there = repo.remote_runs(ORIGIN)[f"{ORIGIN}/{run}"]
    if run in repo.runs and repo.runs[run].created != there.created:
        repo.delete_run(run, force=True)  # it was created here too, and theirs was pushed first
    if run not in repo.runs:
        repo.pull(ORIGIN, [run])
    elif there.oid is not None and repo.runs[run].oid != there.oid:
        repo.set_status(run, "active")  # whatever it was when it was fetched before
        repo.reset(there.oid, run=run)
    return there.oid


def round_of(repo: Repository, run: str, oid: Oid) -> int:
    """Return the round that a state of a run ends; 0 if it ends none."""
    return int((bound(repo, run, oid, ROUND) or {}).get("round", 0))


def bound(repo: Repository, run: str, oid: Oid, name: str) -> Mapping[str, Any] | None:
    """Return the attachment that a run has at a state, under its own name for it or the plain one.

    Runs share states, and then each may have an agent of its own there.
    """
    found = bound_name(repo, run, oid, name)
    data: Mapping[str, Any] | None = None if found is None else repo.attachment(oid, found)
    return data


def bound_name(repo: Repository, run: str, oid: Oid, name: str) -> str | None:
    """Return the name that ``bound`` reads; None if nothing is attached."""
    with repo.odb.read() as txn:
        return RunNames(repo, run).bound(txn, oid, repo.state(oid).step, name)


def attach_for(repo: Repository, run: str, oid: Oid, name: str, data: Mapping[str, Any]) -> str:
    """Attach data to a state for a run, and return the name that it has there."""
    free = free_name(repo, run, oid, name, data)
    if free not in repo.attachments(oid):
        repo.attach(oid, free, data)
    return free


def agent_at(repo: Repository, run: str, oid: Oid) -> Mapping[str, Any]:
    """Return the agent that a run has at a state; raise NotFound if it has none."""
    data = bound(repo, run, oid, AGENT)
    if data is None:
        raise NotFound(f"the state '{oid.short()}' of '{run}' has no agent checkpoint", name=run)
    return data


def steps_of(checkpoint: Mapping[str, Any]) -> int:
    """Return the steps that an agent has explored."""
    return int(checkpoint["exploration"]["steps"])
