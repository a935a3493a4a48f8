"""Garbage collection: expire logs, remove unreachable objects, compact the store.

- ``roots``, ``mark``: the roots of reachability, and all objects reachable from them.
- ``plan``, ``sweep``, ``run``: the objects to remove, their removal, and both as one command.
- ``retention``: rules that thin out attachments.
- ``unreachable``: the objects that can still be restored, and until when.
"""
