"""The routes, a module a subject."""

from typing import Final

from simgit.server.routes import about, runs

ROUTERS: Final = (about.router, runs.router)
"""Further modules are entered here."""
