"""Segments: how consecutive states of a chain lie on disk, in columns.

- ``lines``, ``header``: chains without a fork, and the segments along them.
- ``block``: rows as compressed planes; ``array_groups``, ``array_codec``: their large arrays.
- ``index``, ``index_page``: from an oid to its candidates.
- ``append``, ``state_store``, ``reader``: writing states, and reading them verified.
- ``compact``, ``truncate``, ``totals``: joining, removing, and sums of what is stored.
"""
