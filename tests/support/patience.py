"""How long tests wait for what has to happen."""

from __future__ import annotations

import os
from typing import Final

PATIENCE: Final = float(os.environ.get("SIMGIT_PATIENCE", "300"))
"""Seconds after which something is taken to hang: far more than anything takes on a busy machine.

No test asserts with it that something is quick; it only ends what would never end.
"""
