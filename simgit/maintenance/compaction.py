"""Compaction: joins segments, array groups and index runs that were written in small pieces,
and adds the summaries that are missing.

No oid and no location changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from simgit.odb.database import ObjectDatabase
from simgit.odb.segments import summaries
from simgit.odb.segments.index_runs import ARRAYS, STATES
from simgit.odb.segments.join import (
    begin_join,
    go_on_joining,
    headers,
    join_groups,
    join_segments,
    joinable,
)

Progress = Callable[[int, int], None]
"""Called with the number of lines that are done, and of all lines."""
_TOGETHER: Final = 64
"""The most summaries that are computed in one transaction: writers wait some 50 ms."""


def consolidate(
    odb: ObjectDatabase, progress: Progress | None = None, *, aggressive: bool = False
) -> int:
    """Join small segments, array groups and index runs; return how many groups were joined.

    With ``aggressive`` also segments that are not small, which compresses them better. Each join is
    a transaction of its own, so that writers wait only shortly.
    """
    joined = 0
    with odb.read() as txn:
        lines = [int.from_bytes(key, "big") for key, _ in txn.scan("lines")]
    for done, line in enumerate(lines):
        joined += _consolidate_line(odb, line, aggressive)
        if progress is not None:
            progress(done + 1, len(lines))
    for kind in (STATES, ARRAYS):
        _join_index(odb, kind)
    return joined


def _join_index(odb: ObjectDatabase, kind: int) -> None:
    index = odb.states.index
    with odb.write() as txn:
        more = begin_join(index, txn, kind)
    while more:
        with odb.write() as txn:
            more = go_on_joining(index, txn, kind)


def count_segments(odb: ObjectDatabase) -> int:
    """Return the number of segments."""
    with odb.read() as txn:
        return txn.count("segments")


def _consolidate_line(odb: ObjectDatabase, line: int, aggressive: bool) -> int:
    """Join the segments and array groups of a line; return the number of joined groups."""
    with odb.read() as txn:
        work = joinable(list(headers(txn, line)), all_sizes=aggressive)
    for segments in work:
        with odb.write() as txn:
            # somebody may have joined or continued them meanwhile: look again
            first, end = segments[0].step, segments[-1].end
            current = [h for h in headers(txn, line) if first <= h.step < end]
            if [h.step for h in current] == [h.step for h in segments]:
                join_segments(odb.states, txn, current)
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
