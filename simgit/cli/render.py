"""Runs and tags as text and as records."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from simgit.cli.output import (
    STATUS_STYLES,
    Output,
    clean,
    counted,
    counted_sum,
    raw_bytes,
    say,
    when,
)

if TYPE_CHECKING:
    from simgit.objects.kinds import Tag
    from simgit.objects.oid import Oid
    from simgit.refs.runs import RunInfo
    from simgit.repository import Repository


def run_info(repo: Repository, name: str) -> RunInfo:
    """Return what is known of a run, or of a run of a remote such as ``origin/main``.

    Raises:
        NotFound: there is neither.
    """
    short = name.removeprefix("runs/").removeprefix("remotes/")
    if short not in repo.runs and "/" in short:
        found = repo.remote_runs(short.partition("/")[0])
        if short in found:
            return found[short]
    return repo.runs[name.removeprefix("runs/")]


def write_run(out: Output, repo: Repository, info: RunInfo) -> None:
    """Print a run's record."""
    from simgit.refs.own_names import SESSIONS

    digits = repo.abbreviation
    out.line(out.paint(f"run {info.name}", "run"))
    newest = "no states yet"
    if info.oid is not None:
        newest = f"{info.oid.short(digits)}, step {info.step}"
    rows: list[tuple[str, Any]] = [
        ("status", (info.status, STATUS_STYLES.get(info.status, ""))),
        ("newest", newest),
        ("episodes", counted(info.episodes)),
        ("return", counted_sum(info.return_, info.episodes)),
        ("created", when(info.created)),
    ]
    if info.ended is not None:
        rows.append(("ended", when(info.ended)))
    if info.parent or info.branch_point:
        point = f" at {info.branch_point.short(digits)}" if info.branch_point else ""
        rows.append(("parent", f"{info.parent or 'none'}{point}"))
    if info.seed is not None:
        rows.append(("seed", value_text(info.seed)))
    if info.writer:
        rows.append(("writer", f"process {info.writer['pid']}"))
    out.table([[(f"{name}:", "bold"), text] for name, text in rows])
    notes = {key: each for key, each in info.metadata.items() if key != SESSIONS}
    for title, mapping in (("config", info.config), ("metadata", notes)):
        if mapping:
            out.line(out.paint(f"{title}:", "bold"))
            write_settings(
                out, dict(mapping), dict(info.overrides) if title == "config" else {}, "    "
            )


def write_tag(out: Output, repo: Repository, name: str, oid: Oid, note: Tag | None) -> None:
    """Print a tag and its annotation."""
    out.line(out.paint(f"tag {name}", "tag"))
    if note is None:
        return
    if note.tagger:
        out.line(f"Tagger: {clean(note.tagger)}")
    out.line(f"Date:   {when(note.time)}")
    out.line()
    for line in clean(note.message).splitlines():
        out.line(f"    {line}")
    out.line()


def write_settings(
    out: Output, config: dict[str, Any], own: dict[str, Any], indent: str = ""
) -> None:
    """Print settings, one per line, the run's own marked with a star."""
    from simgit.refs.run_config import flat

    mine = flat(own)
    for key, value in sorted(flat(config).items()):
        line = f"{clean(key)} = {value_text(value)}"
        out.line(indent + (out.paint(line, "bold") + "  *" if key in mine else line))


def value_text(value: Any) -> str:
    """Return a setting as JSON."""
    import json

    from simgit.objects.json_form import record_to_json

    return clean(json.dumps(record_to_json(value), ensure_ascii=False))


def write_bytes(repo: Repository, oid: Oid) -> None:
    """Write the bytes of an object; tell whoever sees binary ones in a terminal of ``-p``."""
    is_binary = False

    def pieces() -> Iterator[bytes]:
        nonlocal is_binary
        for piece in repo.stream(oid):
            is_binary = is_binary or b"\0" in piece
            yield piece

    raw_bytes(pieces())
    if is_binary and sys.stdout.isatty():
        sys.stdout.flush()
        say("\nwarning: these bytes are binary; -p prints objects readably")
