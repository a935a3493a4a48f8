"""Errors as problems (RFC 9457): ``type`` is the class's name, its attributes are members."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from simgit import errors
from simgit.repository.jsonable import error_data, json_text
from simgit.server.shortened import shortened

MEDIA: Final = "application/problem+json"
STATUS: Final[Mapping[type[Exception], int]] = {
    errors.NotFound: 404, errors.Missing: 404, errors.AlreadyExists: 409, errors.Conflict: 409,
    errors.Divergence: 409, errors.Untrusted: 403, errors.InvalidInput: 422,
    errors.IntegrityError: 500, errors.FormatError: 501, errors.StorageFullError: 507,
    errors.StorageError: 503, errors.ClusterError: 502, errors.TransportError: 502,
    errors.TimedOut: 504, errors.SimgitError: 500,
}  # fmt: skip
"""Classes of the error tree to status codes; a class has that of the nearest above it."""
_KINDS: Final[Mapping[int, str]] = {
    400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found",
    405: "Method not allowed", 406: "Not acceptable", 409: "Conflict", 412: "Precondition failed",
    413: "Content too large", 415: "Unsupported media type", 416: "Range not satisfiable",
    422: "Invalid input", 429: "Too many requests", 504: "Gateway timeout",
}  # fmt: skip
"""What the rules of HTTP refuse, in the words that every version of Python answers with."""
_OWN: Final = ("type", "title", "status", "detail", "instance")


class Refused(HTTPException):
    """A request that is refused by the rules of HTTP, with further members of the problem."""

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        """Note why."""
        super().__init__(status, detail, headers)
        self.members = members


def problem(
    status: int,
    kind: str,
    title: str,
    detail: str,
    members: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem as a response."""
    more = {name: value for name, value in members.items() if name not in _OWN}
    record = {"type": kind, "title": title, "status": status, "detail": detail, **more}
    record = shortened(record)
    found = {"Cache-Control": "no-store", **(headers or {})}
    return Response(json_text(record), status, found, MEDIA)


def status_of(error: Exception) -> int:
    """Return the status code of an error of the tree."""
    return next(STATUS[each] for each in type(error).__mro__ if each in STATUS)


def of_error(error: Exception) -> Response:
    """Return what is answered where an error is raised."""
    if isinstance(error, errors.SimgitError):
        title = (type(error).__doc__ or "").partition("\n")[0]
        return problem(status_of(error), type(error).__name__, title, str(error), error_data(error))
    if isinstance(error, RequestValidationError):
        found = [
            {"place": ".".join(map(str, each["loc"])), "message": each["msg"]}
            for each in error.errors()
        ]
        first = found[0]
        detail = errors.visible(f"{first['place']}: {first['message']}")
        title = "A request that is not as the API describes it."
        return problem(422, "InvalidInput", title, detail, {"errors": found})
    if isinstance(error, HTTPException):
        if isinstance(error.__cause__, errors.SimgitError):
            return of_error(error.__cause__)
        title = _KINDS.get(error.status_code, "Error")
        kind = title.title().replace(" ", "")
        members = getattr(error, "members", {})
        detail = errors.visible(str(error.detail))
        return problem(error.status_code, kind, title, detail, members, error.headers)
    traceback.print_exception(error, file=sys.stderr)
    return problem(
        500, "InternalServerError", "A defect of simgit.", "see what the server printed", {}
    )


async def handle(_: Request, error: Exception) -> Response:
    """Answer an error; for FastAPI."""
    return of_error(error)
