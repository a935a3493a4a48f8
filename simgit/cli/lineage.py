"""``simgit lineage``."""

from __future__ import annotations

import click

from simgit.cli.app import App, command
from simgit.cli.output import STATUS_STYLES
from simgit.cli.params import RUN
from simgit.errors import plural


@command("lineage", example="simgit lineage try-1")
@click.argument("run", required=False, type=RUN)
def lineage(app: App, run: str | None, as_json: bool) -> None:
    """Show a run (default: HEAD's) and those that it was branched off.

    The nearest is shown first. Of a training that began with another's agent it says which.
    """
    with app.repository() as repo, app.output() as out:
        found = repo.lineage(run)
        if as_json:
            for info in found:
                out.json(info)
            return
        from simgit.refs.run_config import flat

        digits = repo.abbreviation
        rows = []
        for info in found:
            point = info.branch_point
            whence = "" if point is None else f"from {point.short(digits)} of {info.parent or '?'}"
            load = (info.config.get("training") or {}).get("load")
            if point is None and load:
                state = load.get("state")
                whence = f"agent of {load['from']}" + (f" at {state[:digits]}" if state else "")
            settings = plural(len(flat(dict(info.overrides))), "setting") if info.overrides else ""
            status = (info.status, STATUS_STYLES.get(info.status, ""))
            rows.append([(info.name, "run"), status, f"step {info.step}", whence, settings])
        out.table(rows)
