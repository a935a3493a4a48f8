"""Network file systems are recognised by the longest mount point that covers a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from simgit.storage.mounts import network_file_system

TABLE = r"""
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:40 / /home rw shared:5 - nfs4 server:/home rw
31 30 8:2 / /home/me/local rw - xfs /dev/sdb rw
32 22 0:41 / /mnt/with\040space rw - fuse.sshfs host: rw
33 22 0:42 / /mnt/disk rw - fuse.ntfs-3g /dev/sdc rw
34 22 0:43 / /twice rw - ext4 /dev/sdd rw
35 34 0:44 / /twice rw - cifs //host/share rw
36 22 0:45 / /mnt/c rw - 9p drvfs rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data", None),
        ("/home/me", "nfs4"),
        ("/home/me/local/store", None),
        ("/homeless", None),
        ("/mnt/with space/store", "fuse.sshfs"),
        ("/mnt/disk", None),
        ("/twice/store", "cifs"),
        ("/mnt/c/store", "9p"),
    ],
)
def test_the_longest_mount_point_counts(tmp_path: Path, path: str, kind: str | None) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    assert network_file_system(Path(path), table) == kind


def test_a_root_on_9p_is_a_sandbox(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("22 1 0:1 / / rw - 9p none rw")
    assert network_file_system(Path("/data"), table) is None


def test_without_a_table_nothing_is_said(tmp_path: Path) -> None:
    assert network_file_system(Path("/data"), tmp_path / "none") is None
