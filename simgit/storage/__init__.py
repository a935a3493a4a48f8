"""Storage: ordered tables of bytes, the seam between simgit and the disk.

- ``base``: the seam, and what every implementation guarantees; ``memory``, ``lmdb``: the two.
- ``watched``, ``overlay``: transactions around another one: told of changes, or kept in memory.
- ``directory``, ``datafile``, ``mounts``: what is checked before a store is opened.
- ``durable``, ``interrupts``, ``limits``, ``failpoints``: power cuts, Ctrl-C, time, tests.
"""
