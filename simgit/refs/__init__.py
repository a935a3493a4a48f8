"""Refs: runs, tags and HEAD, and what is kept beside the objects.

- ``refs``, ``records``, ``names``: refs with their reflogs, as they are stored, and named.
- ``runs``, ``run_config``: runs and their configuration.
- ``attachments``, ``settings``: objects bound to states; settings of the repository.
- ``revision``: what people write for a state or a range of states.
- ``oplog``: the operation log, undo, and the repository as it was.
- ``reflog_expiry``: the oldest entries of reflogs expire.
"""
