"""SimKube: traces, a deterministic cluster that replays them, and an agent's task on it.

- ``trace``: trace files: read, write, edit, compare, validate.
- ``embedded``: a model of the control plane; ``simulation``: the replay of a trace on it;
  ``recorded_lifetimes``: how long its pods run; ``dry_run``: the objects that it would refuse.
- ``cluster``, ``observation``: the interface of a cluster, and counts of its pods.
- ``task``: actions, rewards, state vectors, scenarios and the agent's loop.
- ``hooks``: programs of the user's that run before and after a simulation or a training.
- ``manifest``, ``quantity``: Kubernetes objects as plain data, and their amounts.

Nothing here imports the store, gymnasium, torch or a Kubernetes client.
"""
