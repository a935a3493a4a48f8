"""``simgit fetch`` and ``simgit pull``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import Output, progress, size
from simgit.cli.params import REMOTE
from simgit.errors import plural
from simgit.process import cores

if TYPE_CHECKING:
    from simgit.remotes.fetch import FetchReport

_MOST_JOBS = 4
_REMOTE = click.argument("remote", required=False, type=REMOTE, metavar="[REMOTE]")
_REFS = click.argument("refs", nargs=-1, metavar="[RUN]…")
_STEPS: Final = re.compile(r"(\d+)\.\.(\d*)")
DEPTH = click.option(
    "--depth", type=click.IntRange(1), metavar="N", help="Only N of the newest states of each run."
)
NO_ATTACHMENTS = click.option(
    "--no-attachments", is_flag=True, help="With --depth or --states: leave out attachments."
)
JOBS = click.option(
    "-j", "--jobs", type=click.IntRange(1, 256), metavar="N",
    help="Processes, for many states (default one per core, at most 4).",
)  # fmt: skip


@command("fetch", example="""\
simgit fetch
simgit fetch origin 'worker/*'
simgit fetch origin main --states 5000..6000
simgit log origin/main""", at_op=False)  # fmt: skip
@_REMOTE
@_REFS
@click.option("-p", "--prune", is_flag=True, help="Remove tracking refs that the remote lacks.")
@click.option("--states", metavar="A..B", help="Only states from step A to B, or from A on (A..).")
@DEPTH
@NO_ATTACHMENTS
@JOBS
def fetch(
    app: App,
    remote: str | None,
    refs: tuple[str, ...],
    prune: bool,
    states: str | None,
    depth: int | None,
    no_attachments: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Get runs and tags of a remote, as REMOTE/RUN; no run here is changed.

    The default REMOTE is origin, or the only one; without RUN all are fetched. Tags that are new
    are created. Every oid is recomputed. An interrupted fetch is resumed by the next one.

    With --states or --depth histories are shallow: what is before is not here. A fetch without
    them brings the rest.
    """
    if prune and refs:
        raise click.UsageError("--prune is for all runs; name none")
    one_of(states=states, depth=depth)
    one_of(prune=prune, states=states)
    one_of(prune=prune, depth=depth)
    part = states is not None or depth is not None
    if no_attachments and not part:
        raise click.UsageError("--no-attachments needs --states or --depth")
    with app.repository() as repo, repo.remote(remote) as there, app.output() as out:
        with progress("fetch", not as_json) as tell:
            done = there.fetch(
                refs or None, prune=prune, states=None if states is None else steps(states),
                depth=depth, attachments=not no_attachments, jobs=jobs_of(jobs), progress=tell,
            )  # fmt: skip
        if as_json:
            out.json(record(done))
        else:
            write(out, done, str(there.name))


@command("pull", example="""\
simgit pull
simgit pull origin main""", at_op=False)  # fmt: skip
@_REMOTE
@_REFS
@click.option("--all", "everything", is_flag=True, help="All runs of the remote.")
@JOBS
def pull(
    app: App,
    remote: str | None,
    refs: tuple[str, ...],
    everything: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Fetch runs, and move those here forward.

    The default RUN is HEAD's. A run that is not here is created. One that has other states than
    the remote's is left as it is, and the remote's is kept as NAME.conflict-1.
    """
    one_of(all=everything, run=bool(refs))
    with app.repository() as repo, app.output() as out:
        with progress("pull", not as_json) as tell:
            done = repo.pull(
                remote, ["*"] if everything else refs or None, jobs=jobs_of(jobs), progress=tell
            )
        if as_json:
            runs = {
                name: {"name": each.name, "what": each.what} for name, each in done.runs.items()
            }
            out.json({"fetched": record(done.fetched), "runs": runs})
            return
        for name, each in done.runs.items():
            here = "" if each.name == f"runs/{name}" else f" → {each.name}"
            out.line(f"{each.what:9}  runs/{name}{here}")
        write_sum(out, done.fetched)


def steps(text: str) -> tuple[int, int | None]:
    """Return the first and the last step that ``A..B`` names; None as the last for ``A..``."""
    found = _STEPS.fullmatch(text)
    if found is None:
        raise click.UsageError(f"--states must be a first and a last step, as in 5..90: '{text}'")
    return int(found[1]), int(found[2]) if found[2] else None


def jobs_of(jobs: int | None) -> int:
    """Return the number of processes to use."""
    return min(_MOST_JOBS, cores()) if jobs is None else jobs


def record(done: FetchReport) -> dict[str, Any]:
    """Return what a fetch did, for ``--json``."""
    refs = {name: each.__dict__ for name, each in done.refs.items()}
    return {**done.__dict__, "refs": refs}


def write(out: Output, done: FetchReport, remote: str) -> None:
    """Write what a fetch did."""
    for name, each in done.refs.items():
        if each.what != "unchanged":
            here = f" → {remote}/{name[5:]}" if name.startswith("runs/") else ""
            out.line(f"{each.what:9}  {name}{here}")
    write_sum(out, done)


def write_sum(out: Output, done: FetchReport) -> None:
    """Write how much came."""
    for name in done.attachments:
        out.line(f"{'conflict':9}  attachment kept as {name}")
    if done.packs:
        sums = f"{plural(done.packs, 'pack')}, {plural(done.requests, 'request')}"
        out.line(f"got {plural(done.states, 'state')}: {size(done.bytes)} in {sums}")
