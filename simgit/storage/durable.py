"""Durable files and directories: they survive a power cut once these functions have returned."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from simgit.storage import regular


def sync(path: Path) -> None:
    """Wait until a file's bytes, or the entries of a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_names(directory: Path) -> None:
    """Sync a directory, where its file system can do that."""
    with contextlib.suppress(OSError):
        sync(directory)


def is_special(path: Path) -> bool:
    """Return True for a device, a pipe or a socket, which must never be replaced."""
    return path.exists() and not (path.is_file() or path.is_dir())


def write(path: Path, data: bytes) -> None:
    """Write a file: after a crash it has all of the data, or is as it was."""
    regular.replace(path, data, durable=True)
    sync_names(path.parent)


def make_directories(path: Path) -> None:
    """Make a directory and those above it that are missing."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_names(each.parent)
