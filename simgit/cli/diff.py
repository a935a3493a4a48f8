"""``simgit diff``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, answer_no, command, one_of
from simgit.cli.output import Output, clean, number
from simgit.cli.params import REVISION
from simgit.errors import NotFound, plural

if TYPE_CHECKING:
    from simgit.history.diff.runs import RunDiff, Side
    from simgit.history.diff.values import Change
    from simgit.repository import Repository


@command(
    "diff",
    example="""\
simgit diff main@100 main@200
simgit diff main try-1
simgit diff --config main try-1""",
)
@click.argument("revisions", nargs=-1, type=REVISION, metavar="[A [B]] | A..B")
@click.option("--states", is_flag=True, help="Compare the newest states of two runs.")
@click.option("--runs", is_flag=True, help="Compare the histories that lead to two states.")
@click.option("--config", is_flag=True, help="Compare the configurations of two runs.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there are differences.")
def diff(
    app: App,
    revisions: tuple[str, ...],
    states: bool,
    runs: bool,
    config: bool,
    exit_code: bool,
    as_json: bool,
) -> None:
    """Compare two states field by field, or two runs since they diverged.

    Without revisions HEAD is compared with its parent; A alone is compared with HEAD.
    """
    one_of(states=states, runs=runs, config=config)
    a, b = _pair(revisions)
    with app.repository() as repo, app.output(page=True) as out:
        if not revisions and not (runs or config) and not repo.state().parents:
            raise NotFound("HEAD is a root: it has no parent to compare with")
        if config:
            if not revisions:
                a, b = _parent_of_head(repo), "HEAD"
            different = _configs(repo, out, a, b, as_json)
        elif runs or (not states and {a, b} <= {*repo.runs, "HEAD"} and a != b):
            different = _runs(repo, out, a, b, as_json)
        else:
            different = _states(repo, out, a, b, as_json)
    if different and exit_code:
        answer_no()


def _parent_of_head(repo: Repository) -> str:
    run = repo.head_run
    if run.parent is None:
        raise NotFound(f"run '{run.name}' was not branched off another; name two runs to compare")
    return run.parent


def _pair(revisions: Sequence[str]) -> tuple[str, str]:
    if len(revisions) == 1 and ".." in revisions[0]:
        if "..." in revisions[0]:
            raise click.UsageError("diff takes a..b, not a...b")
        a, _, b = revisions[0].partition("..")
        return a or "HEAD", b or "HEAD"
    if len(revisions) > 2:
        raise click.UsageError(f"expected at most 2 revisions, got {len(revisions)}")
    if not revisions:
        return "HEAD~1", "HEAD"
    return revisions[0], revisions[1] if len(revisions) == 2 else "HEAD"


def _configs(repo: Repository, out: Output, a: str, b: str, as_json: bool) -> bool:
    names = [repo.head_run.name if name == "HEAD" else repo.runs[name].name for name in (a, b)]
    changes = repo.diff_configs(*names)
    if as_json:
        out.json({"a": names[0], "b": names[1], "changes": [c.to_json() for c in changes]})
    else:
        write_changes(out, changes)
    return bool(changes)


def _states(repo: Repository, out: Output, a: str, b: str, as_json: bool) -> bool:
    found = repo.diff_states(a, b)
    if as_json:
        out.json(found.to_json())
        return bool(found.changes)
    for sign, oid, step, style in zip(
        ("---", "+++"), (found.a, found.b), found.steps, ("old", "new"), strict=True
    ):
        out.line(out.paint(f"{sign} {oid.short(repo.abbreviation)} step {step}", style))
    write_changes(out, found.changes)
    return bool(found.changes)


def write_changes(out: Output, changes: Iterable[Change], indent: str = "") -> None:
    """Print changes: what was added, removed, and changed from what to what."""
    for change in changes:
        name = clean(change.name)
        if change.kind == "added":
            _write_one(out, indent, "+", "new", change.name, change.after)
        elif change.kind == "removed":
            _write_one(out, indent, "-", "old", change.name, change.before)
        elif change.array is not None:
            _write_array(out, name, change, indent)
        else:
            before, after = _text(change.before), _text(change.after)
            if len(indent) + len(name) + len(before) + len(after) < 70:
                arrow = f"{out.paint(before, 'old')} → {out.paint(after, 'new')}"
                out.line(f"{indent}  {name}: {arrow}")
            else:
                _write_sides(out, name, before, after, indent)


def _write_one(out: Output, indent: str, sign: str, style: str, name: str, value: Any) -> None:
    """Print a value that only one side has, a map key by key."""
    from simgit.refs.run_config import flat

    leaves = flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    for path, leaf in leaves.items():
        out.line(indent + out.paint(f"{sign} {clean(path)}: {_text(leaf)}", style))


def _write_array(out: Output, name: str, change: Change, indent: str) -> None:
    import numpy as np

    found = change.array
    assert found is not None
    if found.different is None:
        forms = [f"{d}{list(s)}" for d, s in zip(found.dtypes, found.shapes, strict=True)]
        out.line(f"{indent}  {name}: {forms[0]} → {forms[1]}")
        return
    size = int(np.prod(found.shapes[0], dtype=np.int64))
    text = f"{indent}  {name}: {found.different} of {plural(size, 'element')} differ"
    if found.max_abs is not None and found.mean_abs is not None:
        text += f", by {number(found.max_abs)} at most, {number(found.mean_abs)} on average"
    out.line(text)
    if size <= 16:
        _write_sides(out, "", _text(change.before), _text(change.after), indent)
    elif found.first:
        places = ", ".join(str(list(index)) for index in found.first)
        out.line(f"{indent}    at {places}{', …' if found.different > len(found.first) else ''}")


def _write_sides(out: Output, name: str, before: str, after: str, indent: str) -> None:
    if name:
        out.line(f"{indent}  {name}:")
    out.line(indent + "    " + out.paint(f"- {before}", "old"))
    out.line(indent + "    " + out.paint(f"+ {after}", "new"))


def _text(value: Any) -> str:
    from simgit.history.state import shown

    return clean(shown(value))


def _runs(repo: Repository, out: Output, a: str, b: str, as_json: bool) -> bool:
    found = repo.diff_runs(a, b)
    names = set(repo.runs)
    config = repo.diff_configs(a, b) if {a, b} <= names else ()
    if as_json:
        out.json({**found.to_json(), "config": [change.to_json() for change in config]})
    else:
        _write_runs(repo, out, a, b, found, config)
    return bool(found.a.only or found.b.only or config)


def _write_runs(
    repo: Repository, out: Output, a: str, b: str, found: RunDiff, config: Sequence[Change]
) -> None:
    if found.ancestor is None:
        out.line("no common ancestor")
    else:
        base = repo.resolve(f"{a}@{found.ancestor.step}")
        short = out.paint(base.short(repo.abbreviation), "oid")
        out.line(f"common ancestor: {short} step {found.ancestor.step}")
    head = [
        ("", ""),
        *((t, "bold") for t in ("states", "only here", "episodes", "return", "since")),
    ]
    out.table([head, _side(a, found.a, "old"), _side(b, found.b, "new")], (1, 2, 3, 4, 5))
    if found.aligned:
        text = _unequal(found)
        for line in textwrap.wrap(text, 79, subsequent_indent="  "):
            out.line(line)
    if found.first_step is not None:
        out.line(f"first difference: step {found.first_step}")
        write_changes(out, found.changes)
    if config:
        out.line("config:")
        write_changes(out, config)


def _unequal(found: RunDiff) -> str:
    """Return how many of the steps that both runs have since their fork differ, and in what."""
    different = {name: found.aligned - n for name, n in found.equal.items() if n < found.aligned}
    total = different.pop("state", 0)
    if not total:
        return f"{plural(found.aligned, 'common step')}, no differences"
    fields = ", ".join(f"{name}: {n}" for name, n in different.items()) or "only in the schema"
    differ = "differs" if total == 1 else "differ"
    return f"{total} of {plural(found.aligned, 'common step')} {differ} ({fields})"


def _side(name: str, side: Side, style: str) -> list[Any]:
    return [
        (name, style), str(side.length), str(side.only), str(side.episodes),
        number(side.total_return), number(side.return_after),
    ]  # fmt: skip
