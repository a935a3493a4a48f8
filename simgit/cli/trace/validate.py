"""``simgit trace validate``."""

from __future__ import annotations

from typing import Any

import click

from simgit.cli.app import App, answer_no, command
from simgit.cli.output import Output
from simgit.cli.trace.files import read
from simgit.errors import InvalidInput


@command(
    "validate",
    example="""\
simgit trace validate web.sktrace
simgit trace validate --strict traces/*.sktrace""",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
def trace_validate(app: App, files: tuple[str, ...], strict: bool, as_json: bool) -> None:
    """Check that SimKube can read trace files; exit with 1 if one is invalid.

    Each object is applied to an embedded cluster. What an API server would refuse, such as a
    malformed quantity or a request above its limit, is an error, with its place and the server's
    words. Stale hashes of edited objects, objects without a namespace and times that go back are
    warnings: SimKube allows them.
    """
    fine = True
    with app.output() as out:
        for file in files:
            found = _examine(app, file)
            fine = fine and found["valid"] and not (strict and found["warnings"])
            out.json(found) if as_json else _report(out, found)
    if not fine:
        answer_no()


def _examine(app: App, file: str) -> dict[str, Any]:
    from simgit.kube.dry_run import refused_objects
    from simgit.kube.trace.check import trace_warnings
    from simgit.kube.trace.sktrace import trace_id
    from simgit.kube.unmodelled import unmodelled

    try:
        found = read(app, file)
    except InvalidInput as error:
        return _invalid(file, [(error.message, getattr(error, "path", "") or None)], [])
    warnings = [*trace_warnings(found), *unmodelled(found)]
    if refused := refused_objects(found):
        errors = [(f"'{file}' is not a valid trace: {e.message}", vars(e)["path"]) for e in refused]
        return _invalid(file, errors, warnings)
    return {"file": file, "valid": True, "id": trace_id(found), "warnings": warnings}


def _invalid(
    file: str, errors: list[tuple[str, str | None]], warnings: list[str]
) -> dict[str, Any]:
    """Return what is said of a file with errors; the first stands by itself too."""
    (error, path), *_ = errors
    return {
        "file": file, "valid": False, "error": error, "path": path, "warnings": warnings,
        "errors": [{"error": error, "path": path} for error, path in errors],
    }  # fmt: skip


def _report(out: Output, found: dict[str, Any]) -> None:
    for each in found.get("errors", ()):
        out.line(f"{out.paint('invalid', 'bad')}: {each['error']}")
    for warning in found["warnings"]:
        out.line(f"{out.paint('warning', 'warn')}: {found['file']}: {warning}")
    if found["valid"]:
        count = len(found["warnings"])
        said = f", {count} warnings" if count > 1 else ", 1 warning" if count else ""
        out.line(f"{out.paint('valid', 'good')}: {found['file']}{said}")
