"""Simulations as processes: started, watched, asked, paused, steered, stopped, forked, restarted.

- ``registry``: the types that can be started: functions of a control; ``built_in``: some of them.
- ``control``: what such a function is given; ``recorder``: its environment; ``forms``: questions.
- ``inputs``: where a simulation begins, and what reached it there before.
- ``tracker``: handles of simulations, and who starts and ends them; ``records``: what is known.
- ``render_process``: the process that restores and renders states for a server.
- ``child``: the process; ``channel``: how it is reached; ``inquiries``: how many are;
  ``processes``, ``usage``: processes.
- ``attached``: a script of one's own that becomes a simulation; ``demo``: one to look at.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simgit.errors import Stopped
    from simgit.live.attached import attach
    from simgit.live.control import Control, current
    from simgit.live.registry import types
    from simgit.live.tracker import Simulation, Tracker, find

__all__ = ["Control", "Simulation", "Stopped", "Tracker", "attach", "current", "find", "types"]
_LAZY = {
    "Control": "control", "Simulation": "tracker", "Stopped": "control", "Tracker": "tracker",
    "attach": "attached", "current": "control", "find": "tracker", "types": "registry",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'simgit.live' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(f"simgit.live.{_LAZY[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
