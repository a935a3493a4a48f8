"""``simgit attach`` and ``attachments``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import Output, clean, raw_bytes
from simgit.cli.params import REVISION, load
from simgit.cli.show import outline
from simgit.errors import NotFound
from simgit.refs.names import is_pattern

if TYPE_CHECKING:
    from simgit.objects.oid import Oid
    from simgit.repository import Repository


@command(
    "attach",
    example="""\
simgit attach main@200 video episode.mp4
simgit attach HEAD weights @weights.npz""",
)
@click.argument("revision", type=REVISION)
@click.argument("name")
@click.argument("file", metavar="FILE|@FILE")
def attach(app: App, revision: str, name: str, file: str, as_json: bool) -> None:
    """Attach a file to a state that was recorded before.

    This is for what is computed later: a video, weights, a plot. The state's oid does not change.
    FILE is stored as its bytes; @FILE.npy, @FILE.npz and @FILE.json as the arrays and values in it.
    """
    data: Any = load(app.path(file[1:])) if file.startswith("@") else app.path(file)
    if isinstance(data, Path) and not data.is_file():
        why = "is a directory" if data.is_dir() else "no such file"
        raise NotFound(f"cannot read '{data}': {why}")
    with app.repository() as repo, app.output() as out:
        oid = repo.attach(revision, name, data)
        if as_json:
            out.json({"state": repo.resolve(revision), "name": name, "oid": oid})


@command(
    "attachments",
    example="""\
simgit attachments main@200
simgit attachments main --all
simgit attachments 'sweep/*' --all
simgit attachments main agent --newest -p""",
)
@click.argument("revision", default="HEAD", type=REVISION)
@click.argument("name", required=False)
@click.option("-p", "pretty", is_flag=True, help="Print attachment NAME readably.")
@click.option("-d", "--delete", is_flag=True, help="Remove attachment NAME.")
@click.option("--all", "every", is_flag=True, help="List those of the whole history, newest first.")
@click.option("--newest", is_flag=True, help="Take the newest attachment NAME of the history.")
def attachments(
    app: App,
    revision: str,
    name: str | None,
    pretty: bool,
    delete: bool,
    every: bool,
    newest: bool,
    as_json: bool,
) -> None:
    """List the attachments of a state, or write the bytes of attachment NAME.

    With --all, REVISION may be a pattern of runs; each attachment is listed once, also where
    several runs share it.
    """
    one_of(p=pretty, delete=delete, all=every)
    one_of(delete=delete, newest=newest, all=every)
    if name is None and (pretty or delete or newest):
        raise click.UsageError("-p, -d and --newest need the NAME of an attachment")
    with app.repository() as repo, app.output() as out:
        if name is None or every:
            _list(repo, out, revision, name, every, as_json)
            return
        if delete:
            oid = repo.detach(revision, name)
            if as_json:
                out.json({"deleted": name, "oid": oid})
            return
        found = repo.history_attachments(revision, name)[:1] if newest else []
        at: str | Oid = found[0].state if found else revision
        there = repo.attachments(at)
        if name in there and there[name][0] == "blob" and not as_json:
            raw_bytes(repo.read_blob(there[name][1]))
            return
        data = repo.attachment(at, name)
        if as_json:
            from simgit.objects.json_form import value_to_json

            more = {"step": found[0].step} if found else {}
            out.json({"name": name, "data": value_to_json(data)} | more)
        else:
            for line in outline(data):
                out.line(line)


def _list(
    repo: Repository, out: Output, revision: str, name: str | None, every: bool, as_json: bool
) -> None:
    if every:
        listed = set()
        for run in repo.runs.matching(revision):
            for each in repo.history_attachments(run, name):
                if each in listed:
                    continue
                listed.add(each)
                if as_json:
                    out.json(each._asdict())
                else:
                    short = out.paint(each.oid.short(repo.abbreviation), "oid")
                    where = f"  {run}" if is_pattern(revision) else ""
                    out.line(
                        f"step {each.step:<8} {each.kind:5} {short}  {clean(each.name)}{where}"
                    )
        return
    for label, (kind, oid) in repo.attachments(revision).items():
        if as_json:
            out.json({"name": label, "kind": kind, "oid": oid})
        else:
            short = out.paint(oid.short(repo.abbreviation), "oid")
            out.line(f"{kind:5} {short}  {clean(label)}")
