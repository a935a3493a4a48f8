"""Garbage collection: expires logs, removes unreachable objects, compacts the store.

- ``roots``, ``mark``: where reachability begins, and what is reachable.
- ``plan``, ``sweep``, ``run``: what is to be removed, removing it, and both as one command.
- ``retention``: rules that thin out attachments.
- ``unreachable``: what can still be brought back, and until when.
"""
