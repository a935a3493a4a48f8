"""Maintenance: removes unreachable objects, joins small pieces, checks and repairs.

- ``gc``: garbage collection in two phases with a grace period, retention of attachments.
- ``compaction``: joins segments, array groups and index runs.
- ``background``: both in short slices, after what was written.
- ``fsck``: derives every oid again, follows every link, repairs.
- ``stats`` and ``size_log``: where the bytes are, how the size went, and which maintenance is due.
"""
