"""A real cluster: simulations on the control plane that a kubeconfig names.

``api`` is the one door to the ``kubernetes`` package: calls with retries and a time limit, as
plain JSON. Everything above it speaks of objects, and knows no connection.

- ``driver``: the interface of what replays traces, and its settings. ``simulation`` does it by
  SimKube, ``replay`` by itself: ``stages`` plays the kubelet of virtual ``nodes`` (``stage_files``
  reads KWOK's configuration).
- ``cluster``: the cluster as simulations see it; ``watching``: copies of collections.
- ``lease``: one session at a time; ``cleanup``: what sessions created, and its removal.
- ``preflight``: what a cluster lacks; ``delivery``: how SimKube's driver gets a trace.
"""

from __future__ import annotations
