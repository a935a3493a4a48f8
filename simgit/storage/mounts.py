"""Detection of network file systems, on which LMDB must not write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")

_NETWORK: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs"}
    | {"nfs", "nfs4", "orangefs", "pvfs2", "smb", "smb2", "smb3", "smbfs", "v9fs"}
)
_FUSE: Final = frozenset(
    {"afpfs", "ceph-fuse", "curlftpfs", "davfs2", "gcsfuse", "glusterfs", "goofys", "juicefs"}
    | {"mount-s3", "rclone", "s3fs", "smbnetfs", "sshfs"}
)


def network_file_system(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the type of the network file system that a path lies on, or None if it is local.

    None also where that is unknown (the table of mounts exists on Linux only).
    """
    try:
        table = mounts.read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    place, kind = _mount_of(path.resolve(), table)
    if kind == "9p" and not place:  # a sandbox's own root, not a share
        return None
    return kind if _is_network(kind) else None


def _mount_of(path: Path, table: str) -> tuple[str, str]:
    """Return where what a path lies on is mounted, '' for the root, and its type.

    It is done at every opening of a repository: as text, since paths would take milliseconds.
    """
    best, kind, within = "", "", f"{path}/"
    for line in table.split("\n"):
        before, _, after = line.partition(" - ")
        if not after:
            continue
        place = _unescape(before.split(maxsplit=5)[4]).rstrip("/")
        # a later mount covers an earlier
        if len(place) >= len(best) and within.startswith(f"{place}/"):
            best, kind = place, after.split(maxsplit=1)[0]
    return best, kind


def _is_network(kind: str) -> bool:
    base, _, sub = kind.partition(".")
    return kind in _NETWORK or (base == "fuse" and sub in _FUSE)


def _unescape(field: str) -> str:
    if "\\" not in field:
        return field
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
