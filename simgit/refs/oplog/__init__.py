"""The operation log: what each command changed, undo and redo, and refs as they were.

- ``log``: operations as they are stored; ``journal``: writes one in each transaction.
- ``undo``: undo, redo, restore; ``as_of``: the refs of an earlier moment.
"""
