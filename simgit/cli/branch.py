"""``simgit branch``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import STATUS_STYLES, Output, columns, counted, counted_sum, width
from simgit.cli.params import REVISION, branch_settings, matches
from simgit.errors import plural
from simgit.refs.names import expanded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simgit.refs.remotes import Upstream
    from simgit.refs.runs import RunInfo
    from simgit.repository import Repository


@command("branch", example="""\
simgit branch try-1 main@200 --set agent.lr=0.001
simgit branch -v
simgit branch -m try-1 better
simgit branch -d 'sweep/*'
simgit branch -f try-1 main@500""")  # fmt: skip
@click.argument("names", nargs=-1, type=REVISION, metavar="[NAME [START]]")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Override of a setting.")
@click.option("--seed", type=int, help="Seed of the new run.")
@click.option(
    "-d",
    "--delete",
    is_flag=True,
    help="Delete runs, or those that patterns match; 'simgit undo' brings them back.",
)
@click.option(
    "-D",
    "force",
    is_flag=True,
    help="Delete runs even if HEAD points at them or a process writes them.",
)
@click.option("-m", "--move", is_flag=True, help="Rename a run: [OLD] NEW.")
@click.option("-f", "--force", "moves", is_flag=True, help="Move the run NAME if it exists.")
@click.option("-l", "--list", "listing", is_flag=True, help="List the runs that match patterns.")
@click.option("-r", "--remotes", is_flag=True, help="List, or delete with -d, runs of remotes.")
@click.option("-a", "--all", "every", is_flag=True, help="List runs, and those of remotes.")
@click.option("--contains", type=REVISION, help="List the runs whose history has this state.")
@click.option("--show-current", "current", is_flag=True, help="Print the run of HEAD.")
@click.option("-v", "--verbose", is_flag=True, help="List returns and settings too.")
def branch(
    app: App,
    names: tuple[str, ...],
    pairs: tuple[str, ...],
    seed: int | None,
    delete: bool,
    force: bool,
    move: bool,
    moves: bool,
    listing: bool,
    remotes: bool,
    every: bool,
    contains: str | None,
    current: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """List the runs, or create the run NAME at START (default: HEAD).

    Nothing is copied. The new run inherits the configuration of START's run. The VALUE of --set is
    JSON or a plain string, the KEY may be dotted. A run that --force moves keeps its settings, and
    its reflog the states that it leaves; 'simgit reset' moves the run that is checked out.

    Runs of remotes are shown as they were last seen there. To delete one with -d -r is to forget
    it here; nothing changes at the remote.
    """
    one_of(delete=delete or force, move=move, contains=contains, show_current=current)
    one_of(delete=delete or force, move=move, list=listing)
    one_of(delete=delete or force, all=every)
    one_of(move=move, show_current=current, remotes=remotes, all=every)
    listing = listing or every or (remotes and not (delete or force))
    if current and names:
        raise click.UsageError("--show-current takes no names")
    creates = names and not (delete or force or move or listing) and contains is None
    for option, given in (("--set", pairs), ("--seed", seed is not None), ("--force", moves)):
        if given and not creates:
            raise click.UsageError(f"{option} needs the NAME of a run to create")
    with app.repository() as repo, app.output() as out:
        if current:
            _print_current(repo, out, as_json)
        elif delete or force:
            _delete(repo, out, names, force, remotes, as_json)
        elif move:
            _rename(repo, out, names, as_json)
        elif creates:
            _create(repo, out, names, pairs, seed, moves, as_json)
        else:
            which = "all" if every else "remotes" if remotes else "runs"
            _list(repo, out, names, which, contains, verbose, as_json)


def _print_current(repo: Repository, out: Output, json: bool) -> None:
    """Print the name of HEAD's run; nothing, as in git, if HEAD is detached."""
    from simgit.objects.oid import Oid

    head = repo.head
    name = None if isinstance(head, Oid) else head
    if json:
        out.json({"name": name})
    elif name is not None:
        out.line(name)


def _delete(
    repo: Repository, out: Output, names: tuple[str, ...], force: bool, remotes: bool, json: bool
) -> None:
    if not names:
        raise click.UsageError("-d and -D need the name of a run")
    if remotes:
        names = tuple(expanded(names, repo.remote_runs(), "remote-tracking ref"))
    else:
        names = tuple(repo.runs.matching(*names))
    with repo.transaction("delete", *names):
        deleted = {
            name: repo.delete_remote_run(name) if remotes else repo.delete_run(name, force=force)
            for name in names
        }
    for name, was in deleted.items():
        if json:
            out.json({"deleted": name, "oid": was})
        else:
            at = f" (was {was.short(repo.abbreviation)})" if was else ""
            out.line(f"deleted {'remote-tracking ref' if remotes else 'run'} {name}{at}")


def _rename(repo: Repository, out: Output, names: tuple[str, ...], json: bool) -> None:
    from simgit.objects.oid import Oid

    if not 1 <= len(names) <= 2:
        raise click.UsageError("-m takes [OLD] NEW")
    head = repo.head
    if len(names) == 1 and isinstance(head, Oid):
        raise click.UsageError("HEAD is detached: give both OLD and NEW")
    old, new = (str(head), names[0]) if len(names) == 1 else names
    repo.rename_run(old, new)
    if json:
        out.json({"renamed": old, "name": new})


def _create(
    repo: Repository,
    out: Output,
    names: tuple[str, ...],
    pairs: tuple[str, ...],
    seed: int | None,
    force: bool,
    json: bool,
) -> None:
    if len(names) > 2:
        raise click.UsageError(f"expected [NAME [START]], got {len(names)} arguments")
    start = names[1] if len(names) > 1 else "HEAD"
    overrides = branch_settings(repo, start, pairs)
    oid = repo.branch(names[0], start, overrides=overrides, seed=seed, force=force)
    if json:
        out.json({"name": names[0], "oid": oid})


def _list(
    repo: Repository,
    out: Output,
    patterns: tuple[str, ...],
    which: str,
    contains: str | None,
    verbose: bool,
    as_json: bool,
) -> None:
    infos: list[RunInfo] = []
    if which != "remotes":
        wanted = repo.contains(contains) if contains is not None else None
        infos += [info for info in repo.runs.values() if wanted is None or info.name in wanted]
    there = list(repo.remote_runs().values()) if which != "runs" else []
    if contains is not None:
        there = [info for info in there if info.oid and repo.is_ancestor(contains, info.oid)]
    infos, there = ([i for i in each if matches(i.name, patterns)] for each in (infos, there))
    if as_json:
        from simgit.repository.jsonable import run_record

        for info in infos:
            out.json(run_record(info) | {"head": info.name == repo.head, "remote": None})
        for info in there:
            remote = info.name.partition("/")[0]
            out.json(run_record(info) | {"head": False, "remote": remote})
        return
    write_runs(out, repo, infos, verbose, there, "remotes/" if which == "all" else "")


def write_runs(
    out: Output,
    repo: Repository,
    infos: list[RunInfo],
    verbose: bool,
    there: Sequence[RunInfo] = (),
    begins: str = "",
) -> None:
    """Print a table of runs, HEAD's with a star.

    Args:
        out: where to print.
        repo: the repository.
        infos: the runs.
        verbose: with returns, settings, and how they stand to those that they track.
        there: runs of remotes, which come after them.
        begins: what stands before the names of these.
    """
    from simgit.objects.oid import Oid

    head, digits = repo.head, repo.abbreviation
    if isinstance(head, Oid):
        out.line(f"* {out.paint(f'(HEAD detached at {head.short(digits)})', 'head')}")
    rows = [_row(info, info.name == head, digits, verbose) for info in infos]
    tracked = repo.upstreams(*(info.name for info in infos)) if verbose and infos else {}
    for row, info in zip(rows, infos, strict=True):
        if tracked:
            row.append(_tracked(tracked.get(info.name)))
    for info in there:
        row = _row(info, False, digits, verbose)
        rows.append([(f"  {begins}{info.name}", "remote"), *row[1:], *([""] if tracked else [])])
    if verbose and rows:
        taken = sum(max(width(_text(row[i])) for row in rows) + 2 for i in range(len(rows[0])))
        room = columns() - taken
        for row, info in zip(rows, (*infos, *there), strict=True):
            row.append(_settings(info, room))
    out.table(rows, (2, 4, 5) if verbose else (2,), fit=verbose)


def _row(info: RunInfo, here: bool, digits: int, verbose: bool) -> list[str | tuple[str, str]]:
    name = (f"* {info.name}", "run") if here else f"  {info.name}"
    oid = (info.oid.short(digits), "oid") if info.oid else "-"
    step = f"step {info.step}" if info.step is not None else "no states"
    row = [name, oid, step, (info.status, STATUS_STYLES.get(info.status, ""))]
    if verbose:
        row += [f"{counted(info.episodes)} ep", counted_sum(info.return_, info.episodes)]
        row.append(f"from {info.parent}" if info.parent else "")
    return row


def _tracked(found: Upstream | None) -> str:
    """Return how a run stands to the one that it tracks, as git's ``branch -vv`` does."""
    if found is None:
        return ""
    parts = [f"ahead {found.ahead}"] * bool(found.ahead)
    parts += [f"behind {found.behind}"] * bool(found.behind)
    return f"[{found.name}: {', '.join(parts)}]" if parts else f"[{found.name}]"


def _text(cell: str | tuple[str, str]) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _settings(info: RunInfo, room: int) -> str:
    """Return the run's own settings, as many as there is room for, or how many there are."""
    from simgit.cli.render import value_text
    from simgit.refs.run_config import flat

    own = sorted(flat(dict(info.overrides)).items())
    pairs = [f"{key}={value_text(value)}" for key, value in own]
    for kept in range(len(pairs), 0, -1):
        left = len(pairs) - kept
        text = " ".join(pairs[:kept]) + (f" … {left} more" if left else "")
        if width(text) <= room:
            return text
    return plural(len(pairs), "setting") if pairs else ""
