"""Routes that write: each request is one operation, which can be undone."""

from __future__ import annotations

import asyncio
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, RootModel
from starlette.responses import Response

from simgit.errors import AlreadyExists, Conflict, InvalidInput, Untrusted
from simgit.live.inputs import CHECKPOINT, INPUT
from simgit.live.registry import names_code
from simgit.objects.json_form import parse_json, value_from_json
from simgit.objects.oid import Oid
from simgit.odb import foreign
from simgit.recording import stream
from simgit.refs import own_names
from simgit.refs.oplog.log import Operation
from simgit.refs.run_config import flat, is_within, nested
from simgit.refs.runs import HOOKS, SIMULATION
from simgit.refs.settings import is_of_user
from simgit.repository import Repository
from simgit.repository.jsonable import run_record, tag_record, to_jsonable
from simgit.server.answers import Route, check_match, reply
from simgit.server.gate import TYPES
from simgit.server.problems import Refused
from simgit.server.routes.runs import Status
from simgit.server.service import ONLY_PRESENT, Served
from simgit.server.shortened import operation_told

router = APIRouter(route_class=Route, tags=["writing"], dependencies=ONLY_PRESENT)
Values = dict[str, Any]
"""Stored values in the form of docs/json.md."""
UNPACKED: Final = 256 << 20
"""The most bytes of arrays in a body."""
_STATES: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"anyOf": [{"type": "object"}, {"type": "array"}]}},
            "application/x-ndjson": {"schema": {"type": "string"}},
            "application/x-npz": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_UPLOAD: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": {}},
        },
    }
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class NewRun(_Body):
    """A run to make: at a state, or without states (a preset) where no start is given."""

    name: str
    start: str | None = None
    overrides: Values = {}
    seed: Any = None
    metadata: Values = {}


class RunChange(_Body):
    """A change of a run; what is not named is kept."""

    name: str | None = None
    status: Status | None = None
    overrides: Values = {}
    unset: list[str] = []
    metadata: Values = {}
    labels: list[str] | None = None


class NewTag(_Body):
    """A tag to set."""

    at: str = "HEAD"
    message: str | None = None
    tagger: str = ""
    force: bool = False


class Settings(RootModel[dict[str, float | str | None]]):
    """Settings of the repository by name."""


class Which(_Body):
    """The operation to undo; without one the newest that is not undone."""

    operation: int | None = Field(default=None, ge=0)


async def _bytes_of(request: Request) -> bytes:
    return await request.body()


Sent = Annotated[bytes, Depends(_bytes_of)]


def _done(request: Request, repo: Repository, record: Values, status: int = 200) -> Response:
    """Return what was done, with the operation to undo."""
    more = {} if status != 201 else {"Location": request.scope["simgit.location"]}
    return reply(request, record | {"operation": repo.named_operation}, more, status)


# --- settings ---------------------------------------------------------------------------------


@router.patch("/settings")
def set_settings(request: Request, served: Served, given: Settings) -> Response:
    """Change settings of the repository; null restores a default."""
    with served.writing(request) as repo:
        for name in given.root:
            if is_of_user(name):
                raise Untrusted(
                    f"setting '{name}' names code, or where runs are sent, which nobody may do "
                    "over HTTP"
                )
        with repo.transaction():
            for name, value in given.root.items():
                repo.set_setting(name, value)
        return reply(request, repo.settings())


# --- runs ---------------------------------------------------------------------------------------


@router.post("/runs", status_code=201)
def create(request: Request, served: Served, given: NewRun) -> Response:
    """Make a run: a branch at a state, or one without states."""
    overrides, metadata = _overrides(given.overrides), _metadata(given.metadata)
    seed = value_from_json(given.seed)
    with served.writing(request) as repo:
        if given.start is not None:
            repo.branch(given.name, given.start, overrides=overrides, seed=seed, metadata=metadata)
        else:
            if given.name in repo.runs:
                raise AlreadyExists(f"run '{given.name}' exists", name=given.name)
            repo.recorder(given.name, config=overrides, seed=seed).close()
            if metadata:
                repo.configure(given.name, metadata=metadata)
        request.scope["simgit.location"] = f"/v1/runs/{quote(given.name)}"
        return _done(request, repo, run_record(repo.runs[given.name]), 201)


def _overrides(given: Values) -> dict[str, Any]:
    """Return settings of a run; a simulation that its user starts later may read code in them."""
    found: dict[str, Any] = value_from_json(given)
    for path, value in flat(nested(found)).items():
        for each in ("policy", "id", "environment.id", "command"):
            if is_within(path, each) and (each == "command" or names_code(each, value)):
                raise Untrusted(f"setting '{path}' names code, which nobody may do over HTTP")
    return found


def _metadata(given: Values) -> dict[str, Any]:
    """Return metadata of a run; what names code in it may not be given over HTTP."""
    found: dict[str, Any] = value_from_json(given)
    for key in (SIMULATION, HOOKS, INPUT, CHECKPOINT, "verdict"):
        if key in found:
            raise Untrusted(f"metadata '{key}' names code, which nobody may do over HTTP")
    return found


@router.patch("/runs/{name:path}")
def change(request: Request, served: Served, name: str, given: RunChange) -> Response:
    """Change name, status, settings or metadata of a run; If-Match is its newest state."""
    metadata = _metadata(given.metadata)
    if given.labels is not None:
        metadata["labels"] = given.labels
    overrides = _overrides(given.overrides)
    with served.writing(request) as repo:
        with repo.transaction():
            _check_tip(request, repo, name)
            if overrides or given.unset or metadata:
                repo.configure(name, overrides, unset=given.unset, metadata=metadata)
            if given.status is not None:
                repo.set_status(name, given.status)
            if given.name is not None and given.name != name:
                repo.rename_run(name, given.name)
        return _done(request, repo, run_record(repo.runs[given.name or name]))


@router.delete("/runs/{name:path}")
def delete(
    request: Request, served: Served, name: str, force: Annotated[bool, Query()] = False
) -> Response:
    """Delete a run; its states are kept until gc, and undo restores it."""
    with served.writing(request) as repo:
        with repo.transaction():
            _check_tip(request, repo, name)
            oid = repo.delete_run(name, force=force)
        return _done(request, repo, {"deleted": name, "oid": oid})


@router.delete("/runs")
def delete_some(
    request: Request, served: Served, where: Annotated[str, Query(min_length=1)]
) -> Response:
    """Delete the runs that fulfil a condition; If-Match says how many were shown."""
    if "if-match" not in request.headers:
        raise Refused(428, 'If-Match must say how many runs are meant, as in If-Match: "3"')
    with served.writing(request) as repo:
        with repo.transaction():
            names = [info.name for info in repo.runs.select(where)]
            check_match(request, "count", len(names))
            for name in names:
                repo.delete_run(name)
        return _done(request, repo, {"deleted": names})


def _check_tip(request: Request, repo: Repository, name: str) -> None:
    tip = repo.runs[name].oid
    check_match(request, "tip", None if tip is None else tip.hex())


# --- tags ---------------------------------------------------------------------------------------


@router.put("/tags/{name:path}")
def tag(request: Request, served: Served, name: str, given: NewTag) -> Response:
    """Tag a state, with an annotation if there is a message."""
    with served.writing(request) as repo:
        with repo.transaction():
            there = repo.tags().get(name)
            check_match(request, "tip", there[0].hex() if there else None)
            repo.tag(name, given.at, message=given.message, tagger=given.tagger, force=given.force)
        return _done(request, repo, tag_record(name, *repo.tags()[name]))


@router.delete("/tags/{name:path}")
def delete_tag(request: Request, served: Served, name: str) -> Response:
    """Delete a tag."""
    with served.writing(request) as repo:
        oid = repo.delete_tag(name)
        return _done(request, repo, {"deleted": name, "oid": oid})


# --- states -------------------------------------------------------------------------------------


@router.post("/states/{revision:path}", status_code=201, openapi_extra=_STATES)
def record(request: Request, served: Served, revision: str, data: Sent) -> Response:
    """Record states on a run: one as JSON, many as a JSON array or NDJSON, columns as npz.

    All of them or none. Their keys are those of 'commit --stdin'.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    name = revision
    states = [stream.fields_of(each) for each in _records(kind, data)]
    if not states:
        raise InvalidInput("no states are given")
    with served.writing(request) as repo:
        info = repo.runs.get(name)
        if info is not None and info.status == "completed":
            raise Conflict(
                f"run '{name}' is completed; PATCH its status to record on it", name=name
            )
        recorder = repo.recorder(
            name, flush_every=len(states) + 1, flush_seconds=None, flush_bytes=1 << 40
        )
        try:
            tip = recorder.tip
            check_match(request, "tip", None if tip is None else tip.hex())
            for index, fields in enumerate(states):
                try:
                    recorder.append(**fields)
                except InvalidInput as error:
                    path = vars(error).get("path")
                    raise InvalidInput(f"state {index}: {error}", index=index, path=path) from None
        except BaseException:
            recorder.discard("active" if info is None else info.status)
            if info is None:
                repo.delete_run(name, force=True)
            raise
        recorder.close("active" if info is None else info.status)
        newest = repo.runs[name]
        assert newest.oid is not None and newest.step is not None
        states_of = repo.trajectory(f"{newest.oid}")[-len(states) :]
        request.scope["simgit.location"] = f"/v1/states/{newest.oid}"
        record = {"run": name, "states": len(states), "oid": newest.oid, "step": newest.step}
        return _done(request, repo, record | {"oids": states_of.oids}, 201)


def _records(kind: str, data: bytes) -> Iterator[Any]:
    """Yield the records of a body.

    Raises:
        InvalidInput: it is malformed.
        Refused: it has no kind that states have, or is too large when it is unpacked.
    """
    if kind == "application/x-ndjson":
        for _, each in stream.read_records(io.BytesIO(data), "json"):
            yield each
    elif kind == "application/json":
        try:
            found = parse_json(data)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"body is not JSON: {error}") from None
        yield from found if isinstance(found, list) else [found]
    elif kind in ("application/x-npz", "application/zip"):
        yield from _rows(data)
    else:
        raise Refused(415, f"states must be JSON, NDJSON or npz, got '{kind}'", types=list(TYPES))


def _rows(data: bytes) -> Iterator[Any]:
    """Yield the states of columns: an array has a row a state, NAME.mask says what is absent."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(each.file_size for each in archive.infolist())
        if size > UNPACKED:
            raise Refused(413, f"arrays have {size} bytes, more than {UNPACKED}", limit=UNPACKED)
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            columns = {name: found[name] for name in found.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise InvalidInput(f"body is not npz: {error}") from None
    masks = {name: columns.pop(f"{name}.mask", None) for name in [*columns] if name in columns}
    lengths = {name: len(each) if each.ndim else -1 for name, each in columns.items()}
    if len({*lengths.values()}) > 1 or -1 in lengths.values():
        raise InvalidInput(f"columns must be equally long, got {lengths}")
    for row in range(next(iter(lengths.values()), 0)):
        state: Values = {}
        for name, column in columns.items():
            mask = masks.get(name)
            if mask is not None and mask[row]:
                continue
            *above, last = name.split(".")
            target = state
            for key in above:
                target = target.setdefault(key, {})
            value = column[row]
            target[last] = value.item() if last in _PLAIN and not above else value
        yield state


_PLAIN: Final = ("reward", "terminated", "truncated", "message", "reset", "seed", "time")


# --- attachments --------------------------------------------------------------------------------


@router.put("/attachments/{revision:path}", openapi_extra=_UPLOAD)
async def attach(
    request: Request, served: Served, revision: str, name: Annotated[str, Query(min_length=1)]
) -> Response:
    """Attach a body to a state: its bytes, or as JSON the values that it has.

    Snapshots, inputs and checkpoints of simulations cannot be given: they lead to code.
    """
    if own_names.base_name(name) in ("snapshot", "session") or name.startswith(
        (f"{INPUT}-", f"{CHECKPOINT}-")
    ):
        raise Untrusted(f"attachment '{name}' is read as code may be, and not taken over HTTP")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    with tempfile.NamedTemporaryFile(prefix="simgit-") as file:
        async for piece in request.stream():
            await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(file.flush)
        return await asyncio.to_thread(
            _attach, request, served, revision, name, Path(file.name), kind == "application/json"
        )


def _attach(
    request: Request, served: Served, revision: str, name: str, path: Path, is_json: bool
) -> Response:
    with served.writing(request) as repo:
        state = repo.resolve(revision)
        if is_json:
            try:
                data = parse_json(path.read_bytes())
            except (ValueError, RecursionError) as error:
                raise InvalidInput(f"body is not JSON: {error}") from None
            oid = repo.attach(state, name, data)
        else:
            oid = repo.attach(state, name, path=path)
        # a snapshot, for instance, can have a pickle: it is loaded only after 'simgit trust'
        with repo.odb.storage.write() as txn:
            foreign.mark(txn, txn.get("attachments", state + name.encode()) or b"")
        return _done(request, repo, {"state": state, "name": name, "oid": oid})


@router.delete("/attachments/{revision:path}")
def detach(
    request: Request, served: Served, revision: str, name: Annotated[str, Query(min_length=1)]
) -> Response:
    """Remove an attachment."""
    with served.writing(request) as repo:
        oid = repo.detach(revision, name)
        return _done(request, repo, {"deleted": name, "oid": oid})


@router.post("/reattach/{binding}")
def reattach(request: Request, served: Served, binding: str) -> Response:
    """Bind again what was detached; 'changes' tells the oid of the binding."""
    with served.writing(request) as repo:
        state = repo.reattach(Oid.from_hex(binding))
        return _done(request, repo, {"state": state, "binding": binding})


# --- operations ---------------------------------------------------------------------------------


@router.post("/undo")
def undo(request: Request, served: Served, given: Which | None = None) -> Response:
    """Undo an operation; If-Match is the number of the newest."""
    with served.writing(request) as repo:
        _check_newest(request, repo)
        return _reverted(request, repo, "undone", repo.undo(given.operation if given else None))


@router.post("/redo")
def redo(request: Request, served: Served) -> Response:
    """Redo what was undone last."""
    with served.writing(request) as repo:
        _check_newest(request, repo)
        return _reverted(request, repo, "redone", repo.redo())


@router.post("/restore/{operation}")
def restore(request: Request, served: Served, operation: str) -> Response:
    """Make runs, tags, HEAD and attachments what they were after an operation."""
    with served.writing(request) as repo:
        _check_newest(request, repo)
        repo.restore_operation(operation)
        return _reverted(request, repo, "restored", operation)


def _check_newest(request: Request, repo: Repository) -> None:
    newest = repo.operations(1)
    check_match(request, "newest", newest[0].number if newest else 0)


def _reverted(request: Request, repo: Repository, verb: str, what: Any) -> Response:
    number = repo.named_operation
    changed = [] if number is None else to_jsonable(repo.changes(number))
    told = operation_told(what) if isinstance(what, Operation) else what
    return _done(request, repo, {verb: told, "changed": changed})
