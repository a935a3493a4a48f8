"""``simgit commit``: one state, or a stream of them."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command
from simgit.cli.output import progress
from simgit.cli.params import MAPPING, REVISION, RUN, VALUE, Choice, note_new_run
from simgit.errors import Conflict, InvalidInput, plural, warn

if TYPE_CHECKING:
    from simgit.objects.oid import Oid
    from simgit.repository import Repository


@command(
    "commit",
    example="""\
simgit commit --observation '[0.1, 0.2]' --action 1 --reward 1.5
simgit commit --observation @frame.npy --file model.bin -m 'after tuning'
my-simulator | simgit commit --stdin --run try-2""",
)
@click.option("-o", "--observation", type=VALUE, help="Observation that the environment returned.")
@click.option("-a", "--action", type=VALUE, help="Action that led to this state.")
@click.option("-r", "--reward", type=VALUE, help="Reward of the action.")
@click.option("--terminated/--not-terminated", default=None, help="Gymnasium's flag.")
@click.option("--truncated/--not-truncated", default=None, help="Gymnasium's flag.")
@click.option("--info", type=MAPPING, help="Info of the environment, a JSON object.")
@click.option("--time", type=VALUE, help="The simulator's time, a finite number.")
@click.option("--reset", is_flag=True, help="Begin an episode with this state.")
@click.option("--seed", type=int, help="Seed of the reset; implies --reset.")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="PATH|NAME=PATH",
    help="File to record with the state.",
)
@click.option("-m", "--message", help="Message of the state.")
@click.option("--run", type=RUN, help="Run to record on (default: HEAD's).")
@click.option("--parent", "parents", multiple=True, type=REVISION, help="Further parent.")
@click.option("--stdin", is_flag=True, help="Read states from standard input.")
@click.option("--format", "form", type=Choice(["auto", "json", "msgpack"]), default="auto",
              help="Format of --stdin (default auto: by its first byte).")  # fmt: skip
@click.option("--flush-every", type=click.IntRange(1), default=8192, metavar="N",
              help="With --stdin: states per write to disk (default 8192).")  # fmt: skip
def commit(
    app: App, stdin: bool, form: str, flush_every: int, run: str | None, as_json: bool, **given: Any
) -> None:
    """Record a state on a run; it is on disk when the command returns.

    Values are JSON, or @file.npy, @file.npz, @file.json. A list of numbers in an observation or
    action is an array.

    --stdin reads one state per line as a JSON object, or msgpack maps, with the keys
    observation, action, reward, terminated, truncated, info, time, reset, seed,
    message.
    """
    given["reset"] = given["reset"] or None
    with app.repository() as repo:
        note_new_run(repo, run)
        if stdin:
            used = [name for name, value in given.items() if _is_given(value)]
            if used:
                raise click.UsageError(f"--stdin and --{used[0]} cannot be used together")
            _stream(app, repo, run, None if form == "auto" else form, flush_every, as_json)
        else:
            _single(app, repo, run, given, as_json)


def _single(
    app: App, repo: Repository, run: str | None, given: dict[str, Any], as_json: bool
) -> None:
    seed, reset, files = given.pop("seed"), given.pop("reset"), given.pop("files")
    mark = {"seed": seed} if seed is not None else reset
    if not files and mark is None and not any(map(_is_given, given.values())):
        raise click.UsageError(
            "nothing to commit: give --observation, --file, --message or another field"
        )
    from simgit.recording.stream import GOES_ON, goes_on

    oid = repo.commit(**given, reset=mark, files=_named(app, files) if files else None, run=run)
    state = repo.state(oid)
    if goes_on({**given, "reset": mark}) and state.parents and _ended(repo, state.parents[0]):
        warn(f"state {oid.short(repo.abbreviation)} {GOES_ON}")
    with app.output() as out:
        if as_json:
            out.json({"oid": oid, "step": state.step, "run": _target(repo, run)})
        else:
            name = _target(repo, run) or "detached HEAD"
            short = out.paint(oid.short(repo.abbreviation), "oid")
            out.line(f"[{name} {short}] step {state.step}")


def _ended(repo: Repository, oid: Oid | None) -> bool:
    if oid is None:
        return False
    state = repo.state(oid)
    return bool(state.terminated or state.truncated)


def _is_given(value: Any) -> bool:
    return value is not None and not (type(value) is tuple and not value)


def _target(repo: Repository, run: str | None) -> str | None:
    head = run or repo.head
    return head if isinstance(head, str) else None


def _named(app: App, files: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for text in files:
        name, equals, path = text.partition("=")
        name = name if equals else text.removeprefix("./")
        if name in found:
            raise click.UsageError(f"--file names '{name}' twice")
        found[name] = app.path(path if equals else text)
    return found


def _stream(
    app: App, repo: Repository, run: str | None, form: str | None, every: int, as_json: bool
) -> None:
    from simgit.recording import stream

    piped = not sys.stdin.isatty()  # a bar would mix with what is typed
    name = _target(repo, run)
    info = repo.runs[name] if name is not None and name in repo.runs else None
    before = None if info is None else info.status
    ended = info is not None and _ended(repo, info.oid)
    with repo.recorder(run, flush_every=every) as recorder, progress("states", piped) as tell:
        try:
            count = stream.record(
                recorder, sys.stdin.buffer, form, lambda done: tell(done, None), ended=ended
            )
        except InvalidInput as error:
            if not vars(error).get("recorded"):
                recorder.close(before or "active")  # the run is as it was
                if before is None:
                    with suppress(Conflict):  # HEAD points at it
                        repo.delete_run(recorder.run)
                raise
            raise InvalidInput(f"{error}; run '{recorder.run}' is marked failed") from None
    with app.output() as out:
        if as_json:
            out.json({"run": recorder.run, "states": count, "oid": recorder.tip})
        else:
            tip = recorder.tip.short(repo.abbreviation) if recorder.tip else "no states"
            out.line(f"[{recorder.run}] {plural(count, 'state')}, now at {out.paint(tip, 'oid')}")
