"""The application: routes, errors and the gate, over one open repository."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from simgit import __version__
from simgit.errors import SimgitError
from simgit.live.tracker import Tracker
from simgit.repository import Repository
from simgit.server.gate import Access, Gate
from simgit.server.problems import handle
from simgit.server.routes import ROUTERS
from simgit.server.routes.answered import add_answers
from simgit.server.service import Service
from simgit.server.static import Files
from simgit.server.static import router as page

_NONE: Final[Any] = dict.fromkeys(
    ("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False
)
"""Nothing is traced, whatever the environment says: no request leaves the machine."""


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Return the description, with what the routes answer."""
        if self.openapi_schema is None:
            add_answers(super().openapi())
        found: dict[str, Any] = super().openapi()
        return found


def application(
    repo: Repository,
    access: Access | None = None,
    tracker: Tracker | None = None,
    *,
    has_page: bool = True,
) -> FastAPI:
    """Return the application that serves a repository; the caller closes that.

    Args:
        repo: the repository; reading goes through a handle of its own that cannot write.
        access: who may do what; by default two new tokens, which ``app.state.service`` tells.
        tracker: who starts simulations, closed by the caller; None where nobody may.
        has_page: a browser is shown the page.
    """
    service = Service(repo, access or Access(), tracker)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            service.close()

    app = _Application(
        title="simgit",
        version=__version__,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        separate_input_output_schemas=False,
        telemetry=_NONE,  # of later versions; earlier ones ignore it
    )
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router, prefix="/v1")
    if has_page:
        app.include_router(page)
        app.add_middleware(Files)
    for error in (SimgitError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(error, handle)
    app.add_middleware(Gate, access=lambda: app.state.service.access)
    return app


def complete(app: FastAPI) -> None:
    """Have the routes made that FastAPI makes when a request asks for the last of them.

    That takes a quarter of a second, which the first viewer would wait for.
    """
    nowhere = {"type": "http", "method": "GET", "path": "/-", "root_path": "", "headers": []}
    for route in app.router.routes:
        route.matches({**nowhere})
