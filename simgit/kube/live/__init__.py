"""A real cluster: simulations on the control plane that a kubeconfig names.

``api`` is the one door to the ``kubernetes`` package: calls with retries and a time limit, as
plain JSON. Everything above it speaks of objects, and knows no connection.
"""

from __future__ import annotations
