"""Maintenance: remove unreachable objects, join small pieces, give space back, check everything.

- ``gc``: garbage collection in two phases with a grace period, retention of attachments.
- ``compaction``: joins segments, array groups and index runs.
- ``fsck``: recomputes every hash, follows every link, repairs.
- ``stats``, ``size_log``: the bytes by kind, run and column; the size over time.
"""
