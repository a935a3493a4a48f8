"""The routes, a module a subject."""

from typing import Final

from simgit.server.routes import (
    about,
    columns,
    events,
    jobs,
    objects,
    references,
    restored,
    runs,
    series,
    simulations,
    states,
    writing,
)

_SUBJECTS: Final = (
    about, columns, series, events, jobs, objects, references, restored, runs, simulations,
    states, writing,
)  # fmt: skip
ROUTERS: Final = tuple(module.router for module in _SUBJECTS)
"""Further modules are entered here."""
