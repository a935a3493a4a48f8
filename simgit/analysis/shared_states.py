"""Attachments of a run at states that it shares with others.

Equal histories are the same states, whatever made them: two branches with other learning rates
whose agents act alike have the same states, and other agents. What the first run attaches has the
plain name, and other data of another run a name of that run's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simgit.objects.codec import encode_value
from simgit.objects.oid import Oid
from simgit.refs import attachments
from simgit.refs.runs import RunInfo
from simgit.repository import Repository
from simgit.storage.base import ReadTxn


class RunNames:
    """The names of attachments along the history of a run, and of those that it was branched off.

    A run is told from others by the time of its creation, which renaming and bundles keep.
    """

    def __init__(self, repo: Repository, run: str | None) -> None:
        """Read where the run and its ancestors were branched; None for the plain names only."""
        self._repo = repo
        self._parts: list[tuple[int, str]] = []
        for info in repo.lineage(run) if run is not None else ():
            left = -1 if info.branch_point is None else repo.state(info.branch_point).step
            self._parts.append((left, _own(info)))

    def bound(self, txn: ReadTxn, state: Oid, step: int, name: str) -> str | None:
        """Return the name under which the run has an attachment at a state, None if it has none."""
        for left, own in self._parts:
            if step > left:
                if attachments.is_bound(txn, state, name + own):
                    return name + own
                break
        return name if attachments.is_bound(txn, state, name) else None


def free_name(repo: Repository, run: str, state: Oid, name: str, data: Mapping[str, Any]) -> str:
    """Return the name under which a run attaches data to a state: its own where others differ."""
    own, taken = name + _own(repo.runs[run]), repo.attachments(state)
    if own in taken:
        return own
    if name not in taken or encode_value(repo.attachment(state, name)) == encode_value(data):
        return name
    return own


def _own(info: RunInfo) -> str:
    return f"-{info.created:x}"
