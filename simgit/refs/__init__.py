"""Refs: runs, tags and HEAD, and what is kept beside the objects.

- ``refs``, ``records``, ``names``: refs with their reflogs, their stored form, and their names.
- ``remotes``: remote-tracking refs.
- ``runs``, ``run_config``: runs and their configuration.
- ``attachments``, ``own_names``, ``settings``: objects bound to states, those of which each session
  has its own; settings of the repository.
- ``sessions``: the sessions that the metadata of runs name.
- ``revision``: names of a state or a range of states, such as ``main~3`` or ``main@200``.
- ``oplog``: the operation log, undo, and the repository as of an earlier operation.
- ``reflog_expiry``: removal of the oldest entries of reflogs.
"""
