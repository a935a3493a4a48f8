"""Recorded runs as data to learn from: selection, batches, tables, files of other formats, SQL.

An observation stands beside the action that was chosen *from* it only where a docstring says so:
a recorded state holds the action that led *to* it.

- ``dataset``, ``definition``: the facade of a dataset; what it is, as a value with an oid.
- ``layout``, ``choice``, ``episode_table``: its states, each once; which count; its episodes.
- ``blocks``: columns of its states, block by block.
- ``batches``, ``sampling``, ``transforms``: transitions and sequences; draws; named changes.
- ``torch``, ``frames``: tensors and loaders; data frames of pandas and polars.
- ``arrow``, ``arrow_plan``, ``arrow_columns``: tables: their batches, their columns, their types.
- ``packages``: optional packages, imported when they are needed.
"""
