"""The clusters that this user lets simgit write to: a list in the user's own configuration.

It is not kept in a repository: a copy of one would bring permission to write to the cluster of
whoever opens it, and ``simgit step`` needs no repository. An entry is the name of a context with
the URL of its API server: a kubeconfig may give the name to another cluster at any time.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Final

from simgit.errors import ClusterError, InvalidInput, StorageError, reason
from simgit.storage import regular
from simgit.storage.trust import config_directory

_LIST: Final = "clusters"


class AllowedClusters:
    """The contexts that this user allowed, with the URLs of their API servers."""

    def __init__(self, config: Path | None = None) -> None:
        """Use a configuration directory, which need not exist; None for the user's own."""
        self._config = config or config_directory()

    def entries(self) -> dict[str, str]:
        """Return the contexts and their URLs, oldest first.

        Raises:
            InvalidInput: the file is damaged.
            StorageError: it cannot be read.
        """
        path = (self._config or Path(os.devnull)) / _LIST  # else a file that does not exist
        try:
            lines = path.read_text("utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, UnicodeDecodeError) as error:
            why = reason(error) if isinstance(error, OSError) else "not UTF-8"
            raise StorageError(f"cannot read '{path}': {why}", path=path) from None
        try:
            found = [json.loads(line) for line in lines if line]
            return {str(each["context"]): str(each["server"]) for each in found}
        except (ValueError, TypeError, KeyError):
            raise InvalidInput(f"'{path}' must have a JSON object on each line") from None

    def allow(self, context: str, server: str) -> bool:
        """Allow a context with this server; return False if it was allowed already.

        Raises:
            StorageError: the list cannot be written.
        """
        entries = self.entries()
        changed = entries.pop(context, None) != server
        self._write({**entries, context: server})
        return changed

    def forbid(self, context: str) -> bool:
        """Allow a context no longer; return False if it was not allowed.

        Raises:
            StorageError: the list cannot be written.
        """
        entries = self.entries()
        if entries.pop(context, None) is None:
            return False
        self._write(entries)
        return True

    def check(self, context: str, server: str) -> None:
        """Check that simgit may write to a cluster.

        Raises:
            ClusterError: it may not; the message has the command that allows it.
        """
        allowed = self.entries().get(context)
        if allowed == server:
            return
        was = "" if allowed is None else f" (it was allowed for {allowed})"
        raise ClusterError(
            f"context '{context}' is not allowed for {server}{was}: allow simgit to write to this "
            f"cluster with 'simgit kube allow {shlex.quote(context)}'",
            context=context,
        )

    def _write(self, entries: dict[str, str]) -> None:
        if self._config is None:
            raise StorageError("no configuration directory: set SIMGIT_CONFIG_DIR")
        path = self._config / _LIST
        rows = [{"context": name, "server": server} for name, server in entries.items()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            regular.replace(path, "".join(json.dumps(row) + "\n" for row in rows).encode("ascii"))
        except OSError as error:
            raise StorageError(f"cannot write '{path}': {reason(error)}", path=path) from None


def check_allowed(context: str, server: str) -> None:
    """Check that this user lets simgit write to a cluster; see ``AllowedClusters.check``."""
    AllowedClusters().check(context, server)
