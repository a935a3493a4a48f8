"""Errors as the API server answers them: a ``Status`` object with code, reason and message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from simgit.testing.apiserver.resources import ApiResource

Cause = tuple[str, str, str]
"""(field, reason, message) of a field that validation refuses."""


class StatusError(Exception):
    """An answer that is an error; ``headers`` go with it."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.headers = code, dict(headers or {})
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({"details": details} if details else {}),
            "code": code,
        }


def not_found(resource: ApiResource, name: str) -> StatusError:
    """404 for an object."""
    return StatusError(
        404, "NotFound", f'{resource.full} "{name}" not found', details=_of(resource, name)
    )


def exists(resource: ApiResource, name: str) -> StatusError:
    """409 for a name that is taken."""
    message = f'{resource.full} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, details=_of(resource, name))


def conflict(resource: ApiResource, name: str, why: str = "") -> StatusError:
    """409 for an update of an older version."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try "
        "again"
    )
    message = f'Operation cannot be fulfilled on {resource.full} "{name}": {why}'
    return StatusError(409, "Conflict", message, details=_of(resource, name))


def forbidden(resource: ApiResource, name: str, why: str, *causes: Cause) -> StatusError:
    """403, by authorization or by admission."""
    told = f' "{name}"' if name else ""
    details = {**_of(resource, name), **({"causes": _causes(causes)} if causes else {})}
    return StatusError(
        403, "Forbidden", f"{resource.full}{told} is forbidden: {why}", details=details
    )


def invalid(resource: ApiResource, name: str, causes: Sequence[Cause]) -> StatusError:
    """422 with a cause for each field."""
    told = [f"{field}: {message}" if field else message for field, _, message in causes]
    joined = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = {"name": name, "group": resource.group, "kind": resource.kind}
    return StatusError(
        422,
        "Invalid",
        f'{kind} "{name}" is invalid: {joined}',
        details={**details, "causes": _causes(causes)},
    )


def bad_request(message: str) -> StatusError:
    """400."""
    return StatusError(400, "BadRequest", message)


def expired(message: str) -> StatusError:
    """410: the history does not reach back so far."""
    return StatusError(410, "Expired", message)


def unauthorized() -> StatusError:
    """401."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def as_bytes(value: Any) -> bytes:
    """Return JSON as the server sends it: compact, characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _of(resource: ApiResource, name: str) -> dict[str, str]:
    group = {"group": resource.group} if resource.group else {}
    return {"name": name, **group, "kind": resource.plural}


def _causes(causes: Sequence[Cause]) -> list[dict[str, str]]:
    return [
        {"reason": reason, "message": message, "field": field} for field, reason, message in causes
    ]
