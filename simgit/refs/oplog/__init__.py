"""The operation log: the changes of each command, undo and redo, and refs as of a moment.

- ``log``: operations as they are stored; ``journal``: writes one in each transaction.
- ``undo``: undo, redo, restore; ``as_of``: the refs of an earlier moment.
"""
