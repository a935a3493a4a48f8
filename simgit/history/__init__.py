"""Reading: states, trajectories, columns, logs, conditions, differences.

- ``state``, ``trajectory``: one recorded moment; states of a run as NumPy columns.
- ``columns``, ``array_columns``, ``step_range``: how columns are read.
- ``windows``, ``summary``: windows and transitions for training; how a trajectory is shown.
- ``log``, ``where``, ``where_values``: the log, and conditions such as ``reward > 0``.
- ``diff``, ``bisect``: how values and runs differ; the first state that does.
"""
