"""Recorded runs as data to learn from: selection, batches, tables, files of other formats, SQL.

An observation stands beside the action that was chosen *from* it only where a docstring says so:
a recorded state holds the action that led *to* it.
"""
