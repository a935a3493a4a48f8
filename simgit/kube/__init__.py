"""SimKube: traces, the deterministic cluster that replays them, and the task of an agent on it.

- ``trace``: trace files, edited, compared, validated.
- ``embedded``: a model of the control plane; ``simulation``: a trace replayed on it.
- ``cluster``, ``observation``: what a cluster offers, and what is seen of it.
- ``task``: actions, rewards, state vectors and scenarios.

Nothing here imports the store, gymnasium, torch or a Kubernetes client.
"""
