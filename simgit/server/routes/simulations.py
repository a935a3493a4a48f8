"""Routes of simulations: types, starting, what people ask of them, questions and answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from simgit.errors import InvalidInput, without_folders, word_without_folders
from simgit.live.inputs import inputs_of
from simgit.live.kept_usage import thinned, usage_of
from simgit.live.records import Records
from simgit.live.tracker import Simulation, Tracker
from simgit.live.usage import COLUMNS
from simgit.live.views import record, view
from simgit.objects.json_form import value_to_json
from simgit.refs.simulations import MOST_PRIORITY
from simgit.repository import Repository
from simgit.server.answers import MOST, After, Limit, Route, page, past, reply
from simgit.server.problems import Refused
from simgit.server.service import ONLY_PRESENT, Present, Served, Service
from simgit.server.shortened import explained, shortened

router = APIRouter(route_class=Route, tags=["simulations"], dependencies=ONLY_PRESENT)
WEB = "the page or the HTTP API"
Run = Annotated[str, Path(description="The name of the run.")]
Seconds = Annotated[float, Field(ge=0, le=60)]


class Start(BaseModel):
    """A simulation to start: a type, a preset, or an ended run to be continued."""

    model_config = ConfigDict(extra="forbid")
    type: str | None = None
    preset: str | None = None
    run: str | None = None
    at: str | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)
    seed: int | None = None
    queue: bool = False
    priority: Annotated[int, Field(ge=0, le=MOST_PRIORITY)] = 0


class Ask(BaseModel):
    """A request to a simulation; which members count depends on what it is."""

    model_config = ConfigDict(extra="forbid")
    timeout: Seconds = 10.0
    overrides: dict[str, Any] = Field(default_factory=dict)
    name: str | None = None
    argument: Any = None


class Answer(BaseModel):
    """An answer to a simulation's question."""

    model_config = ConfigDict(extra="forbid")
    value: dict[str, Any]
    question: int | None = None


@router.get("/types")
def types(request: Request, repo: Present, served: Served) -> Response:
    """List the types of simulations that can be started here, with the forms of their settings.

    The forms are for those who may start one: they are read from the types' modules.
    """
    may_start = served.tracker is not None and request.scope.get("simgit.level") == "full"
    found = served.types.records(repo, loads=may_start)
    if request.scope.get("simgit.level") != "full":
        found = [{**each, "path": word_without_folders(each["path"])} for each in found]
    return reply(request, found)


@router.get("/simulations")
def simulations(
    request: Request,
    repo: Present,
    phase: str | None = None,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """List the simulations with phase, progress, questions and usage."""
    chosen = [
        run
        for run, each in Records(repo).all().items()
        if phase in (None, "ended" if each.is_over else each.phase)
    ]
    left = past(chosen, after, str)
    rows = [_told(repo, Simulation(repo, run)) for run in left[: limit + 1]]
    return page(request, rows, limit, lambda row: row["run"])


@router.get("/simulations/{run:path}")
def simulation(request: Request, repo: Present, run: Run) -> Response:
    """Return what is known of the simulation of a run."""
    return reply(request, _told(repo, Simulation(repo, run)))


@router.get("/lines/{run:path}")
def lines(
    request: Request,
    repo: Present,
    run: Run,
    after: Annotated[int, Query(ge=0, le=1 << 62, description="What 'next' was before.")] = 0,
    last: Annotated[
        int | None, Query(ge=1, le=MOST, description="The last lines instead, so many at most.")
    ] = None,
) -> Response:
    """Return lines of a simulation's log, and where the next ones begin.

    Who shows the end asks for 'last', then for what comes 'after'. Not both: 422. A view token
    sees of absolute paths, such as those of a traceback, the last name only.
    A run that is restarted has another 'execution', whose log begins at 0.
    """
    one = Simulation(repo, run)
    execution = one.record.execution
    if last is not None and after:
        raise InvalidInput("lines come 'after' a place, or are the 'last' ones: not both")
    found, place = one.lines(after) if last is None else one.tail(last)
    if request.scope.get("simgit.level") != "full":
        found = [*map(without_folders, found)]
    return reply(request, {"lines": found, "next": place, "execution": execution})


@router.get("/usage/{run:path}")
def usage(
    request: Request,
    repo: Present,
    run: Run,
    most: Annotated[int, Query(ge=1, le=100_000, description="Most samples.")] = 1000,
) -> Response:
    """Return what a run's simulations took of the machine: columns of samples, one each 2 s.

    Where there are more than ``most``, the highest of neighbours stand for them. ``time`` is in
    seconds since 1970, ``cpu`` in percent of a processor, the rest but ``step`` and ``threads`` in
    bytes.
    """
    found = thinned(usage_of(repo, run), most).T.tolist()
    return reply(request, dict(zip(COLUMNS, found, strict=True)))


@router.get("/inputs/{run:path}")
def inputs(
    request: Request,
    repo: Present,
    run: Run,
    step: Annotated[
        int | None, Query(ge=0, le=1 << 62, description="Only what applies up to this state.")
    ] = None,
) -> Response:
    """List the answers and changed settings of a simulation, and the settings in force after them.

    Each has the step of the first state that it applies to; a change also has 'before': what the
    settings were, by dotted names. The settings are those of the run and what was changed while
    it ran, without the defaults of its type.
    """
    found, config = inputs_of(repo, repo.runs[run].name, step)
    told = [{"kind": each.kind, "from": each.position, **each.data} for each in found]
    return reply(request, value_to_json({"inputs": told, "config": config}))


@router.post("/simulations", status_code=201)
def start(request: Request, served: Served, given: Start) -> Response:
    """Start a simulation, queue it, fork one at a state, or let one that has ended go on."""
    tracker = _tracker(served)
    fresh = given.type is not None or given.preset is not None or given.at is not None
    if not fresh:
        if given.run is None:
            raise InvalidInput("a simulation needs a type, a preset, a state or a run")
        if given.overrides or given.seed is not None:
            raise InvalidInput("a run that is continued keeps its settings: fork it with 'at'")
        one = tracker.restart(given.run, queue=given.queue, priority=given.priority, is_remote=True)
        return _shown(request, tracker.repo, one, 201)
    options: dict[str, Any] = {
        "at": given.at, "preset": given.preset, "config": given.overrides, "seed": given.seed,
        "is_remote": True,
    }  # fmt: skip
    if given.queue:
        one = tracker.queue(given.type, given.run, priority=given.priority, **options)
    else:
        one = tracker.start(given.type, given.run, **options)
    return _shown(request, tracker.repo, one, 201)


@router.delete("/simulations")
def clear(
    request: Request, served: Served, phase: Literal["queued", "ended"] = "ended"
) -> Response:
    """Take all simulations out of the queue, or forget those that have ended; runs stay."""
    tracker = _tracker(served)
    if phase == "ended":
        return reply(request, {"forgotten": tracker.clear()})
    count = 0
    for run, each in Records(tracker.repo).all().items():
        if each.phase == "queued":
            Simulation(tracker.repo, run).stop(by=WEB)
            count += 1
    return reply(request, {"taken": count})


@router.post("/simulations/{what}/{run:path}")
def ask(
    request: Request,
    served: Served,
    what: Literal["stop", "kill", "pause", "resume", "freeze", "set", "query"],
    run: Run,
    given: Ask,
) -> Response:
    """Ask something of a simulation; return what came of it."""
    one = Simulation(_tracker(served).repo, run)
    if what == "stop":
        return reply(request, {"outcome": one.stop(given.timeout, by=WEB)})
    if what == "kill":
        return reply(request, {"outcome": one.kill(by=WEB)})
    if what == "pause":
        return reply(request, {"step": one.pause(given.timeout, by=WEB)})
    if what == "set":
        return reply(request, {"from": one.configure(given.overrides, given.timeout, by=WEB)})
    if what == "query":
        if given.name is None:
            raise InvalidInput("a query needs its name", path="name")
        return reply(request, one.query_at(given.name, given.argument, given.timeout))
    if what == "resume":
        one.resume(given.timeout)
    else:
        one.freeze()
    return _shown(request, served.reader, one)


@router.get("/questions")
def questions(request: Request, repo: Present) -> Response:
    """List the questions that wait for an answer."""
    asking = [run for run, each in Records(repo).all().items() if each.phase == "asking"]
    return reply(
        request,
        [{"run": run, **each} for run in asking for each in Simulation(repo, run).questions],
    )


@router.post("/answers/{run:path}")
def answer(request: Request, served: Served, run: Run, given: Answer) -> Response:
    """Answer the question of a simulation; the first answer counts."""
    one = Simulation(_tracker(served).repo, run)
    return reply(request, {"value": one.answer(given.value, question=given.question, by=WEB)})


def _tracker(served: Service) -> Tracker:
    if served.tracker is None:
        raise Refused(403, "this server starts no simulations")
    return served.tracker


def _shown(request: Request, repo: Repository, one: Simulation, status: int = 200) -> Response:
    return reply(request, _told(repo, one), status=status)


def _told(repo: Repository, one: Simulation) -> dict[str, Any]:
    found = explained(record(view(repo, one)))
    return found | {"folder": shortened(found["folder"])}
