"""Maintenance: removes what is unreachable, joins what is small, gives back the space, checks all.

- ``gc``: garbage collection in two phases with a grace period, retention of attachments.
- ``compaction``: joins segments, array groups and index runs.
- ``fsck``: derives every oid again, follows every link, repairs.
- ``stats`` and ``size_log``: where the bytes are, and how the size went.
"""
