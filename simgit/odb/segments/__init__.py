"""Segments: how consecutive states of a chain lie on disk, in columns.

- ``lines``, ``header``: chains without a fork, and the segments along them.
- ``block``: rows as compressed planes; ``array_groups``, ``array_codec``: their large arrays.
- ``index``, ``elias_fano``: from an oid to its candidates; the coding of the index's pages.
- ``batch``, ``state_store``, ``reader``: writing states, and reading them verified.
- ``join``, ``truncate``, ``totals``: joining small segments, removing states; sums of rows.
"""
