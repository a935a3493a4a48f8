"""``simgit purge``."""

from __future__ import annotations

from dataclasses import asdict

import click

from simgit.cli.app import App, command
from simgit.cli.output import size
from simgit.cli.params import RUN
from simgit.errors import plural

_SHOWN = 5


@command(
    "purge",
    example="""\
simgit purge try-1
simgit purge 'sweep/*'""",
    at_op=False,
)
@click.argument("names", nargs=-1, required=True, type=RUN, metavar="RUN…")
def purge(app: App, names: tuple[str, ...], as_json: bool) -> None:
    """Remove runs for good, with reflog and states, and free their space at once.

    States stay that another run, a tag or another reflog leads to; the output names who keeps how
    many. This cannot be undone, nor can anything that was done before it. 'simgit branch -d'
    deletes a run so that it can be brought back. RUN may be deleted already, or a pattern.
    """
    with app.repository() as repo, app.output() as out:
        purged = repo.purge(*names)
        if as_json:
            out.json(asdict(purged))
            return
        for name in purged.runs:
            out.line(f"purged run {name}")
        out.line(f"removed {plural(purged.states, 'state')}: {size(purged.bytes)} freed on disk")
        if purged.kept_states:
            kept = sorted(purged.kept.items(), key=lambda item: -item[1])
            shown = [_keeper(name, count) for name, count in kept[:_SHOWN]]
            more = [f"{len(kept) - _SHOWN} more"] if len(kept) > _SHOWN else []
            by = ", ".join(shown + more) or "other objects"
            out.line(f"kept {plural(purged.kept_states, 'state')} that others need: {by}")
            if any(name.startswith("log: ") for name in purged.kept):
                out.line("'simgit gc --expire now --grace now' drops what only reflogs keep")


def _keeper(name: str, count: int) -> str:
    """Return who keeps how many states, as text."""
    if name.startswith("log: "):
        ref = name.removeprefix("log: ")
        return f"the reflog of {ref.removeprefix('runs/')} ({count} more)"
    kind, slash, rest = name.partition("/")
    what = "remote-tracking ref" if kind == "remotes" else kind[:-1]
    return f"{what} {rest} ({count})" if slash else f"{name} ({count})"
