"""``simgit trace``: generate, validate and convert; the other commands are hung in here."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import click

from simgit.cli.app import App, CommandGroup, answer_no, command
from simgit.cli.output import Output
from simgit.cli.trace_change import trace_edit, trace_filter
from simgit.cli.trace_view import trace_diff, trace_plot, trace_show
from simgit.cli.traces import PIPE, read, write, written
from simgit.errors import InvalidInput
from simgit.kube.task.resources import final_resources
from simgit.kube.task.scenarios import SCENARIOS, TARGET, Scenario, generate, scenario_name
from simgit.kube.trace.check import trace_warnings
from simgit.kube.trace.edit import workload
from simgit.kube.trace.files import SUFFIX
from simgit.kube.trace.sktrace import trace_id


@click.group("trace", cls=CommandGroup)
def trace() -> None:
    """Generate, look at, change and check SimKube traces; no repository is needed."""


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """Whole numbers like ``1,3,5..8``."""

    name = "list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the numbers, each once and in the order given."""
        if not isinstance(value, str):
            return tuple(value)
        parts = [re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", part) for part in value.split(",")]
        found: list[int] = []
        for part in parts:
            if part is None or int(part[2] or part[1]) - int(part[1]) not in range(100_000):
                self.fail(f"'{value}' is no list of numbers like 1,3,5..8", param, ctx)
            found += range(int(part[1]), int(part[2] or part[1]) + 1)
        return tuple(dict.fromkeys(found))


@command(
    "generate",
    example="""\
simgit trace generate cpu-slight
simgit trace generate cpu-mem --severity 5 --seed 7 --output hard.sktrace
simgit trace generate --all --severities 1..12 --seeds 0..9 --out training/""",
)
@click.argument("names", nargs=-1, metavar="[SCENARIO]…")
@click.option("--all", "every", is_flag=True, help="Every scenario.")
@click.option(
    "--severity", "--severities", "severities", type=Numbers(), default=(), metavar="LIST",
    help="How far from healthy, 1 to 48; each scenario's own by default.",
)  # fmt: skip
@click.option(
    "--seed", "--seeds", "seeds", type=Numbers(), default=(0,), metavar="LIST",
    help="What varies; 0, the default, is the documented start.",
)  # fmt: skip
@click.option("--target", default=TARGET, show_default=True, help="Pods that are wanted, 1 to 3.")
@click.option("-o", "--output", metavar="FILE", help="Where to write; FILE.json is JSON.")
@click.option("--out", metavar="DIR", help="The directory to write into, . by default.")
def trace_generate(
    app: App,
    names: tuple[str, ...],
    every: bool,
    severities: tuple[int, ...],
    seeds: tuple[int, ...],
    target: int,
    output: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Write traces of one workload that is a known number of actions from healthy.

    A file is named after the scenario and what differs from its documented start. An unknown
    SCENARIO lists those that there are. LIST is like 1,3,5..8.
    """
    if every == bool(names):
        raise click.UsageError("name scenarios, or give --all")
    if output and out:
        raise click.UsageError("--output and --out cannot be used together")
    chosen = SCENARIOS.names() if every else tuple(dict.fromkeys(names))
    made = _generate(chosen, severities, seeds, target)
    if output and len(made) > 1:
        raise click.UsageError(f"--output names one file, and these are {len(made)}: give --out")
    for scenario in made:
        write(app, output or _file(out, scenario), scenario.trace)
    if output != PIPE:
        with app.output() as printer:
            _tell(printer, [(output or _file(out, s), s) for s in made], as_json)


def _generate(
    names: tuple[str, ...], severities: tuple[int, ...], seeds: tuple[int, ...], target: int
) -> list[Scenario]:
    """Generate all combinations; of equal files the first."""
    combined = product(names, severities or (None,), seeds)
    made = [generate(n, severity=s, seed=seed, target=target) for n, s, seed in combined]
    return list({scenario_name(scenario): scenario for scenario in made}.values())


def _file(directory: str | None, scenario: Scenario) -> str:
    return str(Path(directory or "") / (scenario_name(scenario) + SUFFIX))


def _tell(out: Output, made: list[tuple[str, Scenario]], as_json: bool) -> None:
    if as_json:
        for file, each in made:
            out.json(scenario_record(each) | written(file, each.trace))
        return
    heads = ["file", "start", "fewest steps"]
    rows = [[file, start(each), str(each.steps)] for file, each in made]
    out.table([[(head, "bold") for head in heads], *rows], right=(2,))


def start(scenario: Scenario) -> str:
    """Return what the workload asks for at first: '3 × 17 CPU, 2Gi'."""
    asked = final_resources(scenario.trace, workload("web")).plain()
    return f"{asked['replicas']} × {asked['cpu']} CPU, {asked['memory']}"


def scenario_record(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario as what ``--json`` prints."""
    asked = final_resources(scenario.trace, workload("web")).plain()
    return {
        "scenario": scenario.name, "severity": scenario.severity, "seed": scenario.seed,
        "target": scenario.target, "steps": scenario.steps, "start": asked,
    }  # fmt: skip


@command(
    "validate",
    example="""\
simgit trace validate web.sktrace
simgit trace validate --strict traces/*.sktrace""",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
def trace_validate(app: App, files: tuple[str, ...], strict: bool, as_json: bool) -> None:
    """Check that files are traces that SimKube reads; exit with 1 if one is not.

    Each object is applied to an embedded cluster: a quantity that is none, a negative request or
    number of replicas, a malformed template is an error, with its place. What SimKube allows but
    is worth a look is a warning: stale hashes of edited objects, objects without a namespace, time
    that goes back.
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

    try:
        found = read(app, file)
    except InvalidInput as error:
        return _invalid(file, [(error.message, getattr(error, "path", "") or None)], [])
    warnings = trace_warnings(found)
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


@command(
    "convert",
    example="""\
simgit trace convert web.sktrace web.json
simgit trace convert web.json web.sktrace
simgit trace convert web.sktrace - --to json | jq .events""",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option(
    "--to", type=click.Choice(["json", "sktrace"]),
    help="What to write; by default what the name TO says.",
)  # fmt: skip
def trace_convert(app: App, source: str, target: str, to: str | None, as_json: bool) -> None:
    """Write a trace as JSON or as a .sktrace file; nothing is lost either way.

    FROM may be of either kind, its content tells. 64-bit hashes are strings in JSON. - is
    standard input or output.
    """
    found = read(app, source)
    suffix = f".{to}" if to else Path(target).suffix
    if target != PIPE and to and suffix != Path(target).suffix:
        raise click.UsageError(f"'{target}' does not end with '{suffix}'")
    write(app, target, found, suffix)
    if target != PIPE:
        with app.output() as out:
            out.json(written(target, found)) if as_json else out.line(f"wrote {target}")


for each in (
    trace_generate, trace_show, trace_plot, trace_diff, trace_edit, trace_filter, trace_validate,
    trace_convert,
):  # fmt: skip
    trace.add_command(each)
