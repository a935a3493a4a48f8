"""Reading: states, trajectories, columns, logs, conditions, differences.

- ``state``, ``trajectory``: one recorded moment; states of a run as NumPy columns.
- ``column_reader``, ``array_reader``: fields of many states as NumPy columns.
- ``leaf_column``: one column, and what stands where a state has no value.
- ``paths``: where a path of a field leads, in a schema and inside values.
- ``step_range``: where the states of a range of steps lie.
- ``block_bounds``: what summaries say of a block.
- ``buckets``: fields of long histories as curves.
- ``windows``, ``spans``, ``summary``: windows and transitions for training; which states each is
  of; summaries for display.
- ``planned_columns``: columns that are read by plans of a longer range.
- ``log``, ``where``, ``where_values``: the log, and conditions such as ``reward > 0``.
- ``diff``, ``bisect``: differences of values and runs; the first state in which two runs differ.
"""
