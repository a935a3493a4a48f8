"""The repository: one object through which everything that is stored is reached.

- ``repository``: the class ``Repository``, what users call. It documents every operation, owns the
  parts below, and hands each call on to one of them.
- ``store``: what the parts have in common: the layers below, and transactions.
- ``states``, ``history``, ``comparisons``, ``runs``, ``references``, ``attachments``,
  ``recording``, ``operations``, ``maintenance``: the parts, by subject.
- ``worktree``: HEAD, and the files of the working directory.
- ``display``: how a repository shows itself in a notebook.
"""

from simgit.repository.repository import Repository

__all__ = ["Repository"]
