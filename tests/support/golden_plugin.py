"""The pytest plugin of simgit, also where simgit was installed before it had one."""

from __future__ import annotations

from importlib import metadata
from typing import Final

PLUGIN: Final = "simgit.integrations.pytest_plugin"


def plugin_arguments() -> list[str]:
    """Return the options that load the plugin, none where pytest finds its entry point."""
    found = metadata.entry_points(group="pytest11", name="simgit")
    return [] if any(each.value == PLUGIN for each in found) else ["-p", PLUGIN]
