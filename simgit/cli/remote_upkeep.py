"""``simgit gc --remote`` and ``simgit fsck --remote``."""

from __future__ import annotations

from dataclasses import asdict

from simgit.cli.app import App, answer_no
from simgit.cli.output import progress, size
from simgit.errors import plural


def collect(
    app: App, name: str, grace: float | None, dry_run: bool, quiet: bool, as_json: bool
) -> None:
    """Delete unreachable packs of a remote, and write the outcome."""
    shown = progress("gc", not (quiet or as_json))
    with app.repository() as repo, repo.remote(name) as remote, shown as tell:
        done = remote.gc(
            14.0 if grace is None else grace, dry_run=dry_run,
            progress=lambda what, count, total: tell(count, total),
        )  # fmt: skip
    with app.output() as out:
        if as_json:
            out.json(asdict(done))
            return
        if quiet:
            return
        would = "would have " if dry_run else ""
        if done.joined:
            out.line(f"{would}joined {plural(done.joined, 'pack')} into {done.into}")
        if done.deleted:
            sums = f"{plural(done.deleted, 'pack')}, {size(done.deleted_bytes)}"
            out.line(f"{would}deleted {sums}")
        if done.tombed:
            sums = f"{plural(done.tombed, 'pack')}, {size(done.tombed_bytes)}"
            out.line(f"{would}marked {sums}: a gc after the grace period deletes them")
        if done.waiting:
            out.line(f"{plural(done.waiting, 'pack')} wait for the end of the grace period")
        if done.claims:
            out.line(f"{would}deleted {plural(done.claims, 'claim')} of finished work")
        if done.missing:
            out.line(f"{plural(len(done.missing), 'pack')} missing; see 'simgit fsck --remote'")
        out.line(f"{plural(done.refs, 'ref')} lead to {plural(done.packs, 'pack')}, "
                 f"{size(done.bytes)}")  # fmt: skip


def check(
    app: App, name: str, quick: bool, sample: tuple[int, int] | None, deep: bool, as_json: bool
) -> None:
    """Check a remote, and write what is wrong; exit with 1 if anything is."""
    shown = progress("fsck", not as_json)
    with app.repository() as repo, repo.remote(name) as remote, shown as tell:
        found = remote.fsck(
            quick=quick, sample=sample, deep=deep,
            progress=lambda what, count, total: tell(count, total),
        )  # fmt: skip
    with app.output() as out:
        if as_json:
            out.json(asdict(found) | {"clean": found.is_clean})
        else:
            for problem in found.problems:
                out.line(f"{out.paint('damaged', 'bad')}: {problem}")
            result = plural(len(found.problems), "problem") if found.problems else "no damage"
            read = "" if found.checked == found.packs else f", {found.checked} of them read"
            out.line(f"checked {plural(found.refs, 'ref')}, {plural(found.packs, 'pack')}{read}, "
                     f"{size(found.bytes)}: {result}")  # fmt: skip
            if found.unreferenced:
                sums = f"{plural(found.unreferenced, 'pack')}, {size(found.unreferenced_bytes)}"
                out.line(f"unreachable: {sums}; see 'simgit gc --remote {name}'")
    if not found.is_clean:
        answer_no()
