"""Which generated scenario a file holds, told by its name: 'cpu-slight-severity4-seed7'."""

from __future__ import annotations

import re
from typing import Final

from simgit.errors import InvalidInput
from simgit.kube.task.scenarios import SCENARIOS, TARGET, Scenario, default_severity, generate

_NAME: Final = re.compile(
    r"(?P<name>.+?)(?:-severity(?P<severity>\d+))?(?:-seed(?P<seed>\d+))?(?:-target(?P<target>\d+))?"
)


def scenario_name(scenario: Scenario) -> str:
    """Return the name: the scenario's own, and whatever differs from its documented start."""
    usual = (default_severity(scenario.name), 0, TARGET)
    given = (scenario.severity, scenario.seed, scenario.target)
    labels = ("severity", "seed", "target")
    parts = [f"-{k}{v}" for k, v, u in zip(labels, given, usual, strict=True) if v != u]
    return scenario.name + "".join(parts)


def parse_scenario(name: str) -> Scenario:
    """Generate the scenario that a name says; the inverse of scenario_name.

    Raises NotFound if there is no such scenario, InvalidInput if its numbers are out of range.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InvalidInput("a scenario needs a name")
    SCENARIOS.get(match["name"])
    return generate(
        match["name"],
        severity=None if match["severity"] is None else int(match["severity"]),
        seed=int(match["seed"] or 0),
        target=TARGET if match["target"] is None else int(match["target"]),
    )
