"""What an API server answers: refusals in its words, quantities in its form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kube.live.arena import PATHS
from tests.kube.live.control_plane import ControlPlane
from tests.kube.live.refusals import FILE, answer, cases, container, pod, requests, words
from tests.kube.test_quantity import STORED

pytestmark = pytest.mark.live


def test_the_recorded_answers_are_those_of_a_server(control_plane: ControlPlane) -> None:
    table = json.loads(FILE.read_text())
    recorded: list[dict[str, Any]] = table["cases"]
    made = list(cases())
    assert [case["name"] for case in recorded] == [case["name"] for case in made]
    different = {}
    for number, (case, known) in enumerate(zip(made, recorded, strict=True)):
        found = answer(control_plane, case, f"answer-{number}")
        same = found["code"] == known["code"]
        if control_plane.version == table["version"]:
            said, known_to_say = (words(each.pop("message", "")) for each in (found, known))
            same = {**case, **found} == known and said == known_to_say
        if not same:
            different[case["name"]] = found
    assert different == {}


def test_quantities_are_read_back_in_the_servers_form(control_plane: ControlPlane) -> None:
    pairs = [pair.partition("→") for values in STORED.values() for pair in values.split()]
    wanted = {text: stored or text for text, _, stored in pairs if not text.startswith("-")}
    containers = [
        container(f"c{number}", resources=requests(cpu=text)) for number, text in enumerate(wanted)
    ]
    path = PATHS["v1.Pod"].format("default")
    made = control_plane.api.post(path, pod(*containers), dryRun="All")
    found = [each["resources"]["requests"]["cpu"] for each in made["spec"]["containers"]]
    different = {
        text: (stored, real)
        for (text, stored), real in zip(wanted.items(), found, strict=True)
        if stored != real
    }
    assert len(found) > 250
    assert different == {}
