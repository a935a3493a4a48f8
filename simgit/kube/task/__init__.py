"""The task of an agent, and its loop of action, replay, observation and reward.

- ``task``: the parameters of a task; ``loop``: one episode; ``cluster_setup``: nodes and faults.
- ``actions``, ``reward``, ``vectors``, ``scenarios``: named functions; a new one is written
  there under the decorator of its ``registry``.
- ``resources``: what a workload requests; ``catalogue``: where traces come from.
"""
