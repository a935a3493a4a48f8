"""How consecutive states of a chain lie on disk: in columns."""
