"""``simgit show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command
from simgit.cli.log import decoration
from simgit.cli.output import Output, clean, counted, number, when
from simgit.cli.params import REVISION
from simgit.cli.render import run_info, write_bytes, write_run, write_tag
from simgit.errors import text_of

if TYPE_CHECKING:
    import numpy as np

    from simgit.history.state import State
    from simgit.repository import Repository


_EDGE = 3
_SHOWN = 64
"""The most elements of an array that is printed in full."""


@command("show", example="""\
simgit show main@200
simgit show --run try-1
simgit show tags/v1 --json
simgit show main@200:notes.txt""")  # fmt: skip
@click.argument("revision", default="HEAD", type=REVISION)
@click.option("--run", "as_run", is_flag=True, help="Show the record of the run REVISION.")
@click.option("--tag", "as_tag", is_flag=True, help="Show the annotation of the tag REVISION too.")
@click.option("--full", is_flag=True, help="Print all elements of large arrays.")
def show(app: App, revision: str, as_run: bool, as_tag: bool, full: bool, as_json: bool) -> None:
    """Show a state with its fields, a file of it, a run's record, or a tag.

    A step counts from the root (0), an episode from 1, a state in its episode from the reset (0).
    REVISION:PATH is a file of the state, or a directory.
    """
    from simgit.refs.revision import file_of

    if file_of(revision) is not None and not (as_run or as_tag):
        with app.repository() as repo:
            _show_file(app, repo, revision, as_json)
        return
    with app.repository() as repo, app.output(page=True) as out:
        if as_run:
            info = repo.head_run if revision == "HEAD" else run_info(repo, revision)
            out.json(info) if as_json else write_run(out, repo, info)
            return
        name = revision.removeprefix("tags/")
        tagged = as_tag or revision.startswith("tags/")
        note = repo.tags().get(name) if tagged else None
        state = repo.state(f"tags/{name}" if as_tag else revision)
        if as_json:
            from simgit.repository.jsonable import stamp, state_record, tag_record

            extra = {"tag": tag_record(name, *note)} if note else {}
            out.json(state_record(state) | {"time": stamp(repo.time(state.oid))} | extra)
            return
        if note:
            write_tag(out, repo, name, *note)
        write_state(out, repo, state, full)


def _show_file(app: App, repo: Repository, text: str, as_json: bool) -> None:
    """Print a file of a state, or the names in a directory."""
    from simgit.objects.kinds import Tree

    kind, oid = repo.file(text)
    if kind == "blob" and not as_json:
        write_bytes(repo, oid)
        return
    with app.output(page=True) as out:
        found = repo.object(oid) if kind == "tree" else None
        names = [
            each.name + "/" * (each.kind == "tree")
            for each in (found.entries if isinstance(found, Tree) else ())
        ]
        if as_json:
            more = {"size": repo.object_size(oid)} if kind == "blob" else {"entries": names}
            out.json({"oid": oid, "kind": kind} | more)
            return
        for name in names:
            out.line(clean(name))


def write_state(out: Output, repo: Repository, state: State, full: bool = False) -> None:
    """Print a state with its values."""
    from simgit.objects.kinds import NO_ORIGIN
    from simgit.odb.clock import clock_of

    digits = repo.abbreviation
    names = repo.decorations().get(state.oid, [])
    out.line(out.paint(f"state {state.oid.hex()}", "oid"))
    place = f"episode {counted(state.episode)}, state {counted(state.episode_step)}"
    rows = [["refs", ", ".join(decoration(out, name) for name in names)]] if names else []
    rows.append(["step", f"{state.step} ({place})"])
    if (time := repo.time(state.oid)) is not None:
        rows.append(["time", when(time)])
    if (clock := clock_of(state.info)) is not None:
        rows.append(["clock", number(clock)])
    if state.parents:
        rows.append(["parents", " ".join(p.short(digits) for p in state.parents)])
    if state.origin and state.origin != NO_ORIGIN.oid:
        rows.append(["origin", f"spec {state.origin.short(digits)}"])
    simple = ("action", "reward", "terminated", "truncated", "reset")
    for name, value in state.value.items():
        if name in simple:
            text = number(value) if name == "reward" else _inline(value)
            rows.append([name, text])
    out.table([[(f"{name}:", "bold"), text] for name, text in rows])
    for name in ("observation", "info"):
        if state.value.get(name) is not None:
            _write_lines(out, name, outline(state.value[name], full))
    if state.files:
        files = repo.files(state.oid).items()
        _write_lines(out, "files", [f"{oid.short(digits)}  {path}" for path, oid in files])
    attached = repo.attachments(state.oid).items()
    lines = [f"{oid.short(digits)}  {name} ({kind})" for name, (kind, oid) in attached]
    _write_lines(out, "attachments", lines)
    _write_lines(out, "message", clean(state.message or "").splitlines())


def _write_lines(out: Output, name: str, lines: list[str]) -> None:
    if lines:
        out.line(out.paint(f"{name}:", "bold"))
    for line in lines:
        out.line(f"    {line}")


def outline(value: Any, full: bool = False, name: str = "") -> list[str]:
    """Return a nested value as indented lines."""
    import numpy as np

    label = f"{clean(name)}: " if name else ""
    if isinstance(value, dict) and value:
        items = [
            (key if isinstance(key, str) else text_of(key), item) for key, item in value.items()
        ]
    elif isinstance(value, (list, tuple)) and any(_is_large(item) for item in value):
        items = [(f"[{i}]", item) for i, item in enumerate(value)]
    elif isinstance(value, np.ndarray) and value.ndim:
        return _array(value, label, full)
    else:
        return [label + _inline(value)]
    lines = [f"{label.rstrip()}"] if name else []
    indent = "  " if name else ""
    return lines + [indent + line for key, item in items for line in outline(item, full, key)]


def _is_large(value: Any) -> bool:
    import numpy as np

    return isinstance(value, (dict, list, tuple, np.ndarray))


def _array(value: np.ndarray[Any, Any], label: str, full: bool) -> list[str]:
    import numpy as np

    form = f"{label}{value.dtype}[{', '.join(map(str, value.shape))}]"
    if not full and value.size > _SHOWN and (value.ndim > 2 or value.size > 100 * _SHOWN):
        return [form + _range(value)]
    threshold = value.size + 1 if full else _SHOWN
    text = np.array2string(
        value, precision=6, threshold=threshold, edgeitems=_EDGE, max_line_width=72
    )
    if "\n" not in text and len(form) + len(text) < 74:
        return [f"{form} {text}"]
    return [form, *("  " + line for line in text.splitlines())]


def _range(value: np.ndarray[Any, Any]) -> str:
    """Return the least, greatest and mean element of numbers."""
    import numpy as np

    if value.dtype.kind not in "biuf":
        return ""
    low, high = number(float(value.min())), number(float(value.max()))
    return f" from {low} to {high}, mean {number(float(value.mean(dtype=np.float64)))}"


def _inline(value: Any) -> str:
    import numpy as np

    from simgit.history.state import shown

    if isinstance(value, np.ndarray):
        return " ".join(_array(value, "", False)).replace("  ", " ")
    return clean(shown(value))
