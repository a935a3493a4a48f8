"""``simgit trace generate``."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command
from simgit.cli.output import Output
from simgit.cli.trace.files import PIPE, write, written

if TYPE_CHECKING:
    from simgit.kube.task.scenarios import Scenario


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """Whole numbers such as ``1,3,5..8``."""

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
                self.fail(f"'{value}' is not a list of numbers such as 1,3,5..8", param, ctx)
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
@click.option("--all", "every", is_flag=True, help="All scenarios.")
@click.option(
    "--severity", "--severities", "severities", type=Numbers(), default=(), metavar="LIST",
    help="Distance from healthy, 1 to 48 (default: each scenario's own).",
)  # fmt: skip
@click.option(
    "--seed", "--seeds", "seeds", type=Numbers(), default=(0,), metavar="LIST",
    help="Random seeds of the variations (default 0: the documented start).",
)  # fmt: skip
@click.option("--target", default=3, show_default=True, help="Number of pods to be ready, 1 to 3.")
@click.option("-o", "--output", metavar="FILE", help="File to write; FILE.json is JSON.")
@click.option("--out", metavar="DIR", help="Directory to write into (default .).")
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
    """Write traces of a workload that a known number of actions makes healthy.

    A file is named after its scenario and what differs from the documented start. SCENARIO is
    cpu-slight, cpu-heavy, mem-slight, mem-heavy, cpu-mem, replicas-over or mem-replicas; LIST is
    such as 1,3,5..8.
    """
    from simgit.kube.task.scenarios import SCENARIOS

    if every == bool(names):
        raise click.UsageError("name scenarios, or use --all")
    if output and out:
        raise click.UsageError("--output and --out cannot be used together")
    chosen = SCENARIOS.names() if every else tuple(dict.fromkeys(names))
    made = _generate(chosen, severities, seeds, target)
    if output and len(made) > 1:
        raise click.UsageError(
            f"--output is one file, but these are {len(made)} traces; use --out DIR"
        )
    for scenario in made:
        write(app, output or _file(out, scenario), scenario.trace)
    if output != PIPE:
        with app.output() as printer:
            _tell(printer, [(output or _file(out, s), s) for s in made], as_json)


def _generate(
    names: tuple[str, ...], severities: tuple[int, ...], seeds: tuple[int, ...], target: int
) -> list[Scenario]:
    """Generate all combinations; of equal files the first."""
    from simgit.kube.task.scenarios import generate, scenario_name

    combined = product(names, severities or (None,), seeds)
    made = [generate(n, severity=s, seed=seed, target=target) for n, s, seed in combined]
    return list({scenario_name(scenario): scenario for scenario in made}.values())


def _file(directory: str | None, scenario: Scenario) -> str:
    from simgit.kube.task.scenarios import scenario_name
    from simgit.kube.trace.files import SUFFIX

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
    from simgit.kube.task.resources import final_resources
    from simgit.kube.trace.edit import workload

    asked = final_resources(scenario.trace, workload("web")).plain()
    return f"{asked['replicas']} × {asked['cpu']} CPU, {asked['memory']}"


def scenario_record(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario as what ``--json`` prints."""
    from simgit.kube.task.resources import final_resources
    from simgit.kube.trace.edit import workload

    asked = final_resources(scenario.trace, workload("web")).plain()
    return {
        "scenario": scenario.name, "severity": scenario.severity, "seed": scenario.seed,
        "target": scenario.target, "steps": scenario.steps, "start": asked,
    }  # fmt: skip
