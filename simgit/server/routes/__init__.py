"""The routes, a module a subject."""

from typing import Final

from simgit.server.routes import about, columns, events, objects, references, runs, states

ROUTERS: Final = tuple(
    module.router for module in (about, columns, events, objects, references, runs, states)
)
"""Further modules are entered here."""
