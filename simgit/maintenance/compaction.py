"""Compaction: joins segments, array groups and index runs that were written in small pieces,
and adds the summaries that are missing.

No oid and no location changes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from simgit.errors import StorageFullError
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments import summaries
from simgit.odb.segments.index_merge import give_up_merges
from simgit.odb.segments.index_runs import ARRAYS, STATES
from simgit.odb.segments.join import (
    begin_join,
    go_on_joining,
    headers,
    join_groups,
    join_segments,
    joinable,
)
from simgit.storage.base import make_room

Progress = Callable[[int, int], None]
"""Called with the number of lines that are done, and of all lines."""
_TOGETHER: Final = 64
"""The most summaries that are computed in one transaction: writers wait some 50 ms."""


LARGE_ROWS: Final = 1 << 22
"""About as many states are written anew in one gc to compress them better: some ten seconds."""


def consolidate(
    odb: ObjectDatabase, progress: Progress | None = None, *, aggressive: bool = False
) -> int:
    """Join small segments, array groups and index runs; return how many groups were joined.

    Segments that are not small are joined too, as far as that takes not long, or all of them with
    ``aggressive``. Each join is a transaction of its own, so that writers wait only shortly.
    """
    joined, left = 0, sys.maxsize if aggressive else LARGE_ROWS
    with odb.read() as txn:
        lines = [int.from_bytes(key, "big") for key, _ in txn.scan("lines")]
    for done, line in enumerate(lines):
        left -= _join_segments(odb, line, left)
        joined += _consolidate_line(odb, line)
        if progress is not None:
            progress(done + 1, len(lines))
    for kind in (STATES, ARRAYS):
        _join_index(odb, kind)
    return joined


def _join_index(odb: ObjectDatabase, kind: int) -> None:
    """Join the index runs of a kind; where it does not fit on the disk, leave them as they were."""
    index = odb.states.index
    with odb.write() as txn:
        more = begin_join(index, txn, kind)
    try:
        while more:
            with odb.write() as txn:
                more = go_on_joining(index, txn, kind)
    except StorageFullError:
        make_room(odb.storage, lambda: _give_up(odb, kind))
        raise


def _give_up(odb: ObjectDatabase, kind: int) -> None:
    with odb.write() as txn:
        give_up_merges(txn, kind)


def count_segments(odb: ObjectDatabase) -> int:
    """Return the number of segments."""
    with odb.read() as txn:
        return txn.count("segments")


def _join_segments(odb: ObjectDatabase, line: int, most: int) -> int:
    """Join the segments of a line, large ones of about so many rows; return how many these had."""
    with odb.read() as txn:
        found = list(headers(txn, line))
    work, large, at = [], 0, 0
    for segments in joinable(found, all_sizes=True):
        if large >= most:
            break
        work.append(segments)
        large, at = large + segments[-1].end - segments[0].step, segments[-1].end
    else:
        found = []
    for segments in [*work, *joinable([header for header in found if header.step >= at])]:
        with odb.write() as txn:
            # somebody may have joined or continued them meanwhile: look again
            first, end = segments[0].step, segments[-1].end
            current = [h for h in headers(txn, line) if first <= h.step < end]
            if [h.step for h in current] == [h.step for h in segments]:
                join_segments(odb.states, txn, current)
    return large


def _consolidate_line(odb: ObjectDatabase, line: int) -> int:
    """Join the array groups of a line, and summarise it; return the number of joined groups."""
    _summarise_line(odb, line)
    joined = 0
    with odb.read() as txn:
        found = [h for h in headers(txn, line) if odb.schema(txn, h.schema).arrays]
    for header in found:
        with odb.write() as txn:
            joined += join_groups(odb.states, txn, header)
    return joined


def _summarise_line(odb: ObjectDatabase, line: int) -> None:
    """Store the summaries that a line lacks, some in a transaction."""
    with odb.read() as txn:
        missing = summaries.unsummarised(txn, line)
    for at in range(0, len(missing), _TOGETHER):
        with odb.write() as txn:
            for block in missing[at : at + _TOGETHER]:
                summaries.summarise(odb.states, txn, line, block)
