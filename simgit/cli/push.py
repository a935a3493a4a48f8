"""``simgit push``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import Output, progress, size
from simgit.cli.params import REMOTE, REVISION
from simgit.errors import plural

if TYPE_CHECKING:
    from simgit.objects.oid import Oid
    from simgit.remotes.push import PushReport


@command("push", example="""\
simgit push
simgit push origin main 'sweep/*'
simgit push origin --all --tags
simgit push origin main --force-with-lease
simgit push origin --delete try-1""", at_op=False)  # fmt: skip
@click.argument("remote", required=False, type=REMOTE, metavar="[REMOTE]")
@click.argument("refs", nargs=-1, metavar="[RUN|TAG]…")
@click.option("--all", "everything", is_flag=True, help="All runs.")
@click.option("--tags", is_flag=True, help="All tags.")
@click.option("-d", "--delete", is_flag=True, help="Delete the named runs and tags at the remote.")
@click.option(
    "--force-with-lease", "lease", is_flag=True,
    help="Replace refs that differ there, if they are as last seen here.",
)  # fmt: skip
@click.option(
    "--expect", metavar="REVISION", type=REVISION,
    help="With --force-with-lease: the state that RUN must have there.",
)  # fmt: skip
@click.option("--aside", is_flag=True, help="Push a run that differs there as NAME.conflict-1.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
def push(
    app: App,
    remote: str | None,
    refs: tuple[str, ...],
    everything: bool,
    tags: bool,
    delete: bool,
    lease: bool,
    expect: str | None,
    aside: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send runs and tags to a remote, with all that leads to them.

    The default REMOTE is origin, or the only one, and the default RUN is HEAD's. Names may be
    patterns. A run that has other states at the remote is refused, and then nothing is sent.
    Push again after an interruption: what has been sent is kept.
    """
    one_of(delete=delete, all=everything)
    one_of(delete=delete, tags=tags)
    one_of(delete=delete, aside=aside, force_with_lease=lease)
    if delete and not refs:
        raise click.UsageError("--delete needs the names of runs or tags")
    if expect is not None and not (lease and len(refs) == 1):
        raise click.UsageError("--expect is for one RUN with --force-with-lease")
    leases: dict[str, Oid | None] = {}
    if expect is not None:
        from simgit.objects.oid import Oid

        with app.repository() as repo:
            is_whole = re.fullmatch("[0-9a-f]{64}", expect)  # which need not be here
            leases[refs[0]] = Oid.from_hex(expect) if is_whole else repo.state(expect).oid
    with app.repository() as repo, repo.remote(remote) as there, app.output() as out:
        with progress("push", not as_json) as tell:
            done = there.push(
                None if delete or not refs else refs, all=everything, tags=tags,
                delete=refs if delete else (), force=lease and expect is None, expect=leases,
                aside=aside, dry_run=dry_run, progress=tell,
            )  # fmt: skip
        if as_json:
            out.json(_record(done))
        else:
            _write(out, done)


def _record(done: PushReport) -> dict[str, Any]:
    refs = {name: each.__dict__ for name, each in done.refs.items()}
    return {**done.__dict__, "refs": refs}


def _write(out: Output, done: PushReport) -> None:
    for name, each in done.refs.items():
        there = "" if each.name == name else f" → {each.name}"
        states = f", {plural(each.states, 'state')}" if each.states else ""
        out.line(f"{each.what:9}  {name}{there}{states}")
    if done.is_dry_run:
        out.line(f"would send {plural(done.states, 'state')}")
    elif done.packs:
        sums = f"{plural(done.packs, 'pack')}, {plural(done.requests, 'request')}"
        out.line(f"sent {plural(done.states, 'state')}: {size(done.bytes)} in {sums}")
