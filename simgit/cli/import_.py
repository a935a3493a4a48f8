"""``simgit import``."""

from __future__ import annotations

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.bundle import FILE, source
from simgit.cli.output import plural, progress
from simgit.cli.params import RUN


@command(
    "import",
    example="""\
simgit import try.bundle
simgit import try.bundle --prefix from-ada/""",
    at_op=False,
)
@FILE
@click.option(
    "--prefix", default="", metavar="TEXT", help="Prefix of the names of imported runs and tags."
)
@click.option(
    "--as", "rename", type=RUN, metavar="NAME", help="Name of the run, if the bundle has only one."
)
@click.option(
    "--max-object", type=click.IntRange(min=1), metavar="BYTES",
    help="Largest object to accept (default 2 GiB).",
)  # fmt: skip
def import_(
    app: App, file: str, prefix: str, rename: str | None, max_object: int | None, as_json: bool
) -> None:
    """Import the runs and tags of a bundle; - is standard input.

    A run that exists here moves forward if the bundle's continues it; otherwise the bundle's is
    kept as NAME.conflict-1. Run the same command again to resume an interrupted import.
    """
    one_of(prefix=prefix, **{"as": rename})
    with app.repository() as repo, app.output() as out:
        with progress("import", not as_json) as tell:
            done = repo.import_bundle(
                source(app, file), prefix=prefix, rename=rename, max_object=max_object,
                progress=lambda done: tell(done, None),
            )  # fmt: skip
        if as_json:
            refs = {name: {"name": o.name, "what": o.what} for name, o in done.refs.items()}
            out.json({"states": done.states, "objects": done.objects, "refs": refs}
                     | {"attachments_aside": done.attachments})  # fmt: skip
            return
        for name, outcome in done.refs.items():
            here = "" if outcome.name == name else f" → {outcome.name}"
            out.line(f"{outcome.what:9}  {name}{here}")
        for name in done.attachments:
            out.line(f"{'conflict':9}  attachment kept as {name}")
        out.line(f"stored {plural(done.states, 'state')}, {plural(done.objects, 'object')}")
