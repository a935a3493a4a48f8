"""Usage that is kept with a run: attached to its states, minute by minute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from simgit.live.inputs import attachment_of
from simgit.live.usage import COLUMNS
from simgit.odb.trees import store_data
from simgit.refs.attachments import attach

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simgit.repository import Repository

USAGE: Final = "usage"
"""What the names of the attachments begin with: ``usage-ID-N``, N milliseconds since 1970."""


def keep_usage(repo: Repository, run: str, samples: Sequence[Sequence[float]]) -> bool:
    """Attach samples to a run's newest state; return False if it has none of its own yet.

    It is no operation of the log: undoing the last one undoes what people did. From any thread.

    Args:
        repo: the repository.
        run: the run.
        samples: the values of ``COLUMNS``, in order of their times.

    Raises:
        NotFound: the run was deleted.
    """
    info = repo.runs[run]
    if not samples or info.oid is None or info.oid == info.branch_point:
        return False
    table = np.array(samples, np.float64)
    first = int(table[0, 0] * 1000)
    table[:, 0] -= first / 1000  # seconds since 1970 are too many digits for a float32
    name = f"{attachment_of(info, USAGE)}-{first}"
    with repo.odb.write() as txn:
        kind, oid = store_data(repo.odb, txn, table.astype(np.float32))
        attach(repo.odb, txn, info.oid, name, kind, oid)
    return True


def usage_of(repo: Repository, run: str) -> NDArray[np.float64]:
    """Return the samples that a run's simulations kept, in order of their times.

    Returns:
        An array of shape (samples, 7), whose columns are ``COLUMNS``; time is in seconds since
        1970.

    Raises:
        NotFound: there is no such run.
    """
    info = repo.runs[run]
    mine = f"{attachment_of(info, USAGE)}-"
    parts = {}
    for each in repo.history_attachments(run) if info.oid is not None else ():
        first = each.name[len(mine) :]
        if not each.name.startswith(mine) or not first.isdecimal():
            continue
        begun = int(first)
        part = np.asarray(repo.attachment(each.state, each.name), np.float64)
        if part.ndim == 2 and part.shape[1] == len(COLUMNS):
            parts[begun] = part + np.array([begun / 1000, *[0.0] * (len(COLUMNS) - 1)])
    if not parts:
        return np.zeros((0, len(COLUMNS)))
    return np.concatenate([parts[begun] for begun in sorted(parts)])


def thinned(samples: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Return samples as ``most`` rows at the most: of neighbours the highest, at the last's time.

    Args:
        samples: shape (samples, 7).
        most: at least 1.
    """
    size = -(-len(samples) // most)
    if size <= 1:
        return samples
    starts = np.arange(0, len(samples), size)
    found: NDArray[np.float64] = np.maximum.reduceat(samples, starts)
    ends = np.append(starts[1:], len(samples)) - 1
    for name in ("time", "step", "read", "written"):  # these only grow, until another process
        found[:, COLUMNS.index(name)] = samples[ends, COLUMNS.index(name)]
    return found
